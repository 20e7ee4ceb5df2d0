//! A connection to a mail server, and what is sent by it.

use chat_domain::mail_server::{Encryption, Login, MailServer};
use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use secrecy::ExposeSecret;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// How long each address of a server may take to accept a connection: a server
/// that is there accepts in a second, and the next address must get its turn.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// How long a server may take to say goodbye; the message is sent by then.
const QUIT_LIMIT: Duration = Duration::from_secs(2);

/// A mail server, spoken to by SMTP.
pub(super) struct Smtp<'a>(pub(super) &'a MailServer);

impl Smtp<'_> {
    /// Connects, and logs in where there is a log-in.
    ///
    /// # Errors
    ///
    /// [`NotSent`] says which step failed.
    pub(super) async fn connect(&self) -> Result<Connection, NotSent> {
        let name = ClientId::default();
        let mut connection = match self.0.encryption {
            Encryption::Implicit => self.connect_tokio1(&name, Some(self.tls().await?)).await?,
            Encryption::None => self.connect_tokio1(&name, None).await?,
            Encryption::StartTls => self.connect_and_upgrade(&name).await?,
        };
        if let Some(Login { user, password }) = &self.0.login {
            let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
            let known = connection.auth(DEFAULT_MECHANISMS, &credentials).await;
            known.map_err(Step::LogIn.failed())?;
        }
        Ok(Connection {
            smtp: connection,
            handed_in: false,
        })
    }

    async fn connect_tokio1(
        &self,
        name: &ClientId,
        tls: Option<TlsParameters>,
    ) -> Result<AsyncSmtpConnection, NotSent> {
        let server = (self.0.host.as_str(), self.0.port);
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
        for address in lookup_host((self.0.host.as_str(), self.0.port)).await? {
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
        let host = self.0.host.clone();
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

/// A connection by which one message after another is sent.
pub(super) struct Connection {
    smtp: AsyncSmtpConnection,
    /// The last message was handed in, so that the server can have taken it.
    handed_in: bool,
}

impl Connection {
    /// Sends `message` to one recipient. It has been accepted once this returns.
    ///
    /// # Errors
    ///
    /// [`NotSent`] says which step failed; nothing was accepted, unless it
    /// [is doubtful](NotSent::is_doubtful).
    pub(super) async fn send(
        &mut self,
        from: &Address,
        to: &Address,
        message: &[u8],
    ) -> Result<(), NotSent> {
        self.handed_in = false;
        let connection = &mut self.smtp;
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
        let said = connection.command(sender).await;
        said.map_err(Step::Sender.failed())?;
        let said = connection.command(recipient).await;
        said.map_err(Step::Recipient.failed())?;
        let said = connection.command(Data).await;
        said.map_err(Step::Recipient.failed())?;
        self.handed_in = true;
        let said = connection.message(message).await;
        said.map_err(Step::Message.failed())?;
        self.handed_in = false;
        Ok(())
    }

    /// Whether the server can have taken the last message, which was given up.
    pub(super) fn has_handed_in(&self) -> bool {
        self.handed_in
    }

    /// Forgets the message that was refused, so that the next can be sent. False where that
    /// cannot be.
    pub(super) async fn reset(&mut self) -> bool {
        matches!(
            timeout(QUIT_LIMIT, self.smtp.command(Rset)).await,
            Ok(Ok(_))
        )
    }

    /// Says goodbye and closes it.
    pub(super) async fn close(mut self) {
        let _ = timeout(QUIT_LIMIT, self.smtp.quit()).await;
    }
}

/// What is done, in this order, to send a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
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
pub(super) struct NotSent {
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
    pub(super) fn is_final(&self) -> bool {
        let Cause::Smtp(error) = &self.cause else {
            return false;
        };
        match self.step {
            Step::Connect | Step::Encrypt | Step::LogIn | Step::Sender => false,
            Step::Recipient | Step::Message => error.is_permanent() && !is_policy(error),
        }
    }

    /// The server may have taken the message: it was handed in, and there was no answer.
    pub(super) fn is_doubtful(&self) -> bool {
        self.step == Step::Message && !self.is_answered()
    }

    /// The server has said no, and can be asked for more.
    pub(super) fn is_answered(&self) -> bool {
        match &self.cause {
            Cause::Smtp(error) => error.status().is_some(),
            Cause::AddressNotSupported => true,
            Cause::Network(_) | Cause::NoCertificates => false,
        }
    }

    /// The server's words about the sender or the recipient: it has not seen the
    /// message then. What it says about a login or a message may quote them.
    pub(super) fn words(&self) -> Option<String> {
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
