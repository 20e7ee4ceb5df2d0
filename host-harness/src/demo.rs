//! A workspace to try the plugin on: an administrator, a moderator and two
//! members, all with TOTP enrolled.

use crate::{WORKSPACE, show};
use anyhow::Context;
use chat_domain::account::Token;
use chat_domain::account::{Email, Selector, TotpFactor};
use chat_domain::operator::{NewRole, NewUser, NewWorkspace};
use chat_domain::operator::{default_roles, new_user_id};
use chat_domain::password;
use chat_domain::settings::Settings;
use chat_domain::token;
use chat_domain::totp::{TotpKey, step_of};
use chat_server::clock::Clock;
use chat_store::seal::Seal;
use chat_store::sqlite::Sqlite;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The demonstration's users, and the role of each.
const USERS: [(&str, &str); 4] = [
    ("admin", "admin"),
    ("moderator", "moderator"),
    ("alice", "user"),
    ("bob", "user"),
];

/// Everything that a person needs to play the demonstration's users, by
/// username. Written to a file that only the owner can read, so that the same
/// workspace can be shown again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Credentials(BTreeMap<String, Login>);

/// What one user knows.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Login {
    /// For `X-User-Id`.
    user_id: String,
    /// To log in by.
    username: String,
    /// The account's own.
    password: String,
    /// For `X-Auth-Token`.
    auth_token: String,
    /// For an authenticator app: base32.
    totp_secret: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login of {}", self.username)
    }
}

/// The store's file and the credentials in `folder`, made where there are none.
pub(crate) async fn workspace(folder: &Path) -> anyhow::Result<(PathBuf, Credentials)> {
    std::fs::create_dir_all(folder)?;
    let credentials = folder.join("credentials.json");
    let credentials = Credentials::load_or_create(&credentials)
        .with_context(|| format!("{}", credentials.display()))?;
    let path = folder.join("store.sqlite");
    let store = Sqlite::open_or_create(&path, &Seal::none()).await?;
    if store.settings(WORKSPACE).await?.is_none() {
        store.create_workspace(credentials.workspace()?).await?;
    }
    let admin = Selector::Id(credentials.login("admin")?.user_id.clone());
    let known = store.find_user(WORKSPACE, admin).await?;
    known.context("credentials.json and store.sqlite do not belong together; remove both")?;
    Ok((path, credentials))
}

/// Shows a person how to call the server at `url`, and shows the call again with
/// the next code whenever Enter is pressed.
pub(crate) fn guide(url: &str, credentials: &Credentials) -> anyhow::Result<()> {
    let interactive = std::io::stdin().is_terminal();
    let next = if interactive {
        "Press Enter for this call with the next code."
    } else {
        "An authenticator app shows the next one every 30 seconds."
    };
    let admin = credentials.login("admin")?;
    let key = admin.totp_key()?;
    let call = Call {
        url: url.to_owned(),
        user_id: admin.user_id.clone(),
        auth_token: admin.auth_token.clone(),
        target_id: credentials.login("alice")?.user_id.clone(),
    };
    let step = current_step();
    show(&format!(
        "Serving {url}\n\n\
         Alice has lost her phone. The administrator resets her TOTP:\n\n\
         {}\n\n\
         A code is accepted once. {next}\n\
         The administrator's TOTP secret is {}. Ctrl-C stops.\n\
         All routes, to browse and try: {url}/api/docs\n",
        call.with_code(&key.code(step)),
        admin.totp_secret
    ))?;
    if interactive {
        std::thread::Builder::new().spawn(move || call.show_on_enter(&key, step))?;
    }
    Ok(())
}

/// The documented call, but for its code.
struct Call {
    url: String,
    user_id: String,
    auth_token: String,
    target_id: String,
}

impl Call {
    /// A code is accepted until the end of the step after its own: for 30 s at
    /// least.
    fn with_code(&self, code: &str) -> String {
        format!(
            "curl --location '{}/api/v1/users.resetTOTP' \\\n  \
             --header 'x-auth-token: {}' \\\n  \
             --header 'x-user-id: {}' \\\n  \
             --header 'x-2fa-code: {code}' \\\n  \
             --data '{{ \"userId\":\"{}\" }}'",
            self.url, self.auth_token, self.user_id, self.target_id
        )
    }

    /// The code of the step after the current one is accepted, too, so that
    /// nobody has to wait for a second call.
    fn show_on_enter(&self, key: &TotpKey, mut shown: u64) {
        for _line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let next = current_step().max(shown + 1);
            let text = if next <= current_step() + 1 {
                shown = next;
                self.with_code(&key.code(next))
            } else {
                "The next code can be used in a few seconds.".to_owned()
            };
            if show(&format!("{text}\n")).is_err() {
                return;
            }
        }
    }
}

fn current_step() -> u64 {
    step_of(Clock::system().now())
}

impl Credentials {
    fn load_or_create(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read(path) {
            Ok(json) => Ok(serde_json::from_slice(&json)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let credentials = Self::generate();
                let folder = path.parent().context("the file has no folder")?;
                let mut file = NamedTempFile::new_in(folder)?;
                file.write_all(&serde_json::to_vec_pretty(&credentials)?)?;
                file.as_file().sync_all()?;
                file.persist_noclobber(path)?;
                Ok(credentials)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn generate() -> Self {
        let login = |username: &str| Login {
            user_id: new_user_id(&mut rand::rng()),
            username: username.to_owned(),
            password: secret(),
            auth_token: secret(),
            totp_secret: TotpKey::generate(&mut rand::rng()).to_base32(),
        };
        Self(USERS.map(|(name, _)| (name.to_owned(), login(name))).into())
    }

    fn login(&self, username: &str) -> anyhow::Result<&Login> {
        let login = self.0.get(username);
        login.with_context(|| format!("there is no user {username}"))
    }

    /// The workspace in which these credentials are valid.
    fn workspace(&self) -> anyhow::Result<NewWorkspace> {
        let mut roles = default_roles();
        roles.push(NewRole {
            name: "moderator".to_owned(),
            permissions: vec!["view-full-other-user-info".to_owned()],
        });
        let users = USERS
            .iter()
            .map(|(name, role)| self.login(name)?.account(role));
        Ok(NewWorkspace {
            id: WORKSPACE.to_owned(),
            settings: Settings::default(),
            roles,
            users: users.collect::<anyhow::Result<_>>()?,
        })
    }
}

fn secret() -> String {
    token::generate(&mut rand::rng()).expose_secret().to_owned()
}

impl Login {
    fn account(&self, role: &str) -> anyhow::Result<NewUser> {
        let digest = password::digest(&self.password.as_str().into());
        Ok(NewUser {
            id: self.user_id.clone(),
            username: self.username.clone(),
            password_hash: Some(password::hash(&digest, &mut rand::rng())?),
            roles: vec![role.to_owned()],
            emails: vec![Email {
                address: format!("{}@example.com", self.username),
                verified: true,
            }],
            tokens: vec![Token {
                hash: token::hash(&SecretString::from(self.auth_token.as_str())),
                expires: None,
                bypass_two_factor: false,
                name: None,
            }],
            totp: Some(TotpFactor {
                key: self.totp_key()?,
                last_step: None,
                backup_code_hashes: Vec::new(),
                spent_code_hashes: Vec::new(),
            }),
            ..NewUser::default()
        })
    }

    fn totp_key(&self) -> anyhow::Result<TotpKey> {
        TotpKey::from_base32(&self.totp_secret)
            .with_context(|| format!("the TOTP secret of {} is not base32", self.username))
    }
}
