//! A mail server that takes every mail at once and remembers it (RFC 5321).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A mail that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    /// The left part of the `Message-ID`.
    pub(crate) message_id: String,
    pub(crate) recipient: String,
    pub(crate) subject: String,
    /// The six digits that it brought.
    pub(crate) code: Option<String>,
}

/// The server; it ends with its runtime.
#[derive(Clone)]
pub(crate) struct MailServer {
    pub(crate) address: SocketAddr,
    post: Post,
}

/// All mails, in the order in which they arrived.
type Post = Arc<Mutex<Vec<Arrived>>>;

impl MailServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            post: Arc::default(),
        };
        let post = server.post.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(talk(client, post.clone()));
            }
        });
        server
    }

    /// All mails but the first ones, which so many are.
    pub(crate) fn arrived(&self, after: usize) -> Vec<Arrived> {
        let post = self.post.lock().unwrap_or_else(PoisonError::into_inner);
        post.iter().skip(after).cloned().collect()
    }

    /// The code that arrived last at this address.
    pub(crate) fn code(&self, address: &str) -> Option<String> {
        let post = self.post.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mails = post.iter().rev().filter(|mail| mail.recipient == address);
        mails.find_map(|mail| mail.code.clone())
    }
}

/// A client that is killed ends this at any line: what it has not handed in whole did not
/// arrive.
async fn talk(client: TcpStream, post: Post) -> std::io::Result<()> {
    let (from, mut to) = client.into_split();
    let mut lines = BufReader::new(from).lines();
    let mut recipients = Vec::new();
    to.write_all(b"220 mail.example\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let command = line.to_ascii_uppercase();
        let answer = if let Some(recipient) = command.strip_prefix("RCPT TO:<") {
            let address = recipient.split('>').next().unwrap_or_default();
            recipients.push(address.to_ascii_lowercase());
            "250 OK\r\n"
        } else if command == "DATA" {
            to.write_all(b"354 go on\r\n").await?;
            let mut message = Vec::new();
            loop {
                match lines.next_line().await? {
                    None => return Ok(()),
                    Some(line) if line == "." => break,
                    Some(line) => message.push(line),
                }
            }
            let mut post = post.lock().unwrap_or_else(PoisonError::into_inner);
            post.extend(
                recipients
                    .drain(..)
                    .map(|recipient| read(recipient, &message)),
            );
            "250 OK\r\n"
        } else if command == "QUIT" {
            "221 bye\r\n"
        } else {
            "250 OK\r\n"
        };
        to.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

fn read(recipient: String, message: &[String]) -> Arrived {
    let header = |name: &str| {
        let mut lines = message.iter().take_while(|line| !line.is_empty());
        let line = lines.find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().to_owned()
    };
    let id = header("Message-ID: <");
    let mut text = message.iter().skip_while(|line| !line.is_empty());
    let code = text.find_map(|line| {
        let (_, rest) = line.strip_prefix("The code for ")?.split_once(" is ")?;
        Some(rest.get(..7)?.replace('-', ""))
    });
    Arrived {
        message_id: id.split('@').next().unwrap_or_default().to_owned(),
        recipient,
        subject: header("Subject: "),
        code,
    }
}
