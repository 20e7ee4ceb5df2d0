//! A workspace's settings: each has a name that operators know, a default and a
//! range.

use crate::mail::Language;
use crate::mail_server::MailServer;
use crate::rocket_chat::RocketChat;
use lettre::message::Mailbox;
use regex::Regex;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;
use url::Url;

/// Most time steps that a clock may differ by: five minutes, more is a clock to be set.
pub(crate) const MAX_TOTP_WINDOW: u32 = 10;

/// A workspace's settings. Each field is documented by its [`Setting`].
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "`SETTINGS` says what each means, once")]
pub struct Settings {
    pub two_factor_enabled: bool,
    pub totp_enabled: bool,
    pub totp_window: u32,
    pub email_enabled: bool,
    pub email_code_seconds: u32,
    pub email_code_failures: u32,
    pub password_fallback: bool,
    pub missing_factor_allowed: bool,
    pub bypass_token_allowed: bool,
    pub login_days: u32,
    pub rate_limit_calls: u32,
    pub rate_limit_seconds: u32,
    pub cors_origins: String,
    pub failure_budget: u32,
    pub totp_issuer: String,
    pub username_pattern: String,
    pub sessions: u32,
    pub audit_days: u32,
    pub dead_letter_days: u32,
    pub mail_server: SecretString,
    pub mail_from: String,
    pub mail_hours: u32,
    pub rocket_chat: SecretString,
    pub language: Language,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            two_factor_enabled: true,
            totp_enabled: true,
            totp_window: 1,
            email_enabled: true,
            email_code_seconds: 3600,
            email_code_failures: 5,
            password_fallback: true,
            missing_factor_allowed: false,
            bypass_token_allowed: false,
            login_days: 90,
            rate_limit_calls: 10,
            rate_limit_seconds: 60,
            cors_origins: String::new(),
            failure_budget: 100,
            totp_issuer: String::new(),
            username_pattern: "[0-9a-zA-Z-_.]+".to_owned(),
            sessions: 100,
            audit_days: 730,
            dead_letter_days: 90,
            mail_server: SecretString::default(),
            mail_from: String::new(),
            mail_hours: 72,
            rocket_chat: SecretString::default(),
            language: Language::default(),
        }
    }
}

impl Settings {
    /// By whom authenticator apps say that a key was issued: by `otherwise`, unless the settings
    /// say by whom.
    pub fn issuer<'a>(&'a self, otherwise: &'a str) -> &'a str {
        match self.totp_issuer.as_str() {
            "" => otherwise,
            issuer => issuer,
        }
    }

    /// TOTP is used: accounts may enrol it.
    pub fn uses_totp(&self) -> bool {
        self.two_factor_enabled && self.totp_enabled
    }

    /// How long a code that was sent by e-mail is valid.
    pub fn email_code_lifetime(&self) -> Duration {
        Duration::from_secs(self.email_code_seconds.into())
    }

    /// How long a login lasts.
    pub fn login_lifetime(&self) -> Duration {
        Duration::from_secs(u64::from(self.login_days) * 24 * 60 * 60)
    }

    /// How long audit records are kept; none: for ever.
    pub fn audit_lifetime(&self) -> Option<Duration> {
        days(self.audit_days)
    }

    /// How long dead letters are kept; none: for ever.
    pub fn dead_letter_lifetime(&self) -> Option<Duration> {
        days(self.dead_letter_days)
    }

    /// How long it is tried to deliver a notice.
    pub fn mail_lifetime(&self) -> Duration {
        Duration::from_secs(u64::from(self.mail_hours) * 60 * 60)
    }
}

fn days(number: u32) -> Option<Duration> {
    (number > 0).then(|| Duration::from_secs(u64::from(number) * 24 * 60 * 60))
}

/// One of a workspace's settings.
pub struct Setting {
    /// For example `totp-window`.
    pub name: &'static str,
    /// What it means, with its unit and range.
    pub meaning: &'static str,
    field: fn(&mut Settings) -> Field<'_>,
}

