//! Bodies and content types, well formed and nearly so.

use bolero::TypeGenerator;
use bolero::generator::produce;

/// In every value of a member: what a refusal must not show.
pub(crate) const MARK: &str = "MARKED";

/// A `content-type` header, or none.
#[derive(Clone, Debug, TypeGenerator)]
pub(crate) enum ContentType {
    Absent,
    Json,
    Form,
    FormInCapitalsWithCharset,
    Other(String),
}

impl ContentType {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Absent => None,
            Self::Json => Some("application/json"),
            Self::Form => Some("application/x-www-form-urlencoded"),
            Self::FormInCapitalsWithCharset => {
                Some("APPLICATION/X-WWW-Form-URLEncoded ; charset=utf-8")
            }
            Self::Other(text) => Some(text),
        }
    }
}

/// A body: members in either notation, perhaps damaged, or anything.
#[derive(Clone, Debug, TypeGenerator)]
pub(crate) enum Body {
    Anything(Vec<u8>),
    Object(#[generator(produce::<Vec<Member>>().with().len(0..4usize))] Vec<Member>),
    Form(#[generator(produce::<Vec<Member>>().with().len(0..4usize))] Vec<Member>),
    DamagedObject(
        #[generator(produce::<Vec<Member>>().with().len(0..4usize))] Vec<Member>,
        Damage,
    ),
    DamagedForm(
        #[generator(produce::<Vec<Member>>().with().len(0..4usize))] Vec<Member>,
        Damage,
    ),
}

impl Body {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Anything(bytes) => bytes.clone(),
            Self::Object(members) => object(members).into_bytes(),
            Self::Form(members) => form(members).into_bytes(),
            Self::DamagedObject(members, damage) => damage.done_to(object(members).into_bytes()),
            Self::DamagedForm(members, damage) => damage.done_to(form(members).into_bytes()),
        }
    }

    /// Whether each key and value is where it was written.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self, Self::Object(_) | Self::Form(_))
    }
}

/// A key with its value, and how both are written.
#[derive(Clone, Debug, TypeGenerator)]
pub(crate) struct Member {
    key: Key,
    value: Value,
    notation: Notation,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Key {
    UserId,
    Username,
    User,
    Similar(Similar),
    Other(String),
}

#[derive(Clone, Debug, TypeGenerator)]
enum Similar {
    Lower,
    Upper,
    Blank,
    Ended,
    Empty,
}

impl Key {
    fn text(&self) -> &str {
        match self {
            Self::UserId => "userId",
            Self::Username => "username",
            Self::User => "user",
            Self::Similar(Similar::Lower) => "userid",
            Self::Similar(Similar::Upper) => "userID",
            Self::Similar(Similar::Blank) => " userId",
            Self::Similar(Similar::Ended) => "userId\0",
            Self::Similar(Similar::Empty) => "",
            Self::Other(text) => text,
        }
    }
}

#[derive(Clone, Debug, TypeGenerator)]
enum Value {
    Name(#[generator(0..4u8)] u8),
    Marked(String),
    Blank,
    Null,
    Number(f64),
    Operator(String),
    List(String),
    Deep(u16),
}

impl Value {
    fn text(&self) -> String {
        match self {
            Self::Name(number) => format!("u{number}"),
            Self::Marked(text) | Self::Operator(text) | Self::List(text) => {
                format!("{MARK}{text}")
            }
            Self::Blank | Self::Null => " ".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Deep(levels) => levels.to_string(),
        }
    }

    fn json(&self, notation: &Notation) -> String {
        let text = || notation.quoted(&self.text());
        match self {
            Self::Name(_) | Self::Marked(_) | Self::Blank => text(),
            Self::Null => "null".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Operator(_) => format!(r#"{{"$ne":{}}}"#, text()),
            Self::List(_) => format!("[{}]", text()),
            Self::Deep(levels) => "[".repeat((*levels).into()) + &"]".repeat((*levels).into()),
        }
    }
}

#[derive(Clone, Debug, TypeGenerator)]
enum Notation {
    Plain,
    Spaced,
    Escaped,
}

impl Notation {
    fn quoted(&self, text: &str) -> String {
        match self {
            Self::Plain => serde_json::to_string(text).unwrap(),
            Self::Spaced => format!(" {}\n", serde_json::to_string(text).unwrap()),
            Self::Escaped => {
                let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
                format!("\"{}\"", units.collect::<String>())
            }
        }
    }

    fn field(&self, text: &str) -> String {
        let bytes = text.bytes().map(|byte| match (self, byte) {
            (Self::Plain | Self::Spaced, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z') => {
                char::from(byte).to_string()
            }
            (Self::Spaced, b' ') => "+".to_owned(),
            _ => format!("%{byte:02x}"),
        });
        bytes.collect()
    }
}

fn object(members: &[Member]) -> String {
    let members = members.iter().map(|member| {
        let key = member.notation.quoted(member.key.text());
        format!("{key}:{}", member.value.json(&member.notation))
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn form(members: &[Member]) -> String {
    let fields = members.iter().map(|member| {
        let key = member.notation.field(member.key.text());
        format!("{key}={}", member.notation.field(&member.value.text()))
    });
    fields.collect::<Vec<_>>().join("&")
}

/// One thing that is wrong.
#[derive(Clone, Debug, TypeGenerator)]
pub(crate) enum Damage {
    Replaced { at: u16, by: u8 },
    Inserted { at: u16, what: Fragment },
    Removed { at: u16 },
    CutShort { at: u16 },
}

/// What means something to a reader.
#[derive(Clone, Debug, TypeGenerator)]
pub(crate) enum Fragment {
    Quote,
    Backslash,
    Brace,
    Comma,
    Ampersand,
    Equals,
    Percent,
    Nul,
    NoUtf8,
    ByteOrderMark,
    LoneSurrogate,
    Anything(Vec<u8>),
}

impl Fragment {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Quote => b"\"",
            Self::Backslash => b"\\",
            Self::Brace => b"}",
            Self::Comma => b",",
            Self::Ampersand => b"&",
            Self::Equals => b"=",
            Self::Percent => b"%",
            Self::Nul => b"\0",
            Self::NoUtf8 => b"\xff",
            Self::ByteOrderMark => b"\xef\xbb\xbf",
            Self::LoneSurrogate => br"\ud800",
            Self::Anything(bytes) => bytes,
        }
    }
}

impl Damage {
    pub(crate) fn done_to(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let place = |at: &u16| usize::from(*at) % (bytes.len() + 1);
        let (at, removed, inserted): (_, _, &[u8]) = match self {
            Self::Replaced { at, by } => (place(at), 1, std::slice::from_ref(by)),
            Self::Inserted { at, what } => (place(at), 0, what.bytes()),
            Self::Removed { at } => (place(at), 1, &[]),
            Self::CutShort { at } => (place(at), usize::MAX, &[]),
        };
        let end = at.saturating_add(removed).min(bytes.len());
        bytes.splice(at..end, inserted.iter().copied());
        bytes
    }
}
