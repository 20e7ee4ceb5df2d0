//! Which store: the address of a database.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// What begins the address of a SQLite file.
const SQLITE: &str = "sqlite:";

/// What begins the address of a PostgreSQL database, as its own clients have it
/// (PostgreSQL's documentation, "Connection URIs").
const POSTGRES: [&str; 2] = ["postgres://", "postgresql://"];

/// What begins the address of Rocket.Chat's database, as MongoDB's own clients have it
/// (MongoDB's manual, "Connection Strings").
const MONGODB: [&str; 2] = ["mongodb://", "mongodb+srv://"];

/// The address of a store: `sqlite:PATH` or `PATH` of a file, `postgres://…` of a database on a
/// server, or `mongodb://…` of Rocket.Chat's own. What it shows holds no password.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreUrl {
    /// A SQLite file.
    Sqlite(Arc<Path>),
    /// A PostgreSQL database: its URL, which may hold a password.
    Postgres(Arc<str>),
    /// Rocket.Chat's own database: its URL, which may hold a password.
    Mongodb(Arc<str>),
}

/// A text is no address of a store.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// No file can have that name.
    #[error(
        "a store is a path, sqlite:PATH, postgres://USER@HOST/DATABASE or mongodb://HOST/DATABASE"
    )]
    NoPath,
    /// There is no such store.
    #[error(
        "there are no stores of `{0}`; a store is a path, sqlite:PATH, postgres://… or mongodb://…"
    )]
    UnknownScheme(String),
}

impl StoreUrl {
    /// What a command line or the environment says.
    ///
    /// # Errors
    ///
    /// [`InvalidUrl`].
    pub fn of(text: &OsStr) -> Result<Self, InvalidUrl> {
        match text.to_str() {
            Some(text) => text.parse(),
            None => Ok(Path::new(text).into()),
        }
    }

    /// Whether it holds a password.
    pub fn holds_password(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(url) | Self::Mongodb(url) => *without_password(url) != **url,
        }
    }

    /// The file, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) | Self::Mongodb(_) => None,
        }
    }

    /// The same, where paths begin in `folder`.
    #[must_use]
    pub fn under(self, folder: &Path) -> Self {
        match self {
            Self::Sqlite(path) => folder.join(path).into(),
            Self::Postgres(_) | Self::Mongodb(_) => self,
        }
    }

    /// The same, wherever whoever asks may be.
    #[must_use]
    pub fn absolute(&self) -> Self {
        match self {
            Self::Sqlite(path) => match std::path::absolute(path) {
                Ok(path) => path.into(),
                Err(_) => self.clone(),
            },
            Self::Postgres(_) | Self::Mongodb(_) => self.clone(),
        }
    }
}

impl From<PathBuf> for StoreUrl {
    fn from(path: PathBuf) -> Self {
        Self::Sqlite(path.into())
    }
}

impl From<&Path> for StoreUrl {
    fn from(path: &Path) -> Self {
        Self::Sqlite(path.into())
    }
}

impl FromStr for StoreUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if POSTGRES.iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Self::Postgres(text.into()));
        }
        if MONGODB.iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Self::Mongodb(text.into()));
        }
        let path = match text.strip_prefix(SQLITE) {
            Some(path) => path,
            None => match text.split_once("://") {
                Some((scheme, _)) => return Err(InvalidUrl::UnknownScheme(scheme.to_owned())),
                None => text,
            },
        };
        if path.is_empty() || path.contains('\0') {
            return Err(InvalidUrl::NoPath);
        }
        Ok(Path::new(path).into())
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) | Self::Mongodb(url) => f.write_str(&without_password(url)),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Without the parameters, too, which can hold one: they begin with the first `?` that is not in
/// the password.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return String::new();
    };
    let before = |text: &str, ends: &[char]| text.split(ends).next().unwrap_or_default().to_owned();
    match rest.rsplit_once('@') {
        // Perhaps it is no log-in, and the end of a password follows.
        Some((log_in, _)) if log_in.contains('/') => format!("{scheme}://…"),
        Some((log_in, place)) => {
            let (user, place) = (before(log_in, &[':', '?']), before(place, &['?']));
            format!("{scheme}://{user}@{place}")
        }
        None => format!("{scheme}://{}", before(rest, &['?'])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> StoreUrl {
        text.parse().unwrap()
    }

    #[test]
    fn a_store_is_a_file_or_a_database() {
        for text in ["chat.sqlite", "sqlite:chat.sqlite"] {
            assert_eq!(url(text), Path::new("chat.sqlite").into());
            assert_eq!(
                url(text).under(Path::new("/srv")).path(),
                Some(Path::new("/srv/chat.sqlite"))
            );
        }
        for text in [
            "/srv/chat.sqlite",
            "sqlite:/srv/chat.sqlite",
            "sqlite:///srv/chat.sqlite",
        ] {
            let found = url(text).under(Path::new("/etc"));
            assert_eq!(found.path(), Some(Path::new("/srv/chat.sqlite")), "{text}");
        }
        for text in ["postgres://chat@db/chat", "postgresql://chat@a:1,b:2/chat"] {
            assert_eq!(url(text), StoreUrl::Postgres(text.into()));
            assert_eq!(url(text).under(Path::new("/srv")), url(text));
            assert_eq!(url(text).path(), None);
        }
        for text in [
            "mongodb://db/rocketchat?replicaSet=rs0",
            "mongodb+srv://chat.example/acme",
        ] {
            assert_eq!(url(text), StoreUrl::Mongodb(text.into()));
            assert_eq!(url(text).under(Path::new("/srv")), url(text));
            assert_eq!(url(text).path(), None);
        }
        for text in ["", "sqlite:", "a\0b"] {
            assert_eq!(text.parse::<StoreUrl>(), Err(InvalidUrl::NoPath), "{text}");
        }
        assert_eq!(
            "mysql://root:secret@db/chat".parse::<StoreUrl>(),
            Err(InvalidUrl::UnknownScheme("mysql".to_owned()))
        );
    }

    #[test]
    fn a_password_is_not_shown() {
        for (text, shown) in [
            ("postgres://chat:s3cret@db/chat", "postgres://chat@db/chat"),
            ("postgres://chat:s3c@ret@db/chat", "postgres://chat@db/chat"),
            ("postgres://chat@db/chat", "postgres://chat@db/chat"),
            ("postgres://chat:s3c?ret@db/chat", "postgres://chat@db/chat"),
            (
                "postgres://db/chat?user=chat&password=s3cr@t",
                "postgres://…",
            ),
            ("mongodb://chat:s3cret@a,b/chat", "mongodb://chat@a,b/chat"),
            (
                "postgres://db/chat?user=chat&password=s3cret",
                "postgres://db/chat",
            ),
            (
                "postgresql://chat:s3cret@a:5432,b:5433/chat?sslmode=require",
                "postgresql://chat@a:5432,b:5433/chat",
            ),
        ] {
            assert_eq!(url(text).to_string(), shown);
            assert_eq!(url(text).holds_password(), text != shown);
            assert_eq!(format!("{:?}", url(text)), shown);
        }
    }
}
