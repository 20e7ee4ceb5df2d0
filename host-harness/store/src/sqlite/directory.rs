//! What operators do.

use super::create::{
    create_user, create_workspace, enrol, insert_permission, insert_role, replace_backup_codes,
    write_setting,
};
use super::look_up::{self, find_user};
use super::second_factor::{clear_failures, forget_unproved, remove_totp};
use super::{SqlResult, Sqlite, Stop, outbox, outcome, record, token};
use crate::Directory;
use crate::Result;
use async_trait::async_trait;
use chat_domain::account::{Account, Email, Selector, User};
use chat_domain::audit::Action;
use chat_domain::directory::{
    Answer, Changed, NewUser, NewWorkspace, Operation, Problem, Role, RoleChange, Token,
    UserChange, WorkspaceSummary,
};
use chat_domain::outbox::Mail;
use chat_domain::settings::{SETTINGS, Setting, Settings};
use chat_domain::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio_rusqlite::rusqlite::{Transaction, params};

type Step<T> = super::Step<T, Problem>;

impl From<Problem> for Stop<Problem> {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl Sqlite {
    /// What `query` finds at one moment.
    async fn view<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Transaction<'_>) -> Step<T> + Send + 'static,
    ) -> Result<Answer<T>> {
        self.read(move |db| outcome(query(&db.unchecked_transaction()?)))
            .await
    }

    async fn operate<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Step<T> + Send + 'static,
    ) -> Result<Answer<T>> {
        self.write(move |tx| outcome(change(tx))).await
    }
}

#[async_trait]
impl Directory for Sqlite {
    async fn create_workspace(&self, workspace: NewWorkspace) -> Result<bool> {
        self.write(move |tx| {
            if exists(tx, &workspace.id)? {
                return Ok(false);
            }
            create_workspace(tx, &workspace)?;
            Ok(true)
        })
        .await
    }

    async fn workspaces(&self, now: Timestamp) -> Result<Vec<WorkspaceSummary>> {
        self.read(move |db| workspaces(&db.unchecked_transaction()?, now))
            .await
    }

    async fn users(&self, workspace: &str, now: Timestamp) -> Result<Answer<Vec<Account>>> {
        let workspace = workspace.to_owned();
        self.view(move |tx| users(tx, &workspace, now)).await
    }

    async fn user(&self, workspace: &str, user: &str, now: Timestamp) -> Result<Answer<Account>> {
        let (workspace, user) = (workspace.to_owned(), user.to_owned());
        self.view(move |tx| {
            let user = named(tx, &workspace, &user)?;
            account(tx, &workspace, &user.id, now)
        })
        .await
    }

    async fn roles(&self, workspace: &str) -> Result<Answer<Vec<Role>>> {
        let workspace = workspace.to_owned();
        self.view(move |tx| {
            require_workspace(tx, &workspace)?;
            let names = role_names(tx, &workspace)?;
            let roles = names.into_iter().map(|name| role(tx, &workspace, name));
            Ok(roles.collect::<SqlResult<_>>()?)
        })
        .await
    }

