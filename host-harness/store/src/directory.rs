//! What operators do, by the names that people use.

use crate::Result;
use async_trait::async_trait;
use chat_domain::account::Account;
use chat_domain::directory::{
    Answer, Changed, NewUser, NewWorkspace, Operation, Role, RoleChange, Token, UserChange,
    WorkspaceSummary,
};
use chat_domain::outbox::Mail;
use chat_domain::settings::Setting;
use chat_domain::time::Timestamp;
use secrecy::SecretString;

/// The part of a store that operators use. `user` is a username, in any case,
/// or an id.
///
/// # Errors
///
/// As those of [`super::Store`]; what an operator can mend is a [`Problem`](chat_domain::directory::Problem).
#[async_trait]
pub trait Directory: Send + Sync {
    /// Creates a workspace with everything in it. False, and nothing is done,
    /// where the store has a workspace of that id.
    async fn create_workspace(&self, workspace: NewWorkspace) -> Result<bool>;

    /// All workspaces, ordered by id.
    async fn workspaces(&self, now: Timestamp) -> Result<Vec<WorkspaceSummary>>;

    /// All accounts, ordered by username.
    async fn users(&self, workspace: &str, now: Timestamp) -> Result<Answer<Vec<Account>>>;

    /// The account `user`.
    async fn user(&self, workspace: &str, user: &str, now: Timestamp) -> Result<Answer<Account>>;

    /// All roles, ordered by name.
    async fn roles(&self, workspace: &str) -> Result<Answer<Vec<Role>>>;

    /// The tokens of `user` that are valid at `now`: personal access tokens by
    /// name, then sessions by their end.
    async fn tokens(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Answer<Vec<Token>>>;

    /// Adds an account.
    async fn add_user(&self, operation: Operation, user: NewUser) -> Result<Answer<Account>>;

    /// Changes the account `user`.
    async fn change_user(
        &self,
        operation: Operation,
        user: &str,
        change: UserChange,
    ) -> Result<Answer<Changed>>;

    /// Changes the role `role`, and gives it as it is then.
    async fn change_role(
        &self,
        operation: Operation,
        role: &str,
        change: RoleChange,
    ) -> Result<Answer<Role>>;

    /// Sets a setting, whatever it was before.
    async fn set_setting(
        &self,
        operation: Operation,
        setting: &'static Setting,
        value: SecretString,
    ) -> Result<Answer<()>>;

    /// The mails that wait and the dead letters, oldest first.
    async fn list_mail(&self, workspace: &str, now: Timestamp) -> Result<Answer<Vec<Mail>>>;

    /// The mail with this id.
    async fn find_mail(&self, workspace: &str, id: i64, now: Timestamp) -> Result<Answer<Mail>>;

    /// Makes a mail due at once; a dead letter has the workspace's whole time
    /// again.
    async fn retry_mail(&self, operation: Operation, id: i64) -> Result<Answer<()>>;

    /// Removes a mail; one that is being sent may still arrive.
    async fn remove_mail(&self, operation: Operation, id: i64) -> Result<Answer<()>>;
}
