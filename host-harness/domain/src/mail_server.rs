//! A workspace's mail server, as its URL says it.

use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use std::net::IpAddr;
use url::Url;

/// Ports by RFC 8314 section 3 (465), RFC 6409 (587) and RFC 5321 (25).
const IMPLICIT_TLS_PORT: u16 = 465;
const SUBMISSION_PORT: u16 = 587;
const RELAY_PORT: u16 = 25;

/// Where mail is handed in, and how.
#[derive(Debug)]
pub struct MailServer {
    /// A name or an address.
    pub host: String,
    /// Of TCP.
    pub port: u16,
    /// How the connection is protected.
    pub encryption: Encryption,
    /// As whom mail is handed in; none where anybody may.
    pub login: Option<Login>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// TLS from the first byte.
    Implicit,
    /// An upgrade, without which nothing is sent.
    StartTls,
    /// Not at all.
    None,
}

/// What proves to a mail server who hands in mail.
#[derive(Debug)]
pub struct Login {
    /// The account.
    pub user: String,
    /// Its password.
    pub password: SecretString,
}

/// Why a text names no mail server. It never quotes the text, which may hold a
/// password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMailServer {
    /// Another scheme, parameter or form.
    #[error("it is not a mail server's URL such as smtps://USER:PASSWORD@HOST")]
    Malformed,
    /// A password for another machine, and no TLS.
    #[error("it would send the password unencrypted: use smtps:// or ?tls=required")]
    PasswordInTheClear,
}

impl MailServer {
    /// Reads `smtps://USER:PASSWORD@HOST:PORT` (TLS from the start),
    /// `smtp://USER:PASSWORD@HOST:PORT?tls=required` (STARTTLS) or
    /// `smtp://HOST:PORT` (no TLS). User and password are percent-encoded; they
    /// and the port may be left out.
    ///
    /// # Errors
    ///
    /// When it is none of these, or would send a password unencrypted to another
    /// machine than this one.
    pub fn parse(text: &str) -> Result<Self, InvalidMailServer> {
        let url = Url::parse(text).map_err(|_| InvalidMailServer::Malformed)?;
        let (encryption, port) = match (url.scheme(), url.query()) {
            ("smtps", None) => (Encryption::Implicit, IMPLICIT_TLS_PORT),
            ("smtp", Some("tls=required")) => (Encryption::StartTls, SUBMISSION_PORT),
            ("smtp", None) => (Encryption::None, RELAY_PORT),
            _ => return Err(InvalidMailServer::Malformed),
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        if host.is_empty() || !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(InvalidMailServer::Malformed);
        }
        let login = login(&url)?;
        if login.is_some() && encryption == Encryption::None && !is_this_machine(host) {
            return Err(InvalidMailServer::PasswordInTheClear);
        }
        Ok(Self {
            host: host.to_owned(),
            port: url.port().unwrap_or(port),
            encryption,
            login,
        })
    }
}

/// User and password are both there or neither is.
fn login(url: &Url) -> Result<Option<Login>, InvalidMailServer> {
    let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(InvalidMailServer::Malformed),
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", Some(_)) | (_, None) => Err(InvalidMailServer::Malformed),
        (user, Some(password)) => Ok(Some(Login {
            user: decoded(user)?,
            password: decoded(password)?.into(),
        })),
    }
}

/// Whether what is sent to this host, an address or a name, stays on the machine.
pub fn is_this_machine(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_url_says_where_and_how() {
        for (url, host, port, encryption, login) in [
            (
                "smtps://chat:p%40ss%2F@mail.example",
                "mail.example",
                465,
                Encryption::Implicit,
                Some(("chat", "p@ss/")),
            ),
            (
                "smtp://chat:x@mail.example:2525?tls=required",
                "mail.example",
                2525,
                Encryption::StartTls,
                Some(("chat", "x")),
            ),
            (
                "smtp://mail.example?tls=required",
                "mail.example",
                587,
                Encryption::StartTls,
                None,
            ),
            (
                "smtp://mail.example/",
                "mail.example",
                25,
                Encryption::None,
                None,
            ),
            ("smtp://[::1]:26", "::1", 26, Encryption::None, None),
            (
                "smtp://chat:x@LocalHost",
                "LocalHost",
                25,
                Encryption::None,
                Some(("chat", "x")),
            ),
            (
                "smtp://chat:x@127.0.0.9",
                "127.0.0.9",
                25,
                Encryption::None,
                Some(("chat", "x")),
            ),
            (
                "smtp://chat:x@[::1]",
                "::1",
                25,
                Encryption::None,
                Some(("chat", "x")),
            ),
        ] {
            let server = MailServer::parse(url).unwrap();
            assert_eq!((server.host.as_str(), server.port), (host, port), "{url}");
            assert_eq!(server.encryption, encryption, "{url}");
            let known = server.login.as_ref();
            let known = known.map(|l| (l.user.as_str(), l.password.expose_secret()));
            assert_eq!(known, login, "{url}");
            assert!(!format!("{server:?}").contains("p@ss"));
        }
    }

    #[test]
    fn a_url_of_another_form_is_refused() {
        for url in [
            "mail.example",
            "http://mail.example",
            "smtp://",
            "smtp:mail.example",
            "smtp://mail.example?tls=opportunistic",
            "smtp://mail.example?tls=none",
            "smtp://mail.example?tls=required&tls=none",
            "smtps://mail.example?tls=required",
            "smtps://mail.example/chat",
            "smtps://mail.example#chat",
            "smtps://user@mail.example",
            "smtps://:password@mail.example",
            "smtps://user:%ff@mail.example",
            "smtps://mail.example:70000",
        ] {
            let error = MailServer::parse(url).unwrap_err();
            assert_eq!(error, InvalidMailServer::Malformed, "{url}");
        }
    }

    /// A password over an unencrypted connection is everybody's (RFC 4954
    /// section 4).
    #[test]
    fn a_password_is_never_sent_in_the_clear_to_another_machine() {
        for host in [
            "mail.example",
            "10.0.0.1",
            "[2001:db8::1]",
            "localhost.mail.example",
            "127.0.0.1.mail.example",
        ] {
            for url in [
                format!("smtp://user:password@{host}"),
                format!("smtp://user:password@{host}:465"),
            ] {
                let error = MailServer::parse(&url).unwrap_err();
                assert_eq!(error, InvalidMailServer::PasswordInTheClear, "{url}");
            }
        }
    }
}
