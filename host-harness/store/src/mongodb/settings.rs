//! The settings of the workspace: most are Rocket.Chat's, which alone changes them; what it knows
//! nothing of is ours. Each is read as it is at that moment, and needs no restart.

use super::database::{Look, Transaction};
use super::failure::Failure;
use super::field::{Fields, id_of};
use crate::convention::restore;
use crate::seal::Seal;
use chat_domain::mail::Language;
use chat_domain::mail_server::MailServer;
use chat_domain::settings::{Setting, Settings};
use mongodb::bson::{Document, doc};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::HashMap;

/// Rocket.Chat's: `{_id, value}`.
pub(super) const ROCKET_SETTINGS: &str = "rocketchat_settings";

/// Ours: `{_id, value}`, both texts, of what differs from the default.
pub(super) const SETTINGS: &str = "reset_totp_settings";

/// Those that a configuration says: `{_id, place}`, both texts.
pub(super) const FIXED_SETTINGS: &str = "reset_totp_fixed_settings";

/// Which of Rocket.Chat's settings each of these is. Where Rocket.Chat has none of the name, it is
/// the default, which is the same.
const SWITCHES: [(&str, &str); 4] = [
    (
        "two-factor-enabled",
        "Accounts_TwoFactorAuthentication_Enabled",
    ),
    (
        "totp-enabled",
        "Accounts_TwoFactorAuthentication_By_TOTP_Enabled",
    ),
    (
        "email-enabled",
        "Accounts_TwoFactorAuthentication_By_Email_Enabled",
    ),
    (
        "password-fallback",
        "Accounts_TwoFactorAuthentication_Enforce_Password_Fallback",
    ),
];

/// Numbers in the same unit. Beyond the range that a setting has here, it is the nearest in it.
const NUMBERS: [(&str, &str); 4] = [
    ("totp-window", "Accounts_TwoFactorAuthentication_MaxDelta"),
    (
        "email-code-seconds",
        "Accounts_TwoFactorAuthentication_By_Email_Code_Expiration",
    ),
    (
        "email-code-failures",
        "Accounts_TwoFactorAuthentication_Max_Invalid_Email_Code_Attempts",
    ),
    ("login-days", LOGIN_DAYS),
];

/// Zero or less is the default there.
const LOGIN_DAYS: &str = "Accounts_LoginExpiration";

const LIMITS_RATE: &str = "API_Enable_Rate_Limiter";
const RATE_LIMIT_CALLS: &str = "API_Enable_Rate_Limiter_Limit_Calls_Default";
/// In milliseconds.
const RATE_LIMIT_TIME: &str = "API_Enable_Rate_Limiter_Limit_Time_Default";

const ALLOWS_ORIGINS: &str = "API_Enable_CORS";
/// Separated by commas; `*` for all, which is the default.
const ORIGINS: &str = "API_CORS_Origin";

/// A tag, such as `de` or `pt-BR`; empty for Rocket.Chat's own default.
const LANGUAGE: &str = "Language";

/// Settings that are made of Rocket.Chat's, more than one or in another form.
const MADE: [(&str, &[&str]); 4] = [
    ("rate-limit-calls", &[LIMITS_RATE, RATE_LIMIT_CALLS]),
    ("rate-limit-seconds", &[RATE_LIMIT_TIME]),
    ("cors-origins", &[ALLOWS_ORIGINS, ORIGINS]),
    ("language", &[LANGUAGE]),
];

/// Where mail is handed in, and from whom: where ours say nothing.
const MAIL: [&str; 7] = [
    "From_Email",
    "SMTP_Protocol",
    "SMTP_Host",
    "SMTP_Port",
    "SMTP_IgnoreTLS",
    "SMTP_Username",
    "SMTP_Password",
];

/// Which of Rocket.Chat's settings says this one, so that it is not ours to set.
pub(super) fn is_rockets(name: &str) -> Option<String> {
    let same = SWITCHES.iter().chain(&NUMBERS);
    let mut same = same.filter(|(ours, _)| *ours == name);
    let mut made = MADE.iter().filter(|(ours, _)| *ours == name);
    match same.next() {
        Some((_, theirs)) => Some((*theirs).to_owned()),
        None => made.next().map(|(_, theirs)| theirs.join(" and ")),
    }
}

