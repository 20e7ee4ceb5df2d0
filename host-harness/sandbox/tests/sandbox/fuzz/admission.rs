//! Files that are nearly plugins: components of which sections and bytes are
//! changed, so that they get past the first check.

use super::engine::fuzz;
use super::request::Damage;
use bolero::TypeGenerator;
use bolero::generator::produce;
use chat_testing::Data;
use chat_testing::call::Calls;
use chat_testing::guest::plugin_bytes;
use chat_testing::guest::{ADMISSIONS, ATTEMPTING, Guest, run};
use plugin_sandbox::admission::{Candidate, Policy, Rejected, Report};
use plugin_sandbox::grants::Grants;
use plugin_sandbox::plugin::Plugin;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// A file that takes so long is one that holds the host up, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than is said of the worst file, in bytes: what it repeats without end is
/// not repeated.
const LONGEST_REPORT: usize = 64 * 1024;

#[derive(Debug, TypeGenerator)]
enum File {
    Anything(Vec<u8>),
    Damaged(Origin, Damage),
    Edited(
        Origin,
        #[generator(produce::<Vec<SectionEdit>>().with().len(1..4usize))] Vec<SectionEdit>,
    ),
}

/// A file that is loaded, or almost.
#[derive(Clone, Debug, TypeGenerator)]
enum Origin {
    Behaving,
    Attempting,
    Built,
    Small(u8),
}

/// Of a section of the component, or of a section within that one.
#[derive(Clone, Debug, TypeGenerator)]
struct SectionEdit {
    section: u8,
    within: Option<u8>,
    edit: Edit,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Edit {
    Drop,
    Duplicate,
    SwapWithNext,
    CallIt(u8),
    Damage(Damage),
    Count(u32),
    Length(u32),
    Rename(Name, Name),
    Grow(u16),
    Borrow(Origin, u8),
    Nest,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Name {
    Users,
    Settings,
    Secrets,
    LaterSecrets,
    Handler,
    WallClock,
    Find,
    Reset,
    Memory,
    Anything(#[generator(produce::<Vec<u8>>().with().len(0..12usize))] Vec<u8>),
}

static DATA: LazyLock<(Runtime, Data)> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let data = runtime.block_on(Data::new());
    (runtime, data)
});

static ORIGINS: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    let behaving = Guest::default().component();
    [behaving, ATTEMPTING.component(), plugin_bytes()]
});

/// Components that are no plugins, each for a kind of section.
static SMALL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let texts = [
        "(component)",
        r#"(component (import "chat:reset-totp/settings@0.1.0" (instance
             (export "totp-window" (func (result u8))))))"#,
        r#"(component (type $r (resource (rep i32)))
             (core func $drop (canon resource.drop $r)) (export "r" (type $r)))"#,
        r#"(component
             (core module $m (memory (export "m") 1) (table 9 funcref)
               (func $start (loop $again (br $again))) (start $start))
             (core instance $i (instantiate $m))
             (alias core export $i "m" (core memory $memory)))"#,
        r#"(component
             (component $c (core module $m (func (export "f"))) (core instance (instantiate $m)))
             (instance (instantiate $c)) (instance $i (instantiate $c))
             (export "chat:reset-totp/handler@0.1.0" (instance $i)))"#,
    ];
    texts
        .iter()
        .map(|text| wat::parse_str(text).unwrap())
        .collect()
});

/// A file is refused with a report, or is a plugin whose call ends; none resets
/// anybody without a code.
#[test]
fn whatever_is_in_a_file_it_is_refused_or_runs_to_an_end() {
    LazyLock::force(&DATA);
    LazyLock::force(&ORIGINS);
    fuzz(150, |file: &File| {
        let start = Instant::now();
        match DATA.0.block_on(admit(file.bytes())) {
            Ok(plugin) => runs_to_an_end(&plugin),
            Err(refusal) => says_why(refusal.report()),
        }
        let elapsed = start.elapsed();
        assert!(elapsed < PATIENCE, "it took {elapsed:?}");
    });
}

async fn admit(bytes: Vec<u8>) -> Result<Arc<Plugin>, Rejected> {
    let policy = Policy {
        grants: Grants::all(),
        ..Policy::default()
    };
    ADMISSIONS
        .admit(&Candidate::new(bytes, None), &policy)
        .await
}

/// In words that a terminal can show, and that are not of a compiler that broke.
fn says_why(report: &Report) {
    let text = report.to_string();
    assert!(!report.admissible(), "{text}");
    assert!(!text.contains("the compiler panicked"), "{text}");
    assert!(text.len() < LONGEST_REPORT, "{} bytes", text.len());
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
    assert!(serde_json::to_string(report).is_ok(), "{text}");
}

fn runs_to_an_end(plugin: &Plugin) {
    let (runtime, data) = &*DATA;
    let (answer, observed) =
        runtime.block_on(async { run(plugin, data.call("admin", None).await).await });
    assert!(!observed.committed(), "{answer:?}");
    if let Err(failure) = answer {
        assert!(failure.code().starts_with("plugin-"), "{failure}");
    }
}

impl Origin {
    fn bytes(&self) -> &'static [u8] {
        let [behaving, attempting, built] = &*ORIGINS;
        match self {
            Self::Behaving => behaving,
            Self::Attempting => attempting,
            Self::Built => built,
            Self::Small(which) => chosen(&SMALL, *which).unwrap(),
        }
    }
}

