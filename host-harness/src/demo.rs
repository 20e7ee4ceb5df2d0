//! A workspace to try the plugin on: an administrator, a moderator and two
//! members, all with TOTP enrolled.

use crate::store::{
    EDIT_OTHER_USER_TOTP, Email, NewRole, NewToken, NewUser, NewWorkspace, Settings, TotpFactor,
};
use crate::token;
use crate::totp::TotpKey;
use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The demonstration's users, and the role of each.
const USERS: [(&str, &str); 4] = [
    ("admin", "admin"),
    ("moderator", "moderator"),
    ("alice", "user"),
    ("bob", "user"),
];

/// bcrypt's cost, as Rocket.Chat sets it.
const BCRYPT_COST: u32 = 10;

/// Everything that a person needs to play the demonstration's users, by
/// username. Written to a file that only the owner can read, so that the same
/// workspace can be shown again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Credentials(pub BTreeMap<String, Login>);

/// What one user knows.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    /// For `X-User-Id`.
    pub user_id: String,
    /// To log in by.
    pub username: String,
    /// To log in with.
    pub password: String,
    /// For `X-Auth-Token`.
    pub auth_token: String,
    /// For an authenticator app: base32.
    pub totp_secret: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login of {}", self.username)
    }
}

impl Credentials {
    /// Those in the file at `path`, or new ones that are written there.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written, or does not hold credentials.
    pub fn load_or_create(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read(path) {
            Ok(json) => Ok(serde_json::from_slice(&json)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let credentials = Self::generate();
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)?;
                file.write_all(&serde_json::to_vec_pretty(&credentials)?)?;
                file.sync_all()?;
                Ok(credentials)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn generate() -> Self {
        let login = |username: &str| Login {
            user_id: format!("{username}-id"),
            username: username.to_owned(),
            password: secret(),
            auth_token: secret(),
            totp_secret: TotpKey::generate().to_base32(),
        };
        Self(USERS.map(|(name, _)| (name.to_owned(), login(name))).into())
    }

    /// The workspace `id` in which these credentials are valid.
    ///
    /// # Errors
    ///
    /// When they are not those of the demonstration's users.
    pub fn workspace(&self, id: &str) -> anyhow::Result<NewWorkspace> {
        let role = |name: &str, permissions: &[&str]| NewRole {
            name: name.to_owned(),
            permissions: permissions.iter().map(ToString::to_string).collect(),
        };
        let users = USERS.iter().map(|(name, role)| {
            let login = self.0.get(*name);
            login
                .ok_or_else(|| anyhow::anyhow!("there is no user {name}"))?
                .account(role)
        });
        Ok(NewWorkspace {
            id: id.to_owned(),
            settings: Settings::default(),
            roles: vec![
                role("admin", &[EDIT_OTHER_USER_TOTP]),
                role("moderator", &["view-full-other-user-info"]),
            ],
            users: users.collect::<anyhow::Result<_>>()?,
        })
    }
}

fn secret() -> String {
    token::generate().expose_secret().to_owned()
}

impl Login {
    fn account(&self, role: &str) -> anyhow::Result<NewUser> {
        let digest = HEXLOWER.encode(&Sha256::digest(&self.password));
        Ok(NewUser {
            id: self.user_id.clone(),
            username: self.username.clone(),
            password_hash: Some(bcrypt::hash(digest, BCRYPT_COST)?.into()),
            roles: vec![role.to_owned()],
            emails: vec![Email {
                address: format!("{}@example.com", self.username),
                verified: true,
            }],
            tokens: vec![NewToken {
                hash: token::hash(&SecretString::from(self.auth_token.as_str())),
                expires: None,
                bypass_two_factor: false,
            }],
            totp: Some(TotpFactor {
                key: self.totp_key()?,
                backup_code_hashes: Vec::new(),
            }),
            ..NewUser::default()
        })
    }

    /// The key of [`Login::totp_secret`].
    ///
    /// # Errors
    ///
    /// When that is not base32.
    pub fn totp_key(&self) -> anyhow::Result<TotpKey> {
        TotpKey::from_base32(&self.totp_secret)
            .ok_or_else(|| anyhow::anyhow!("the TOTP secret of {} is not base32", self.username))
    }
}