/// The settings as they are in this transaction.
pub(super) async fn read(
    transaction: &mut Transaction,
    seal: &Seal,
    workspace: &str,
) -> Result<Settings, Failure> {
    let same = SWITCHES.iter().chain(&NUMBERS).map(|(_, theirs)| *theirs);
    let made = MADE.iter().flat_map(|(_, theirs)| theirs.iter().copied());
    let names: Vec<_> = same.chain(made).chain(MAIL).collect();
    let theirs = Look::at(doc! { "_id": { "$in": names } }).only(doc! { "value": 1 });
    let theirs = transaction.find(ROCKET_SETTINGS, theirs).await?;
    let ours = transaction.find(SETTINGS, Look::default()).await?;
    let mut settings = Settings::default();
    Rockets::of(&theirs).say(&mut settings)?;
    for document in &ours {
        let name = id_of(document);
        let value = Fields::of(document, SETTINGS, &name).needed_text("value")?;
        match is_rockets(&name) {
            None => restore(seal, &mut settings, workspace, &name, value)?,
            Some(_) => return Err(Failure::fault(format!("{SETTINGS}: {}", refusal(&name)))),
        }
    }
    Ok(settings)
}

/// Why a setting is not ours.
pub(super) fn refusal(name: &str) -> String {
    let theirs = is_rockets(name).unwrap_or_default();
    format!("{name} is said by Rocket.Chat's own setting {theirs}: set it there")
}

/// What Rocket.Chat's settings say.
struct Rockets<'a>(HashMap<String, &'a Document>);

impl<'a> Rockets<'a> {
    fn of(documents: &'a [Document]) -> Self {
        let named = documents.iter().map(|document| (id_of(document), document));
        Self(named.collect())
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.0.get(name) {
            Some(document) => Fields::of(document, ROCKET_SETTINGS, name).flag("value"),
            None => Ok(None),
        }
    }

    fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        match self.0.get(name) {
            Some(document) => Fields::of(document, ROCKET_SETTINGS, name).number("value"),
            None => Ok(None),
        }
    }

    fn text(&self, name: &'a str) -> Result<&'a str, Failure> {
        let document = self.0.get(name);
        let value =
            document.map(|document| Fields::of(document, ROCKET_SETTINGS, name).text("value"));
        Ok(value.transpose()?.flatten().unwrap_or_default())
    }

    fn shown(&self, name: &'a str) -> Option<&'a str> {
        Fields::of(self.0.get(name)?, ROCKET_SETTINGS, name).shown("value")
    }

    fn say(&self, settings: &mut Settings) -> Result<(), Failure> {
        for (ours, theirs) in SWITCHES {
            if let Some(flag) = self.flag(theirs)? {
                set(settings, ours, &flag.to_string());
            }
        }
        for (ours, theirs) in NUMBERS {
            match self.number(theirs)? {
                Some(number) if theirs == LOGIN_DAYS && number <= 0 => (),
                Some(number) => set_nearest(settings, ours, number),
                None => (),
            }
        }
        self.limit_rate(settings)?;
        self.allow_origins(settings)?;
        if let Some(language) = self.shown(LANGUAGE).and_then(Language::of_tag) {
            settings.language = language;
        }
        self.send_mail(settings)
    }

    fn limit_rate(&self, settings: &mut Settings) -> Result<(), Failure> {
        /// Milliseconds in a second.
        const SECOND: u64 = 1000;
        let calls = match self.flag(LIMITS_RATE)? {
            Some(false) => Some(0),
            _ => self.number(RATE_LIMIT_CALLS)?,
        };
        if let Some(calls) = calls {
            set_nearest(settings, "rate-limit-calls", calls);
        }
        if let Some(time) = self.number(RATE_LIMIT_TIME)? {
            let seconds = u64::try_from(time).unwrap_or_default().div_ceil(SECOND);
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            set_nearest(settings, "rate-limit-seconds", seconds);
        }
        Ok(())
    }

    /// What no browser sends as an origin allows none.
    fn allow_origins(&self, settings: &mut Settings) -> Result<(), Failure> {
        if self.flag(ALLOWS_ORIGINS)? != Some(true) {
            return Ok(());
        }
        let text = match self.text(ORIGINS)? {
            "" => "*",
            text => text,
        };
        let origins = text.split(|c: char| c == ',' || c.is_whitespace());
        let mut allowed = String::new();
        for origin in origins.filter(|origin| !origin.is_empty()) {
            let mut tried = Settings::default();
            set(&mut tried, "cors-origins", origin);
            allowed = format!("{allowed} {}", tried.cors_origins);
        }
        set(settings, "cors-origins", allowed.trim());
        Ok(())
    }

    /// Mail waits where they say nothing that mail can be sent by.
    fn send_mail(&self, settings: &mut Settings) -> Result<(), Failure> {
        set(settings, "mail-from", self.text("From_Email")?);
        let host = self.text("SMTP_Host")?.trim();
        if host.is_empty() {
            return Ok(());
        }
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let [user, password] = ["SMTP_Username", "SMTP_Password"].map(|name| self.text(name));
        let (user, password) = (user?, password?);
        let log_in = match (user.is_empty(), password.is_empty()) {
            (false, false) => format!("{}:{}@", encoded(user), encoded(password)),
            _ => String::new(),
        };
        let port = match self.port()? {
            Some(port) => format!(":{port}"),
            None => String::new(),
        };
        let ignores_tls = self.flag("SMTP_IgnoreTLS")?.unwrap_or(true);
        let (scheme, encryption) = match self.text("SMTP_Protocol")? {
            "smtps" => ("smtps", ""),
            // A password is sent encrypted, or not at all.
            _ if !ignores_tls || !log_in.is_empty() => ("smtp", "?tls=required"),
            _ => ("smtp", ""),
        };
        let server = format!("{scheme}://{log_in}{host}{port}{encryption}");
        if MailServer::parse(&server).is_ok() {
            settings.mail_server = server.into();
        }
        Ok(())
    }

    /// A number, or a text of one; none where it is empty.
    fn port(&self) -> Result<Option<u16>, Failure> {
        const PORT: &str = "SMTP_Port";
        let text = self.text(PORT);
        let Ok(text) = text else {
            let number = self.number(PORT)?.map(u16::try_from);
            return number.transpose().map_err(|_| no_port());
        };
        match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| no_port()),
        }
    }
}

fn no_port() -> Failure {
    Failure::fault(format!("{ROCKET_SETTINGS}.value of SMTP_Port is no port"))
}

/// What is none of the setting's values leaves the default.
fn set(settings: &mut Settings, name: &str, value: &str) {
    if let Some(setting) = Setting::named(name) {
        let _ = setting.set(settings, value);
    }
}