impl File {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Anything(bytes) => bytes.clone(),
            Self::Damaged(origin, damage) => damage.done_to(origin.bytes().to_vec()),
            Self::Edited(origin, edits) => {
                let origin = origin.bytes().to_vec();
                edits.iter().fold(origin, |file, edit| edit.done_to(&file))
            }
        }
    }
}

impl SectionEdit {
    fn done_to(&self, file: &[u8]) -> Vec<u8> {
        let mut sections = sections(file);
        let place = usize::from(self.section) % sections.len().max(1);
        let nested = self.within.zip(sections.get_mut(place));
        match nested {
            Some((section, outer)) if outer.content.starts_with(MAGIC) => {
                let inner = Self {
                    section,
                    within: None,
                    edit: self.edit.clone(),
                };
                outer.content = inner.done_to(&outer.content);
            }
            _ => self.edit.done_to(&mut sections, place),
        }
        let header = file.get(..HEADER).unwrap_or(file);
        let sections = sections.iter().flat_map(Section::bytes);
        header.iter().copied().chain(sections).collect()
    }
}

impl Edit {
    fn done_to(&self, sections: &mut Vec<Section>, place: usize) {
        let Some(section) = sections.get_mut(place) else {
            return;
        };
        match self {
            Self::Drop => {
                sections.remove(place);
            }
            Self::Duplicate => {
                let copy = section.clone();
                sections.insert(place, copy);
            }
            Self::SwapWithNext => {
                let next = (place + 1) % sections.len();
                sections.swap(place, next);
            }
            Self::CallIt(id) => section.id = *id,
            Self::Damage(damage) => section.content = damage.done_to(section.content.clone()),
            Self::Count(count) => {
                let rest = number(&section.content).map_or(&[][..], |(_, rest)| rest);
                section.content = [&leb(*count), rest].concat();
            }
            Self::Length(length) => section.length = Some(*length),
            Self::Rename(from, to) => {
                section.content = renamed(&section.content, from.bytes(), to.bytes());
            }
            Self::Grow(by) => section.content.extend(vec![0; (*by).into()]),
            Self::Borrow(origin, which) => {
                if let Some(borrowed) = chosen(&self::sections(origin.bytes()), *which) {
                    sections.insert(place, borrowed.clone());
                }
            }
            Self::Nest => {
                let header = b"\0asm\x0d\0\x01\0";
                section.content = [&header[..], &section.bytes()].concat();
                section.id = NESTED_COMPONENT;
            }
        }
    }
}

impl Name {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Users => b"chat:reset-totp/users@0.1.0",
            Self::Settings => b"chat:reset-totp/settings@0.1.0",
            Self::Secrets => b"chat:reset-totp/secrets@0.1.0",
            Self::LaterSecrets => b"chat:reset-totp/secrets@0.2.0",
            Self::Handler => b"chat:reset-totp/handler@0.1.0",
            Self::WallClock => b"wasi:clocks/wall-clock@0.2.0",
            Self::Find => b"find",
            Self::Reset => b"reset-totp",
            Self::Memory => b"memory",
            Self::Anything(bytes) => bytes,
        }
    }
}

/// `content` with another name in place of one, of whatever length.
fn renamed(content: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let found = |place: &usize| !from.is_empty() && content[*place..].starts_with(from);
    let Some(place) = (0..content.len()).find(found) else {
        return content.to_vec();
    };
    let (before, after) = content.split_at(place);
    [before, to, &after[from.len()..]].concat()
}

/// What a module and a component begin with, of which each is eight bytes.
const MAGIC: &[u8] = b"\0asm";
const HEADER: usize = 8;

/// The id of a section that holds a component.
const NESTED_COMPONENT: u8 = 4;

#[derive(Clone)]
struct Section {
    id: u8,
    /// What is said of it, where that is not how long it is.
    length: Option<u32>,
    content: Vec<u8>,
}

impl Section {
    fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.content.len()).unwrap();
        let length = leb(self.length.unwrap_or(length));
        [&[self.id][..], &length, &self.content].concat()
    }
}

/// The sections of a module or component, as far as they can be told apart.
fn sections(file: &[u8]) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut rest = file.get(HEADER..).unwrap_or_default();
    while let Some((&id, after)) = rest.split_first()
        && let Some((length, content)) = number(after)
        && let Some((content, next)) = content.split_at_checked(length)
    {
        sections.push(Section {
            id,
            length: None,
            content: content.to_vec(),
        });
        rest = next;
    }
    sections
}

/// A number in LEB128, and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().take(5).position(|byte| byte & 0x80 == 0)?;
    let (digits, rest) = bytes.split_at(end + 1);
    let value = digits
        .iter()
        .rev()
        .fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    Some((value, rest))
}

/// `number` in LEB128, five bytes long.
fn leb(number: u32) -> [u8; 5] {
    let digit = |place: u32| u8::try_from(number >> (7 * place) & 0x7f).unwrap();
    let more = 0x80;
    [
        digit(0) | more,
        digit(1) | more,
        digit(2) | more,
        digit(3) | more,
        digit(4),
    ]
}

fn chosen<T>(all: &[T], which: u8) -> Option<&T> {
    all.get(usize::from(which) % all.len().max(1))
}
