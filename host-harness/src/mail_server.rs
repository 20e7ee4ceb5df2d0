//! A workspace's mail server, and one message sent through it.

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use url::Url;

/// How long each address of a server may take to accept a connection: a server
/// that is there accepts in a second, and the next address must get its turn.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// How long a server may take to say goodbye; the message is sent by then.
const QUIT_LIMIT: Duration = Duration::from_secs(2);

/// Ports by RFC 8314 section 3 (465), RFC 6409 (587) and RFC 5321 (25).
const IMPLICIT_TLS_PORT: u16 = 465;
const SUBMISSION_PORT: u16 = 587;
const RELAY_PORT: u16 = 25;

/// Where mail is handed in, and how.
#[derive(Debug)]
pub struct MailServer {
    host: String,
    port: u16,
    encryption: Encryption,
    login: Option<Login>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encryption {
    /// TLS from the first byte.
    Implicit,
    /// An upgrade, without which nothing is sent.
    StartTls,
    None,
}

#[derive(Debug)]
struct Login {
    user: String,
    password: SecretString,
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

    /// Sends `message` to one recipient. It has been accepted once this returns.
    ///
    /// # Errors
    ///
    /// [`NotSent`] says which step failed; nothing was accepted, unless the
    /// connection broke before the answer to [`Step::Message`].
    pub async fn send(
        &self,
        from: &Address,
        to: &Address,
        message: &[u8],
    ) -> Result<Connection, NotSent> {
        let mut connection = self.connect().await?;
        let mut parameters = Vec::new();
        let addresses: [&str; 2] = [from.as_ref(), to.as_ref()];
        if !addresses.iter().all(|address| address.is_ascii()) {
            parameters.push(MailParameter::SmtpUtfEight);
            let extension = Extension::SmtpUtfEight;
            if !connection.server_info().supports_feature(extension) {
                return Err(NotSent {
                    step: Step::Recipient,
                    cause: Cause::AddressNotSupported,
                });
            }
        }
        let sender = Mail::new(Some(from.clone()), parameters);
        let recipient = Rcpt::new(to.clone(), Vec::new());
        let sent = async {
            let said = connection.command(sender).await;
            said.map_err(Step::Sender.failed())?;
            let said = connection.command(recipient).await;
            said.map_err(Step::Recipient.failed())?;
            let said = connection.command(Data).await;
            said.map_err(Step::Recipient.failed())?;
            let said = connection.message(message).await;
            said.map_err(Step::Message.failed())
        }
        .await;
        let connection = Connection(connection);
        match sent {
            Ok(_) => Ok(connection),
            Err(problem) => {
                connection.close().await;
                Err(problem)
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, NotSent> {
        let name = ClientId::default();
        let mut connection = match self.encryption {
            Encryption::Implicit => self.connect_tokio1(&name, Some(self.tls().await?)).await?,
            Encryption::None => self.connect_tokio1(&name, None).await?,
            Encryption::StartTls => self.connect_and_upgrade(&name).await?,
        };
        if let Some(Login { user, password }) = &self.login {
            let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
            let known = connection.auth(DEFAULT_MECHANISMS, &credentials).await;
            known.map_err(Step::LogIn.failed())?;
        }
        Ok(connection)
    }

    async fn connect_tokio1(
        &self,
        name: &ClientId,
        tls: Option<TlsParameters>,
    ) -> Result<AsyncSmtpConnection, NotSent> {
        let server = (self.host.as_str(), self.port);
        AsyncSmtpConnection::connect_tokio1(server, Some(CONNECT_LIMIT), name, tls, None)
            .await
            .map_err(Step::Connect.failed())
    }

    async fn connect_and_upgrade(&self, name: &ClientId) -> Result<AsyncSmtpConnection, NotSent> {
        let tls = self.tls().await?;
        let stream = self.open().await.map_err(|error| NotSent {
            step: Step::Connect,
            cause: Cause::Network(error),
        })?;
        let stream = Box::new(ByteByByte(stream));
        let connected = AsyncSmtpConnection::connect_with_transport(stream, name).await;
        let mut connection = connected.map_err(Step::Connect.failed())?;
        let upgraded = connection.starttls(tls, name).await;
        upgraded.map_err(Step::Encrypt.failed())?;
        Ok(connection)
    }

    /// To the first of the server's addresses that accepts a connection.
    async fn open(&self) -> io::Result<TcpStream> {
        let mut problem = io::Error::other("the server's name has no address");
        for address in lookup_host((self.host.as_str(), self.port)).await? {
            match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => problem = error,
                Err(elapsed) => problem = elapsed.into(),
            }
        }
        Err(problem)
    }

    /// The certificates that the machine trusts, read anew each time: a renewed
    /// one needs no restart.
    async fn tls(&self) -> Result<TlsParameters, NotSent> {
        let host = self.host.clone();
        let read = tokio::task::spawn_blocking(|| TlsParameters::new(host)).await;
        match read {
            Ok(tls) => tls.map_err(Step::Encrypt.failed()),
            Err(_) => Err(NotSent {
                step: Step::Encrypt,
                cause: Cause::NoCertificates,
            }),
        }
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

fn is_this_machine(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// A connection of which one byte is read at a time, so that whoever reads lines
/// from it has never read beyond the end of one. lettre keeps what it has read
/// when it upgrades a connection: what somebody had added to the answer to
/// STARTTLS, unencrypted, it would take for the answers to what it asks,
/// encrypted (CVE-2011-0411). So it is the TLS handshake that meets those bytes,
/// and it fails. A connection reads some thousand bytes in all; that they are
/// read one by one costs milliseconds.
#[derive(Debug)]
struct ByteByByte(TcpStream);

impl AsyncTokioStream for ByteByByte {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}

impl AsyncRead for ByteByByte {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut byte = [0; 1];
        let mut read = ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut read))?;
        into.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ByteByByte {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A connection that has done its work.
pub struct Connection(AsyncSmtpConnection);

impl Connection {
    /// Says goodbye and closes it.
    pub async fn close(mut self) {
        let _ = timeout(QUIT_LIMIT, self.0.quit()).await;
    }
}

/// What is done, in this order, to send a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To connect; with TLS from the start, to encrypt as well.
    Connect,
    /// To upgrade the connection.
    Encrypt,
    /// To prove user and password.
    LogIn,
    /// To name the sender.
    Sender,
    /// To name the recipient.
    Recipient,
    /// To hand in the message.
    Message,
}

impl Step {
    fn failed(self) -> impl FnOnce(Error) -> NotSent {
        move |error| NotSent {
            step: self,
            cause: Cause::Smtp(error),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Encrypt => "encrypting",
            Self::LogIn => "logging in",
            Self::Sender => "naming the sender",
            Self::Recipient => "naming the recipient",
            Self::Message => "handing in the message",
        })
    }
}

/// Why a message was not sent.
///
/// As text it has the step and the status, and none of the server's words: a
/// server may quote what it was told.
#[derive(Debug)]
pub struct NotSent {
    step: Step,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Smtp(Error),
    Network(io::Error),
    AddressNotSupported,
    NoCertificates,
}

impl NotSent {
    /// The server will not have this recipient or this message, however often
    /// it is asked (RFC 5321 section 4.2.1). What it says of the connection, the
    /// login, the sender or its policy, such as that it relays nothing for
    /// strangers, is about settings, and those change.
    pub fn is_final(&self) -> bool {
        let Cause::Smtp(error) = &self.cause else {
            return false;
        };
        match self.step {
            Step::Connect | Step::Encrypt | Step::LogIn | Step::Sender => false,
            Step::Recipient => error.is_permanent() && !is_policy(error),
            Step::Message => error.is_permanent(),
        }
    }

    /// The server's words about the sender or the recipient: it has not seen the
    /// message then. What it says about a login or a message may quote them.
    pub fn words(&self) -> Option<String> {
        match &self.cause {
            Cause::Smtp(error) if matches!(self.step, Step::Sender | Step::Recipient) => {
                said(error)
            }
            _ => None,
        }
    }
}

/// A status of the class 5.7 (RFC 3463 section 3.8).
fn is_policy(error: &Error) -> bool {
    said(error).is_some_and(|words| words.starts_with("5.7."))
}

/// What the server said after the status.
fn said(error: &Error) -> Option<String> {
    error.status()?;
    std::error::Error::source(error).map(ToString::to_string)
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.step)?;
        match &self.cause {
            Cause::Smtp(error) => match error.status() {
                Some(status) => write!(f, "the server answered {status}"),
                None if error.is_response() => f.write_str("the server's answer is not SMTP"),
                None => write!(f, "{error}"),
            },
            Cause::Network(error) => write!(f, "{error}"),
            Cause::AddressNotSupported => {
                f.write_str("the server does not take addresses that are not ASCII")
            }
            Cause::NoCertificates => f.write_str("the trusted certificates cannot be read"),
        }
    }
}

impl std::error::Error for NotSent {}

#[cfg(test)]
mod tests {
    use super::*;

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