    async fn tokens(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Answer<Vec<Token>>> {
        let (workspace, user) = (workspace.to_owned(), user.to_owned());
        self.view(move |tx| {
            let user = named(tx, &workspace, &user)?;
            Ok(tokens(tx, &workspace, &user.id, now)?)
        })
        .await
    }

    async fn add_user(&self, operation: Operation, user: NewUser) -> Result<Answer<Account>> {
        self.operate(move |tx| add_user(tx, &operation, &user))
            .await
    }

    async fn change_user(
        &self,
        operation: Operation,
        user: &str,
        change: UserChange,
    ) -> Result<Answer<Changed>> {
        let user = user.to_owned();
        self.operate(move |tx| change_user(tx, &operation, &user, &change))
            .await
    }

    async fn change_role(
        &self,
        operation: Operation,
        role: &str,
        change: RoleChange,
    ) -> Result<Answer<Role>> {
        let role = role.to_owned();
        self.operate(move |tx| change_role(tx, &operation, role, &change))
            .await
    }

    async fn set_setting(
        &self,
        operation: Operation,
        setting: &'static Setting,
        value: SecretString,
    ) -> Result<Answer<()>> {
        self.operate(move |tx| set_setting(tx, &operation, setting, &value))
            .await
    }

    async fn list_mail(&self, workspace: &str, now: Timestamp) -> Result<Answer<Vec<Mail>>> {
        let workspace = workspace.to_owned();
        self.view(move |tx| {
            require_workspace(tx, &workspace)?;
            Ok(outbox::list(tx, &workspace, now)?)
        })
        .await
    }

    async fn find_mail(&self, workspace: &str, id: i64, now: Timestamp) -> Result<Answer<Mail>> {
        let workspace = workspace.to_owned();
        self.view(move |tx| {
            require_workspace(tx, &workspace)?;
            outbox::find(tx, &workspace, id, now)
        })
        .await
    }

    async fn retry_mail(&self, operation: Operation, id: i64) -> Result<Answer<()>> {
        self.operate(move |tx| {
            require_workspace(tx, &operation.workspace)?;
            outbox::retry(tx, &operation, id)
        })
        .await
    }

    async fn remove_mail(&self, operation: Operation, id: i64) -> Result<Answer<()>> {
        self.operate(move |tx| {
            require_workspace(tx, &operation.workspace)?;
            outbox::remove(tx, &operation, id)
        })
        .await
    }
}

fn exists(tx: &Transaction<'_>, workspace: &str) -> SqlResult<bool> {
    tx.prepare_cached("SELECT 1 FROM workspace WHERE id = ?1")?
        .exists([workspace])
}

fn require_workspace(tx: &Transaction<'_>, workspace: &str) -> Step<()> {
    if exists(tx, workspace)? {
        return Ok(());
    }
    Err(Problem::UnknownWorkspace(workspace.to_owned()).into())
}

fn workspaces(tx: &Transaction<'_>, now: Timestamp) -> SqlResult<Vec<WorkspaceSummary>> {
    let mut query = tx.prepare(
        "SELECT id,
                (SELECT count(*) FROM user WHERE workspace = workspace.id),
                (SELECT count(*) FROM user WHERE workspace = workspace.id AND deactivated),
                (SELECT count(*) FROM totp WHERE workspace = workspace.id),
                (SELECT count(*) FROM failed_attempt
                 WHERE workspace = workspace.id AND locked_until > ?1)
         FROM workspace ORDER BY id",
    )?;
    let workspaces = query.query_map([now.millis()], |row| {
        let id: String = row.get(0)?;
        Ok(WorkspaceSummary {
            users: row.get(1)?,
            deactivated: row.get(2)?,
            enrolled: row.get(3)?,
            locked: row.get(4)?,
            roles: role_names(tx, &id)?,
            changed_settings: changed_settings(tx, &id)?,
            id,
        })
    })?;
    workspaces.collect()
}

fn changed_settings(tx: &Transaction<'_>, workspace: &str) -> SqlResult<Vec<&'static str>> {
    let settings = look_up::settings(tx, workspace)?.unwrap_or_default();
    let changed = SETTINGS.iter().filter(|s| s.is_changed(&settings));
    Ok(changed.map(|setting| setting.name).collect())
}

fn users(tx: &Transaction<'_>, workspace: &str, now: Timestamp) -> Step<Vec<Account>> {
    require_workspace(tx, workspace)?;
    let ids: Vec<String> = tx
        .prepare("SELECT id FROM user WHERE workspace = ?1 ORDER BY username_key")?
        .query_map([workspace], |row| row.get(0))?
        .collect::<SqlResult<_>>()?;
    let mut users = Vec::with_capacity(ids.len());
    for id in ids {
        users.extend(look_up::account(tx, workspace, &id, now)?);
    }
    Ok(users)
}

/// The account with this id or username. Whoever chose another's id as their
/// username is not taken for the other.
fn named(tx: &Transaction<'_>, workspace: &str, name: &str) -> Step<User> {
    require_workspace(tx, workspace)?;
    let by_id = find_user(tx, workspace, &Selector::Id(name.to_owned()))?;
    let by_username = find_user(tx, workspace, &Selector::Username(name.to_owned()))?;
    match (by_id, by_username) {
        (Some(one), Some(other)) if one.id != other.id => Err(Problem::AmbiguousUser {
            name: name.to_owned(),
            username: one.username,
            id: other.id,
        }
        .into()),
        (Some(user), _) | (None, Some(user)) => Ok(user),
        (None, None) => Err(Problem::UnknownUser(name.to_owned()).into()),
    }
}

fn account(tx: &Transaction<'_>, workspace: &str, id: &str, now: Timestamp) -> Step<Account> {
    look_up::account(tx, workspace, id, now)?
        .ok_or_else(|| Problem::UnknownUser(id.to_owned()).into())
}

fn role_names(tx: &Transaction<'_>, workspace: &str) -> SqlResult<Vec<String>> {
    tx.prepare_cached("SELECT name FROM role WHERE workspace = ?1 ORDER BY name")?
        .query_map([workspace], |row| row.get(0))?
        .collect()
}

fn role(tx: &Transaction<'_>, workspace: &str, name: String) -> SqlResult<Role> {
    let texts = |sql: &str| {
        tx.prepare_cached(sql)?
            .query_map([workspace, &name], |row| row.get(0))?
            .collect::<SqlResult<_>>()
    };
    Ok(Role {
        permissions: texts(
            "SELECT permission FROM role_permission
             WHERE workspace = ?1 AND role = ?2 ORDER BY permission",
        )?,
        members: texts(
            "SELECT username FROM user_role
             JOIN user ON user.workspace = user_role.workspace AND user.id = user_role.user
             WHERE user_role.workspace = ?1 AND role = ?2 ORDER BY username_key",
        )?,
        name,
    })
}

fn require_role(tx: &Transaction<'_>, workspace: &str, name: &str) -> Step<()> {
    let known = role_names(tx, workspace)?;
    if known.iter().any(|role| role == name) {
        return Ok(());
    }
    let name = name.to_owned();
    Err(Problem::UnknownRole { name, known }.into())
}

fn tokens(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    now: Timestamp,
) -> SqlResult<Vec<Token>> {
    tx.prepare(
        "SELECT name, expires, bypass_two_factor FROM login_token
         WHERE workspace = ?1 AND user = ?2 AND (expires IS NULL OR expires > ?3)
         ORDER BY expires, name",
    )?
    .query_map(params![workspace, user, now.millis()], |row| {
        Ok(Token {
            name: row.get(0)?,
            expires: row.get::<_, Option<i64>>(1)?.map(Timestamp::from_millis),
            bypass_two_factor: row.get(2)?,
        })
    })?
    .collect()
}

fn add_user(tx: &Transaction<'_>, operation: &Operation, user: &NewUser) -> Step<Account> {
    let workspace = operation.workspace.as_str();
    require_workspace(tx, workspace)?;
    let username = Selector::Username(user.username.clone());
    if find_user(tx, workspace, &username)?.is_some() {
        return Err(Problem::UsernameTaken(user.username.clone()).into());
    }
    require_free_addresses(tx, workspace, user)?;
    for role in &user.roles {
        require_role(tx, workspace, role)?;
    }
    create_user(tx, workspace, user)?;
    let roles = (!user.roles.is_empty()).then(|| user.roles.join(", "));
    record(
        tx,
        &operation.record(Action::AddUser, Some(user.id.clone()), roles),
    )?;
    account(tx, workspace, &user.id, operation.now)
}

/// Log-in compares addresses without regard to the case of ASCII letters.
fn require_free_addresses(tx: &Transaction<'_>, workspace: &str, user: &NewUser) -> Step<()> {
    let mut taken = tx.prepare_cached(
        "SELECT 1 FROM email WHERE workspace = ?1 AND lower(address) = lower(?2)",
    )?;
    for (index, email) in user.emails.iter().enumerate() {
        let same = |other: &Email| other.address.eq_ignore_ascii_case(&email.address);
        let twice = user.emails.iter().take(index).any(same);
        if twice || taken.exists([workspace, &email.address])? {
            return Err(Problem::AddressTaken(email.address.clone()).into());
        }
    }
    Ok(())
}

fn change_user(
    tx: &Transaction<'_>,
    operation: &Operation,
    name: &str,
    change: &UserChange,
) -> Step<Changed> {
    let user = named(tx, &operation.workspace, name)?;
    let ended_tokens = apply(tx, &operation.workspace, &user, change)?;
    let entry = operation.record(change.action(), Some(user.id.clone()), change.detail());
    record(tx, &entry)?;
    Ok(Changed {
        account: account(tx, &operation.workspace, &user.id, operation.now)?,
        ended_tokens,
    })
}

/// Does it, and says how many tokens that ended.
fn apply(tx: &Transaction<'_>, workspace: &str, user: &User, change: &UserChange) -> Step<usize> {
    let id = user.id.as_str();
    match change {
        UserChange::SetPassword(hash) => {
            tx.prepare_cached(
                "UPDATE user SET password_hash = ?3 WHERE workspace = ?1 AND id = ?2",
            )?
            .execute([workspace, id, hash.expose_secret()])?;
            forget_unproved(tx, workspace, id)?;
            return Ok(token::end_sessions(tx, workspace, id, None)?);
        }
        UserChange::EnrolTotp(factor) => {
            let settings = look_up::settings(tx, workspace)?.unwrap_or_default();
            if !settings.uses_totp() {
                return Err(Problem::NotEnabled.into());
            }
            if user.federated {
                return Err(Problem::Federated(user.username.clone()).into());
            }
            if look_up::totp(tx, workspace, id)?.is_some() {
                return Err(Problem::AlreadyEnrolled(user.username.clone()).into());
            }
            // A key that was shown and not yet proved goes.
            remove_totp(tx, workspace, id)?;
            enrol(tx, workspace, id, factor)?;
            return Ok(token::end_sessions(tx, workspace, id, None)?);
        }
        UserChange::ReplaceBackupCodes { backup_code_hashes } => {
            if look_up::totp(tx, workspace, id)?.is_none() {
                return Err(Problem::NotEnrolled(user.username.clone()).into());
            }
            replace_backup_codes(tx, workspace, id, backup_code_hashes)?;
        }
        UserChange::Unlock => {
            clear_failures(tx, workspace, id)?;
            tx.prepare_cached(
                "UPDATE email_code SET failures = 0 WHERE workspace = ?1 AND user = ?2",
            )?
            .execute([workspace, id])?;
        }
        UserChange::Activate => set_deactivated(tx, workspace, id, false)?,
        UserChange::Deactivate => {
            set_deactivated(tx, workspace, id, true)?;
            forget_unproved(tx, workspace, id)?;
            return Ok(token::revoke_all(tx, workspace, id)?);
        }
        UserChange::GiveRole(role) => {
            require_role(tx, workspace, role)?;
            tx.prepare_cached(
                "INSERT OR IGNORE INTO user_role (workspace, user, role) VALUES (?1, ?2, ?3)",
            )?
            .execute([workspace, id, role])?;
        }
        UserChange::TakeRole(role) => {
            require_role(tx, workspace, role)?;
            tx.prepare_cached(
                "DELETE FROM user_role WHERE workspace = ?1 AND user = ?2 AND role = ?3",
            )?
            .execute([workspace, id, role])?;
        }
        UserChange::CreateToken(new) => {
            if let Some(name) = &new.name
                && has_token(tx, workspace, id, name)?
            {
                let (user, token) = (user.username.clone(), name.clone());
                return Err(Problem::TokenNameTaken { user, token }.into());
            }
            token::insert(tx, workspace, id, new)?;
        }
        UserChange::RevokeToken(name) => {
            let ended = token::revoke_named(tx, workspace, id, name)?;
            if ended == 0 {
                let (user, token) = (user.username.clone(), name.clone());
                return Err(Problem::UnknownToken { user, token }.into());
            }
            return Ok(ended);
        }
        UserChange::RevokeAllTokens => {
            forget_unproved(tx, workspace, id)?;
            return Ok(token::revoke_all(tx, workspace, id)?);
        }
    }
    Ok(0)
}

fn set_deactivated(
    tx: &Transaction<'_>,
    workspace: &str,
    user: &str,
    deactivated: bool,
) -> SqlResult<()> {
    tx.prepare_cached("UPDATE user SET deactivated = ?3 WHERE workspace = ?1 AND id = ?2")?
        .execute(params![workspace, user, deactivated])?;
    Ok(())
}

fn has_token(tx: &Transaction<'_>, workspace: &str, user: &str, name: &str) -> SqlResult<bool> {
    tx.prepare_cached("SELECT 1 FROM login_token WHERE workspace = ?1 AND user = ?2 AND name = ?3")?
        .exists([workspace, user, name])
}

fn change_role(
    tx: &Transaction<'_>,
    operation: &Operation,
    name: String,
    change: &RoleChange,
) -> Step<Role> {
    let workspace = operation.workspace.as_str();
    require_workspace(tx, workspace)?;
    let (action, permission) = match change {
        RoleChange::Allow(permission) => {
            insert_role(tx, workspace, &name)?;
            insert_permission(tx, workspace, &name, permission)?;
            (Action::AllowPermission, permission)
        }
        RoleChange::Deny(permission) => {
            require_role(tx, workspace, &name)?;
            tx.prepare_cached(
                "DELETE FROM role_permission
                 WHERE workspace = ?1 AND role = ?2 AND permission = ?3",
            )?
            .execute([workspace, &name, permission])?;
            (Action::DenyPermission, permission)
        }
    };
    let detail = Some(format!("{name}: {permission}"));
    record(tx, &operation.record(action, None, detail))?;
    Ok(role(tx, workspace, name)?)
}

fn set_setting(
    tx: &Transaction<'_>,
    operation: &Operation,
    setting: &Setting,
    value: &SecretString,
) -> Step<()> {
    let workspace = operation.workspace.as_str();
    require_workspace(tx, workspace)?;
    let mut settings = Settings::default();
    setting
        .set(&mut settings, value.expose_secret())
        .map_err(Problem::from)?;
    tx.prepare_cached("DELETE FROM setting WHERE workspace = ?1 AND name = ?2")?
        .execute([workspace, setting.name])?;
    if setting.is_changed(&settings) {
        write_setting(tx, workspace, setting.name, value)?;
    }
    let detail = Some(match setting.is_secret() {
        true => setting.name.to_owned(),
        false => format!("{}: {}", setting.name, value.expose_secret()),
    });
    record(tx, &operation.record(Action::ChangeSetting, None, detail))?;
    Ok(())
}
