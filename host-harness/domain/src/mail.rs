//! What members are told by e-mail, in their language: what each mail says is in `english` and
//! `german`, of which neither compiles without a text for every [`Event`].

mod english;
mod german;

use crate::audit::Source;
use crate::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};

/// A mail, but for whom it is to.
#[derive(Debug)]
pub struct Letter {
    /// One line of text.
    pub subject: &'static str,
    /// Plain text.
    pub body: SecretString,
    /// The body holds a code: nobody but the recipient may read it, and it is of
    /// no use once it has expired.
    pub holds_code: bool,
}

/// What a holder is told about their second factor, password or tokens.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Their TOTP factor was removed by this account, or by an operator.
    Reset {
        /// A username; none for an operator of the server.
        by: Option<&'a str>,
    },
    /// They have removed it themselves, and are logged out everywhere.
    OwnReset,
    /// A key to enrol was shown.
    KeyShown,
    /// TOTP was enrolled.
    Enrolled,
    /// TOTP was given up by its code.
    Disabled,
    /// There are new backup codes.
    NewBackupCodes,
    /// A backup code was used.
    BackupCodeUsed {
        /// How many are left.
        left: usize,
    },
    /// Guesses have locked the second factor for the first time.
    Locked {
        /// Wrong codes in a row.
        failures: u32,
        /// When it may be tried again.
        until: Timestamp,
    },
    /// Guesses have locked the second factor for good.
    GuessedOut {
        /// Wrong codes in a row.
        failures: u32,
    },
    /// There is a new password.
    NewPassword,
    /// There is a new login token.
    NewToken {
        /// Its name; empty for that of a session.
        name: &'a str,
    },
}

/// A language in which there is mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Where nothing else is asked for.
    #[default]
    English,
    /// By `Sie`.
    German,
}

impl Language {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::English, Self::German];

    /// Its subtag in BCP 47.
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// That of a language tag (BCP 47), whatever region or script it names: `de`, `de-AT`, `DE_de`;
    /// none where there is no mail in it.
    pub fn of_tag(tag: &str) -> Option<Self> {
        let primary = tag.split(['-', '_']).next()?;
        let mut all = Self::ALL.into_iter();
        all.find(|language| language.tag().eq_ignore_ascii_case(primary))
    }
}

/// The notice that something has happened to the reader's account.
pub fn notice(
    language: Language,
    event: &Event<'_>,
    at: Timestamp,
    source: Option<&Source>,
) -> Letter {
    let (subject, story, warning) = match language {
        Language::English => (
            english::subject(event),
            english::story(event, at),
            english::WARNING,
        ),
        Language::German => (
            german::subject(event),
            german::story(event, at),
            german::WARNING,
        ),
    };
    // What the program calls itself is a stranger's text: it has no place in a mail of ours.
    let address = source.map(|source| source.address.to_string());
    let from = address.map(|address| match language {
        Language::English => english::from(&address),
        Language::German => german::from(&address),
    });
    let from = from.map(|from| format!("\n{from}\n")).unwrap_or_default();
    Letter {
        subject,
        body: format!("{story}\n{from}\n{warning}").into(),
        holds_code: false,
    }
}

/// The mail that brings `user` a code of six digits.
pub fn email_code(
    language: Language,
    user: &str,
    code: &SecretString,
    expires: Timestamp,
) -> Letter {
    let user = printable(user);
    let (first, last) = code.expose_secret().split_at_checked(3).unwrap_or_default();
    let code = format!("{first}-{last}");
    let (subject, body) = match language {
        Language::English => (english::CODE_SUBJECT, english::code(&user, &code, expires)),
        Language::German => (german::CODE_SUBJECT, german::code(&user, &code, expires)),
    };
    Letter {
        subject,
        body: body.into(),
        holds_code: true,
    }
}

/// A name that cannot begin a line of its own.
fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_shown_in_two_halves() {
        for (language, beginning) in [
            (Language::English, "The code for alice is 012-345."),
            (Language::German, "Der Code für alice lautet 012-345."),
        ] {
            let expires = Timestamp::from_millis(0);
            let letter = email_code(language, "alice", &"012345".into(), expires);
            let body = letter.body.expose_secret();
            assert!(body.starts_with(beginning), "{body}");
            assert!(!letter.subject.contains("012"));
        }
    }

    #[test]
    fn a_name_cannot_write_a_line_of_its_own() {
        let by = "eve\r\n\r\nYou have won";
        let source = Source {
            address: [192, 0, 2, 1].into(),
            agent: Some("x\r\n\r\ny".to_owned()),
        };
        let at = Timestamp::from_millis(0);
        let event = Event::Reset { by: Some(by) };
        for (language, shown, from) in [
            (
                Language::English,
                "was reset by eveYou have won at",
                "\nFrom: 192.0.2.1\n",
            ),
            (
                Language::German,
                "von\neveYou have won zurückgesetzt",
                "\nVon: 192.0.2.1\n",
            ),
        ] {
            let letter = notice(language, &event, at, Some(&source));
            let body = letter.body.expose_secret();
            assert!(body.contains(shown), "{body}");
            assert!(body.contains(from), "{body}");
        }
    }

    #[test]
    fn a_language_is_known_by_the_first_subtag_of_its_tag() {
        for (tag, language) in [
            ("de", Some(Language::German)),
            ("de-AT", Some(Language::German)),
            ("DE_ch", Some(Language::German)),
            ("en", Some(Language::English)),
            ("en-GB", Some(Language::English)),
            ("pt-BR", None),
            ("den", None),
            ("d", None),
            ("-de", None),
            ("", None),
        ] {
            assert_eq!(Language::of_tag(tag), language, "{tag}");
        }
        for language in Language::ALL {
            assert_eq!(Language::of_tag(language.tag()), Some(language));
        }
    }

    fn every_event() -> [Event<'static>; 13] {
        let until = Timestamp::from_millis(60_000);
        [
            Event::Reset { by: Some("bob") },
            Event::Reset { by: None },
            Event::OwnReset,
            Event::KeyShown,
            Event::Enrolled,
            Event::Disabled,
            Event::NewBackupCodes,
            Event::BackupCodeUsed { left: 3 },
            Event::Locked { failures: 5, until },
            Event::GuessedOut { failures: 100 },
            Event::NewPassword,
            Event::NewToken { name: "" },
            Event::NewToken { name: "ci" },
        ]
    }

    /// Every fact that the one names the other does, too, and no line but the first is longer than
    /// mail should have (RFC 5322 section 2.1.1).
    #[test]
    fn a_notice_says_the_same_in_every_language() {
        let at = Timestamp::from_millis(0);
        let facts = [
            "1970-01-01T00:00:00Z",
            "1970-01-01T00:01:00Z",
            "bob",
            " 3",
            "5 ",
            "100 ",
            "ci ",
            "\n\n",
        ];
        for event in every_event() {
            let [english, german] = Language::ALL.map(|language| {
                let letter = notice(language, &event, at, None);
                (letter.subject, letter.body.expose_secret().to_owned())
            });
            assert_ne!(english, german, "{event:?}");
            for fact in facts {
                let counts = [&english.1, &german.1].map(|body| body.matches(fact).count());
                assert_eq!(counts[0], counts[1], "{event:?}: {fact:?} in {}", german.1);
            }
            // The first says who did it, and that may be of any length.
            let [english, german] = [&english.1, &german.1].map(|body| body.lines().skip(1));
            for line in english.chain(german) {
                assert!(line.chars().count() <= 78, "{line}");
            }
        }
    }
}
