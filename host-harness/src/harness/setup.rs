//! What a server begins with.

use super::{Error, Harness, Server, User};
use chat_domain::operator::default_roles;
use chat_domain::operator::{NewRole, NewUser, NewWorkspace};
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_store::seal::{Keys, Seal};
use chat_store::sqlite::Sqlite;
use plugin_sandbox::limits::Limits;

/// The file of a server's store, in a folder of its own.
pub(super) const STORE: &str = "store.sqlite";

/// The workspace that is served.
pub(super) const WORKSPACE: &str = "default";

/// Another in the same store.
const ELSEWHERE: &str = "other";

/// When every server's clock begins, in milliseconds of Unix time: the first
/// second of the time step 66,666,666.
const START: i64 = 1_999_999_980_000;

/// A server that is set up. Its workspace has the settings of a new one and the
/// roles `admin`, `app`, `bot` and `user` with Rocket.Chat's permissions.
pub struct Setup<'a> {
    harness: &'a Harness,
    settings: Settings,
    roles: Vec<(String, Vec<String>)>,
    users: Vec<User>,
    elsewhere: Vec<User>,
    limits: Limits,
}

impl<'a> Setup<'a> {
    pub(super) fn new(harness: &'a Harness) -> Self {
        let roles = default_roles().into_iter();
        Self {
            harness,
            settings: Settings::default(),
            roles: roles.map(|role| (role.name, role.permissions)).collect(),
            users: Vec::new(),
            elsewhere: Vec::new(),
            limits: harness.limits,
        }
    }

    /// With this user, too.
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.users.push(user);
        self
    }

    /// With this user in another workspace of the same store.
    #[must_use]
    pub fn elsewhere(mut self, user: User) -> Self {
        self.elsewhere.push(user);
        self
    }

    /// With a role that grants these permissions, such as `edit-other-user-totp`.
    #[must_use]
    pub fn role(mut self, name: &str, permissions: &[&str]) -> Self {
        let permissions = permissions.iter().map(ToString::to_string).collect();
        self.roles.push((name.to_owned(), permissions));
        self
    }

    /// With these settings.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Where one call of the plugin may use no more than this.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Makes the store and starts the server on a free port of this machine.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] when two users have one name or address, or one has a role
    /// that there is not; [`Error::Password`] and [`Error::Server`].
    pub async fn start(self) -> Result<Server, Error> {
        let folder = tempfile::tempdir()?;
        let seal = Seal::from(Keys::generate());
        let store = Sqlite::open_or_create(&folder.path().join(STORE), &seal).await?;
        for (id, users) in [(WORKSPACE, &self.users), (ELSEWHERE, &self.elsewhere)] {
            store.create_workspace(self.workspace(id, users)?).await?;
        }
        drop(store);
        Server::start(
            folder,
            seal,
            self.harness.plugin.clone(),
            self.limits,
            START,
        )
        .await
    }

    fn workspace(&self, id: &str, users: &[User]) -> Result<NewWorkspace, Error> {
        let now = Timestamp::from_millis(START);
        let users = users.iter().map(|user| user.account(self.harness, now));
        let role = |(name, permissions): &(String, Vec<String>)| NewRole {
            name: name.clone(),
            permissions: permissions.clone(),
        };
        Ok(NewWorkspace {
            id: id.to_owned(),
            settings: self.settings.clone(),
            roles: self.roles.iter().map(role).collect(),
            users: users.collect::<Result<Vec<NewUser>, Error>>()?,
        })
    }
}