/// What a setting holds, and which values it takes.
enum Field<'a> {
    Switch(&'a mut bool),
    Number(&'a mut u32, RangeInclusive<u32>),
    Language(&'a mut Language),
    /// A value that is not empty is kept as the function writes it, which says what is
    /// wrong with one that is none.
    Text(&'a mut String, fn(&str) -> Result<String, String>),
    /// Shown to nobody; otherwise like a text.
    Secret(&'a mut SecretString, fn(&str) -> Result<String, String>),
}

/// Why a value is not one of a setting's.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct InvalidSetting {
    name: &'static str,
    problem: String,
}

impl InvalidSetting {
    /// What is wrong, where the name is known already.
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

/// All settings, in the order in which people read them.
pub const SETTINGS: [Setting; 24] = [
    Setting {
        name: "two-factor-enabled",
        meaning: "second factors are used at all",
        field: |s| Field::Switch(&mut s.two_factor_enabled),
    },
    Setting {
        name: "totp-enabled",
        meaning: "TOTP is one of them",
        field: |s| Field::Switch(&mut s.totp_enabled),
    },
    Setting {
        name: "totp-window",
        meaning: "time steps of 30 s accepted before and after the current one, 0 to 10",
        field: |s| Field::Number(&mut s.totp_window, 0..=MAX_TOTP_WINDOW),
    },
    Setting {
        name: "email-enabled",
        meaning: "a code by e-mail is one of them, for those who opted in",
        field: |s| Field::Switch(&mut s.email_enabled),
    },
    Setting {
        name: "email-code-seconds",
        meaning: "how long a code by e-mail is valid, 60 to 86400 s",
        field: |s| Field::Number(&mut s.email_code_seconds, 60..=86_400),
    },
    Setting {
        name: "email-code-failures",
        meaning: "wrong tries that end a code by e-mail, 1 to 20",
        field: |s| Field::Number(&mut s.email_code_failures, 1..=20),
    },
    Setting {
        name: "password-fallback",
        meaning: "a caller who has no other second factor proves the password instead",
        field: |s| Field::Switch(&mut s.password_fallback),
    },
    Setting {
        name: "missing-factor-allowed",
        meaning: "a caller without any second factor may reset TOTP, and begin to enrol it",
        field: |s| Field::Switch(&mut s.missing_factor_allowed),
    },
    Setting {
        name: "bypass-token-allowed",
        meaning: "a token that bypasses the second factor does so",
        field: |s| Field::Switch(&mut s.bypass_token_allowed),
    },
    Setting {
        name: "login-days",
        meaning: "how long a login lasts, 1 to 3650 days",
        field: |s| Field::Number(&mut s.login_days, 1..=3650),
    },
    Setting {
        name: "rate-limit-calls",
        meaning: "calls of a route that a client address may make in a window, 0 (no limit) to 100000",
        field: |s| Field::Number(&mut s.rate_limit_calls, 0..=100_000),
    },
    Setting {
        name: "rate-limit-seconds",
        meaning: "length of that window, 1 to 86400 s",
        field: |s| Field::Number(&mut s.rate_limit_seconds, 1..=86_400),
    },
    Setting {
        name: "cors-origins",
        meaning: "origins of web pages that may call, separated by blanks; * for all, empty for none",
        field: |s| Field::Text(&mut s.cors_origins, origins),
    },
    Setting {
        name: "failure-budget",
        meaning: "wrong codes in a row after which a second factor must be replaced, 5 to 100",
        field: |s| Field::Number(&mut s.failure_budget, 5..=100),
    },
    Setting {
        name: "totp-issuer",
        meaning: "by whom authenticator apps say that a key was issued, up to 64 characters; empty: the workspace's \
                  first host name, and its id where the command line issues it",
        field: |s| Field::Text(&mut s.totp_issuer, issuer),
    },
    Setting {
        name: "username-pattern",
        meaning: "what new usernames are made of, a regular expression",
        field: |s| Field::Text(&mut s.username_pattern, pattern),
    },
    Setting {
        name: "sessions",
        meaning: "sessions of an account, 1 to 1000; the next log-in ends the oldest",
        field: |s| Field::Number(&mut s.sessions, 1..=1000),
    },
    Setting {
        name: "audit-days",
        meaning: "how long audit records are kept, 1 to 36500 days; 0: for ever",
        field: |s| Field::Number(&mut s.audit_days, 0..=36_500),
    },
    Setting {
        name: "dead-letter-days",
        meaning: "how long dead letters are kept, 1 to 36500 days; 0: for ever",
        field: |s| Field::Number(&mut s.dead_letter_days, 0..=36_500),
    },
    Setting {
        name: "mail-server",
        meaning: "smtps://USER:PASSWORD@HOST (TLS from the start), smtp://USER:PASSWORD@HOST?tls=required (STARTTLS) \
                  or smtp://HOST (no TLS); empty: mail waits",
        field: |s| Field::Secret(&mut s.mail_server, mail_server),
    },
    Setting {
        name: "mail-from",
        meaning: "the sender of mail, for example Acme chat <chat@acme.example>; empty: mail waits",
        field: |s| Field::Text(&mut s.mail_from, mailbox),
    },
    Setting {
        name: "mail-hours",
        meaning: "how long delivery of a notice is tried, 1 to 720 h; then it is a dead letter",
        field: |s| Field::Number(&mut s.mail_hours, 1..=720),
    },
    Setting {
        name: "rocket-chat",
        meaning: "https://USER_ID:TOKEN@HOST of the Rocket.Chat that closes the sockets of whoever is reset, by a \
                  service account with logout-other-user; empty: they stay open",
        field: |s| Field::Secret(&mut s.rocket_chat, rocket_chat),
    },
    Setting {
        name: "language",
        meaning: "in which language mail is, en or de, where the member's own is not known",
        field: |s| Field::Language(&mut s.language),
    },
];

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Setting {
    /// The setting with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// Sets this setting to the value that `text` writes.
    ///
    /// # Errors
    ///
    /// When it is not one of the setting's values; `settings` is unchanged.
    pub fn set(&self, settings: &mut Settings, text: &str) -> Result<(), InvalidSetting> {
        let normal = match (self.field)(settings) {
            Field::Text(_, normal) | Field::Secret(_, normal) if !text.is_empty() => normal(text),
            _ => Ok(text.to_owned()),
        };
        let normal = normal.map_err(|problem| self.invalid(problem))?;
        self.restore(settings, &normal)
    }

    /// Sets this setting to a value that [`Setting::set`] took when it was stored: a
    /// text is not checked again, which is done for every request.
    ///
    /// # Errors
    ///
    /// When a switch or a number is none, or out of range; `settings` is unchanged.
    pub fn restore(&self, settings: &mut Settings, text: &str) -> Result<(), InvalidSetting> {
        match (self.field)(settings) {
            Field::Switch(value) => match text.parse() {
                Ok(switch) => *value = switch,
                Err(_) => return Err(self.invalid("it is true or false".to_owned())),
            },
            Field::Number(value, range) => match text.parse() {
                Ok(number) if range.contains(&number) => *value = number,
                _ => {
                    let (first, last) = (range.start(), range.end());
                    let problem = format!("it is a whole number, {first} to {last}");
                    return Err(self.invalid(problem));
                }
            },
            Field::Language(value) => {
                let mut all = Language::ALL.into_iter();
                match all.find(|language| language.tag() == text) {
                    Some(language) => *value = language,
                    None => {
                        let tags = Language::ALL.map(Language::tag).join(" or ");
                        return Err(self.invalid(format!("it is {tags}")));
                    }
                }
            }
            Field::Text(value, _) => text.clone_into(value),
            Field::Secret(value, _) => *value = text.into(),
        }
        Ok(())
    }

    /// Sets this setting, which is a number, to the value nearest to `number` that it takes: of
    /// what another program keeps in a wider range.
    pub fn set_nearest(&self, settings: &mut Settings, number: i64) {
        if let Field::Number(value, range) = (self.field)(settings) {
            let [first, last] = [*range.start(), *range.end()].map(i64::from);
            *value = u32::try_from(number.clamp(first, last)).unwrap_or(*range.end());
        }
    }

    fn invalid(&self, problem: String) -> InvalidSetting {
        InvalidSetting {
            name: self.name,
            problem,
        }
    }

    /// The value as [`Setting::set`] reads it.
    pub fn value(&self, settings: &Settings) -> SecretString {
        let mut settings = settings.clone();
        match (self.field)(&mut settings) {
            Field::Switch(value) => value.to_string().into(),
            Field::Number(value, _) => value.to_string().into(),
            Field::Language(value) => value.tag().into(),
            Field::Text(value, _) => value.as_str().into(),
            Field::Secret(value, _) => value.clone(),
        }
    }

    /// Whether the value is a secret: people are shown only whether there is one.
    pub fn is_secret(&self) -> bool {
        matches!((self.field)(&mut Settings::default()), Field::Secret(..))
    }

    /// Whether the value is not the default.
    pub fn is_changed(&self, settings: &Settings) -> bool {
        let default = self.value(&Settings::default());
        self.value(settings).expose_secret() != default.expose_secret()
    }
}

/// Origins as browsers write them (RFC 6454 section 6.2), each once: a page is compared
/// with them letter by letter.
fn origins(text: &str) -> Result<String, String> {
    let mut normal = Vec::new();
    for origin in text.split_ascii_whitespace() {
        let origin = match origin {
            "*" => "*".to_owned(),
            _ => as_browsers_write(origin)
                .ok_or_else(|| format!("{origin} is not an origin such as https://chat.example"))?,
        };
        if !normal.contains(&origin) {
            normal.push(origin);
        }
    }
    Ok(normal.join(" "))
}

/// Scheme and host in lower case, the host in Punycode, and no port that is the scheme's
/// own.
fn as_browsers_write(origin: &str) -> Option<String> {
    let (scheme, host) = origin.split_once("://")?;
    let is_web = ["http", "https"].contains(&&*scheme.to_ascii_lowercase());
    if !is_web || host.is_empty() || host.contains(['/', '\\', '*', '@', '?', '#']) {
        return None;
    }
    Some(Url::parse(origin).ok()?.origin().ascii_serialization())
}

/// Characters of an issuer: what an app shows in a line.
const MAX_ISSUER: usize = 64;

/// An app takes what is before the first colon of a label for the issuer.
fn issuer(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_plain = |c: char| !c.is_control() && c != ':';
    match text.chars().all(is_plain) && text.chars().count() <= MAX_ISSUER {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "it is up to {MAX_ISSUER} characters, none of them a colon"
        )),
    }
}

fn pattern(text: &str) -> Result<String, String> {
    match whole_name(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("it is no regular expression such as [0-9a-z._-]+".to_owned()),
    }
}

/// What matches a whole name that `pattern` does, which must be a pattern by itself.
pub(crate) fn whole_name(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(pattern)?;
    Regex::new(&format!("^(?:{pattern})$"))
}

/// The reason never quotes the value: it may hold a password.
fn mail_server(text: &str) -> Result<String, String> {
    match MailServer::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The reason never quotes the value: it may hold a token.
fn rocket_chat(text: &str) -> Result<String, String> {
    match RocketChat::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn mailbox(text: &str) -> Result<String, String> {
    match text.parse::<Mailbox>() {
        Ok(_) if !text.contains(char::is_control) => Ok(text.trim().to_owned()),
        _ => Err("it is not an address such as Acme chat <chat@acme.example>".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> &'static Setting {
        Setting::named(name).unwrap()
    }

    #[test]
    fn every_setting_has_a_name_of_its_own_and_takes_its_own_value_back() {
        for setting in &SETTINGS {
            let mut settings = Settings::default();
            let value = setting.value(&settings);
            setting.set(&mut settings, value.expose_secret()).unwrap();
            assert!(!setting.is_changed(&settings), "{}", setting.name);
        }
        let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len());
        assert!(Setting::named("totp").is_none());
    }

    #[test]
    fn times_are_as_long_as_their_units_say() {
        let settings = Settings {
            email_code_seconds: 61,
            login_days: 2,
            mail_hours: 3,
            ..Settings::default()
        };
        assert_eq!(settings.email_code_lifetime(), Duration::from_secs(61));
        assert_eq!(settings.login_lifetime(), Duration::from_secs(172_800));
        assert_eq!(settings.mail_lifetime(), Duration::from_secs(10_800));
    }

    #[test]
    fn the_ends_of_a_range_belong_to_it() {
        for (name, ends) in [
            ("totp-window", ["0", "10"]),
            ("email-code-seconds", ["60", "86400"]),
            ("email-code-failures", ["1", "20"]),
            ("login-days", ["1", "3650"]),
            ("rate-limit-calls", ["0", "100000"]),
            ("rate-limit-seconds", ["1", "86400"]),
            ("mail-hours", ["1", "720"]),
        ] {
            let mut settings = Settings::default();
            for end in ends {
                named(name).set(&mut settings, end).unwrap();
                assert_eq!(named(name).value(&settings).expose_secret(), end);
            }
            let [first, last] = ends.map(|end| end.parse::<i64>().unwrap());
            for beyond in [first - 1, last + 1] {
                let beyond = beyond.to_string();
                assert!(named(name).set(&mut settings, &beyond).is_err(), "{name}");
            }
        }
    }

    #[test]
    fn a_number_beyond_the_range_is_the_nearest_that_is_taken() {
        let mut settings = Settings::default();
        for (number, nearest) in [
            (i64::MIN, 0),
            (-1, 0),
            (0, 0),
            (7, 7),
            (11, 10),
            (i64::MAX, 10),
        ] {
            named("totp-window").set_nearest(&mut settings, number);
            assert_eq!(settings.totp_window, nearest, "{number}");
        }
        named("totp-enabled").set_nearest(&mut settings, 0);
        assert!(settings.totp_enabled, "it is no number");
    }

    #[test]
    fn a_value_outside_the_range_is_refused_and_changes_nothing() {
        for (name, text, problem) in [
            ("totp-enabled", "yes", "totp-enabled: it is true or false"),
            (
                "totp-window",
                "11",
                "totp-window: it is a whole number, 0 to 10",
            ),
            (
                "totp-window",
                "-1",
                "totp-window: it is a whole number, 0 to 10",
            ),
            (
                "totp-window",
                "",
                "totp-window: it is a whole number, 0 to 10",
            ),
            (
                "cors-origins",
                "https://a.example b.example",
                "cors-origins: b.example is not an origin such as https://chat.example",
            ),
            (
                "mail-from",
                "chat",
                "mail-from: it is not an address such as Acme chat <chat@acme.example>",
            ),
            (
                "mail-from",
                "Acme\r\nBcc: eve@evil.example <chat@acme.example>",
                "mail-from: it is not an address such as Acme chat <chat@acme.example>",
            ),
            (
                "mail-from",
                "chat@acme.example\n",
                "mail-from: it is not an address such as Acme chat <chat@acme.example>",
            ),
            (
                "mail-from",
                "\"Acme\u{7}\" <chat@acme.example>",
                "mail-from: it is not an address such as Acme chat <chat@acme.example>",
            ),
            (
                "mail-server",
                "smtp://user:hunter2@mail.example",
                "mail-server: it would send the password unencrypted: use smtps:// or ?tls=required",
            ),
            (
                "mail-server",
                "http://user:hunter2@host",
                "mail-server: it is not a mail server's URL such as smtps://USER:PASSWORD@HOST",
            ),
        ] {
            let mut settings = Settings::default();
            let error = named(name).set(&mut settings, text).unwrap_err();
            assert_eq!(error.to_string(), problem);
            assert!(!named(name).is_changed(&settings));
        }
    }

    /// A browser sends none of these as an origin: they would be allowed in vain.
    #[test]
    fn an_origin_has_scheme_host_and_port_and_no_more() {
        for text in [
            "https://",
            "https:// http://chat.example",
            "https://chat.example/",
            "https://*.chat.example",
            "https://user@chat.example",
            "https://chat.example?page",
            "https://chat.example#page",
            "ftp://chat.example",
            "null",
        ] {
            let mut settings = Settings::default();
            let origins = named("cors-origins");
            assert!(origins.set(&mut settings, text).is_err(), "{text}");
            assert!(!origins.is_changed(&settings), "{text}");
        }
    }

    /// What is compared letter by letter is kept as browsers write it; a number, in one way.
    #[test]
    fn a_value_is_kept_in_the_form_that_can_match() {
        for (name, text, kept) in [
            (
                "cors-origins",
                "https://Chat.Example https://chat.example:443 HTTP://chat.example:80",
                "https://chat.example http://chat.example",
            ),
            (
                "cors-origins",
                "https://chat.example:8443  https://m\u{fc}ller.example https://[2001:DB8:0::1]",
                "https://chat.example:8443 https://xn--mller-kva.example https://[2001:db8::1]",
            ),
            ("totp-window", "007", "7"),
            ("mail-from", " chat@acme.example ", "chat@acme.example"),
        ] {
            let mut settings = Settings::default();
            named(name).set(&mut settings, text).unwrap();
            assert_eq!(named(name).value(&settings).expose_secret(), kept);
        }
    }

    #[test]
    fn values_in_the_range_are_taken_and_a_secret_is_not_shown() {
        let mut settings = Settings::default();
        for (name, text) in [
            ("totp-window", "10"),
            ("two-factor-enabled", "false"),
            ("cors-origins", "https://chat.example http://localhost:3000"),
            ("cors-origins", "*"),
            ("mail-from", "Acme chat <chat@acme.example>"),
            (
                "mail-server",
                "smtp://user:hunter2@mail.example?tls=required",
            ),
        ] {
            named(name).set(&mut settings, text).unwrap();
            assert!(named(name).is_changed(&settings));
            assert_eq!(named(name).value(&settings).expose_secret(), text);
        }
        assert!(named("mail-server").is_secret());
        assert!(!format!("{settings:?}").contains("hunter2"));
        named("mail-server").set(&mut settings, "").unwrap();
        assert!(!named("mail-server").is_changed(&settings));
    }
}