fn set_nearest(settings: &mut Settings, name: &str, number: i64) {
    if let Some(setting) = Setting::named(name) {
        setting.set_nearest(settings, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::Bson;
    use secrecy::ExposeSecret;

    fn said(values: &[(&str, Bson)]) -> Result<Settings, Failure> {
        let documents: Vec<_> = values
            .iter()
            .map(|(name, value)| doc! { "_id": *name, "value": value })
            .collect();
        let mut settings = Settings::default();
        Rockets::of(&documents).say(&mut settings)?;
        Ok(settings)
    }

    #[test]
    fn every_setting_that_is_rockets_is_one() {
        let names = SWITCHES.iter().chain(&NUMBERS).map(|(ours, _)| *ours);
        for name in names.chain(MADE.map(|(ours, _)| ours)) {
            assert!(Setting::named(name).is_some(), "{name}");
            assert!(is_rockets(name).is_some(), "{name}");
        }
        assert_eq!(is_rockets("audit-days"), None);
    }

    #[test]
    fn what_rocket_chat_does_not_say_is_the_default() {
        let settings = said(&[("Site_Name", "Acme".into())]).unwrap();
        for setting in &chat_domain::settings::SETTINGS {
            assert!(!setting.is_changed(&settings), "{}", setting.name);
        }
    }

    #[test]
    fn a_number_may_be_a_double_and_is_brought_into_its_range() {
        for (name, value, ours, expected) in [
            (NUMBERS[0].1, Bson::Double(2.0), "totp-window", "2"),
            (NUMBERS[0].1, Bson::Int32(50), "totp-window", "10"),
            (NUMBERS[0].1, Bson::Int32(-1), "totp-window", "0"),
            (NUMBERS[1].1, Bson::Int64(5), "email-code-seconds", "60"),
            (LOGIN_DAYS, Bson::Int32(0), "login-days", "90"),
            (LOGIN_DAYS, Bson::Int32(100_000), "login-days", "3650"),
            (LIMITS_RATE, Bson::Boolean(false), "rate-limit-calls", "0"),
            (
                RATE_LIMIT_TIME,
                Bson::Int32(1500),
                "rate-limit-seconds",
                "2",
            ),
        ] {
            let settings = said(&[(name, value)]).unwrap();
            let setting = Setting::named(ours).unwrap();
            assert_eq!(setting.value(&settings).expose_secret(), expected, "{name}");
        }
    }

    #[test]
    fn mail_is_in_the_language_of_the_workspace_or_english() {
        for (tag, language) in [
            ("de", Language::German),
            ("de-IN", Language::German),
            ("en", Language::English),
            ("fr", Language::English),
            ("", Language::English),
        ] {
            let settings = said(&[(LANGUAGE, tag.into())]).unwrap();
            assert_eq!(settings.language, language, "{tag}");
        }
    }

    #[test]
    fn origins_are_allowed_where_rocket_chat_allows_them() {
        let origins = |allows: bool, origins: &str| {
            let settings = said(&[(ALLOWS_ORIGINS, allows.into()), (ORIGINS, origins.into())]);
            settings.unwrap().cors_origins
        };
        assert_eq!(origins(false, "*"), "");
        assert_eq!(origins(true, ""), "*");
        assert_eq!(
            origins(true, "https://A.example, nonsense,https://b.example:443"),
            "https://a.example https://b.example"
        );
    }

    #[test]
    fn a_mail_server_is_had_as_rocket_chat_has_it() {
        let server = |more: &[(&str, Bson)]| {
            let mut values = vec![("SMTP_Host", "mail.example".into())];
            values.extend_from_slice(more);
            said(&values)
                .unwrap()
                .mail_server
                .expose_secret()
                .to_owned()
        };
        let login = [
            ("SMTP_Username", "chat@x".into()),
            ("SMTP_Password", "p/w".into()),
        ];
        assert_eq!(server(&[]), "smtp://mail.example");
        assert_eq!(
            server(&[
                ("SMTP_IgnoreTLS", false.into()),
                ("SMTP_Port", "587".into())
            ]),
            "smtp://mail.example:587?tls=required"
        );
        assert_eq!(
            server(&login),
            "smtp://chat%40x:p%2Fw@mail.example?tls=required"
        );
        let smtps = [("SMTP_Protocol", "smtps".into()), ("SMTP_Port", 465.into())];
        assert_eq!(
            server(&[&login[..], &smtps[..]].concat()),
            "smtps://chat%40x:p%2Fw@mail.example:465"
        );
    }

    #[test]
    fn a_wrongly_typed_setting_is_named_and_not_shown() {
        for (name, value) in [
            (SWITCHES[0].1, Bson::from("hunter2")),
            (NUMBERS[0].1, Bson::from("hunter2")),
            ("SMTP_Password", Bson::Array(vec!["hunter2".into()])),
            ("SMTP_Port", Bson::Boolean(true)),
        ] {
            let mut values = vec![("SMTP_Host", "mail.example".into())];
            values.push((name, value));
            let told = crate::StoreError::from(said(&values).unwrap_err()).to_string();
            assert!(told.contains(name) && !told.contains("hunter2"), "{told}");
        }
    }
}
