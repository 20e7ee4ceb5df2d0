//! Changes, as the tables keep them.

use super::create::{
    enrol, insert_permission, insert_role, insert_token, replace_backup_codes, user, workspace,
    write_setting,
};
use super::query::{Query, Value, query};
use super::read::HeldCode;
use super::{audit_log, outbox};
use crate::Result;
use crate::audit_log::OpenLog;
use crate::convention::{NEVER, PRUNED_TOGETHER, sealed_key};
use crate::seal::{EMAIL_CODE, PENDING_KEY, Seal};
use chat_domain::account::{MailedCode, PendingKey};
use chat_domain::attempts::Failures;
use chat_domain::operator::SettingPlace;
use chat_domain::order::{Change, Tokens};
use chat_domain::retention::Retention;
use chat_domain::settings::Setting;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::Row;

/// What makes all changes, in this order, where these backup codes were read.
pub(super) fn queries(
    seal: &Seal,
    workspace: &str,
    codes: &[HeldCode],
    changes: &[Change],
    log: &mut Log,
) -> Result<Vec<Query>> {
    let at = Place {
        seal,
        workspace,
        codes,
    };
    let mut queries = Vec::new();
    for change in changes {
        queries.extend(at.apply(change, log)?);
    }
    Ok(queries)
}

/// The audit log of the workspace, as of the last trip.
#[derive(Default)]
pub(super) struct Log {
    /// None where there are no records yet.
    pub(super) open: Option<OpenLog>,
    /// Records to be erased.
    pub(super) old: Vec<Row>,
}

/// A workspace in a store.
struct Place<'a> {
    seal: &'a Seal,
    workspace: &'a str,
    codes: &'a [HeldCode],
}

impl Place<'_> {
    fn apply(&self, change: &Change, log: &mut Log) -> Result<Vec<Query>> {
        let (seal, at) = (self.seal, self.workspace);
        let query = match change {
            Change::CreateWorkspace(new) => return Ok(workspace(seal, new)),
            Change::AddUser(new) => return Ok(user(seal, at, new)),
            Change::Enrol { user, factor } => return Ok(enrol(seal, at, user, factor)),
            Change::ReplaceBackupCodes { user, hashes } => {
                return Ok(replace_backup_codes(seal, at, user, hashes));
            }
            Change::FixSettings(fixed) => return Ok(self.fix_settings(fixed)),
            Change::Prune(retention) => return self.prune(retention, log),
            Change::SetSetting { name, value } => self.set_setting(name, value.as_ref()),
            Change::AddRole { role } => insert_role(at, role),
            Change::AllowPermission { role, permission } => insert_permission(at, role, permission),
            Change::DenyPermission { role, permission } => query!(
                "DELETE FROM role_permission
                 WHERE workspace = $1 AND role = $2 AND permission = $3",
                self.key(),
                role,
                permission,
            ),
            Change::SetPassword { user, hash } => query!(
                r#"UPDATE "user" SET password_hash = $3 WHERE workspace = $1 AND id = $2"#,
                self.key(),
                user,
                hash.expose_secret(),
            ),
            Change::SetDeactivated { user, deactivated } => query!(
                r#"UPDATE "user" SET deactivated = $3 WHERE workspace = $1 AND id = $2"#,
                self.key(),
                user,
                *deactivated,
            ),
            Change::GiveRole { user, role } => query!(
                r#"INSERT INTO user_role (workspace, "user", role) VALUES ($1, $2, $3)
                   ON CONFLICT DO NOTHING"#,
                self.key(),
                user,
                role,
            ),
            Change::TakeRole { user, role } => query!(
                r#"DELETE FROM user_role WHERE workspace = $1 AND "user" = $2 AND role = $3"#,
                self.key(),
                user,
                role,
            ),
            Change::AddToken { user, token } => insert_token(at, user, token),
            Change::EndTokens { user, which } => self.end_tokens(user, which),
            Change::RemoveFactor { user } => query!(
                r#"DELETE FROM totp WHERE workspace = $1 AND "user" = $2"#,
                self.key(),
                user,
            ),
            Change::SpendStep { user, step } => query!(
                r#"UPDATE totp SET last_step = $3 WHERE workspace = $1 AND "user" = $2"#,
                self.key(),
                user,
                *step,
            ),
            Change::SpendBackupCode { user, hash } => query!(
                r#"UPDATE backup_code SET spent = TRUE
                   WHERE workspace = $1 AND "user" = $2 AND hash = $3"#,
                self.key(),
                user,
                self.held(user, hash),
            ),
            Change::SetPendingKey { user, pending } => self.set_pending_key(user, pending),
            Change::RemovePendingKey { user } => query!(
                r#"DELETE FROM pending_totp WHERE workspace = $1 AND "user" = $2"#,
                self.key(),
                user,
            ),
            Change::SetMailedCode { user, code } => self.set_mailed_code(user, code),
            Change::RemoveMailedCode { user } => query!(
                r#"DELETE FROM email_code WHERE workspace = $1 AND "user" = $2"#,
                self.key(),
                user,
            ),
            Change::SetFailures { user, failures } => self.set_failures(user, failures),
            Change::QueueMail(post) => outbox::queue(seal, at, post),
            Change::RemoveCodeMails { user } => query!(
                r#"DELETE FROM outbox WHERE workspace = $1 AND holds_code AND "user" = $2"#,
                self.key(),
                user,
            ),
            Change::PostponeMail {
                id,
                next,
                problem,
                doubtful,
            } => outbox::postpone(at, *id, *next, problem.as_deref(), *doubtful),
            Change::RetryMail { id, due, expires } => outbox::retry(at, *id, *due, *expires),
            Change::RemoveMail { id } => query!(
                "DELETE FROM outbox WHERE workspace = $1 AND id = $2",
                self.key(),
                *id,
            ),
            Change::Record(record) => audit_log::append(seal, &mut log.open, record.into())?,
        };
        Ok(vec![query])
    }

    fn key(&self) -> Value {
        Value::key(self.workspace)
    }

    /// As what the backup code with this hash is kept.
    fn held<'b>(&'b self, user: &str, hash: &'b str) -> &'b str {
        let mut codes = self.codes.iter();
        let code = codes.find(|code| code.user == user && code.hash == hash);
        code.map_or(hash, |code| &code.text)
    }

    fn set_setting(&self, name: &str, value: Option<&SecretString>) -> Query {
        match value.zip(Setting::named(name)) {
            Some((value, setting)) => write_setting(self.seal, self.workspace, setting, value),
            None => query!(
                "DELETE FROM setting WHERE workspace = $1 AND name = $2",
                self.key(),
                name,
            ),
        }
    }

    fn end_tokens(&self, user: &str, which: &Tokens) -> Query {
        match which {
            Tokens::All => query!(
                r#"DELETE FROM login_token WHERE workspace = $1 AND "user" = $2"#,
                self.key(),
                user,
            ),
            Tokens::Sessions { but } => query!(
                r#"DELETE FROM login_token
                   WHERE workspace = $1 AND "user" = $2 AND expires IS NOT NULL
                     AND hash IS DISTINCT FROM $3"#,
                self.key(),
                user,
                but,
            ),
            Tokens::Ended { by } => query!(
                r#"DELETE FROM login_token
                   WHERE workspace = $1 AND "user" = $2 AND expires <= $3"#,
                self.key(),
                user,
                *by,
            ),
            Tokens::Named(name) => query!(
                r#"DELETE FROM login_token WHERE workspace = $1 AND "user" = $2 AND name = $3"#,
                self.key(),
                user,
                name,
            ),
            Tokens::Hash(hash) => query!(
                r#"DELETE FROM login_token WHERE workspace = $1 AND "user" = $2 AND hash = $3"#,
                self.key(),
                user,
                hash,
            ),
        }
    }

    fn set_pending_key(&self, user: &str, pending: &PendingKey) -> Query {
        query!(
            r#"INSERT INTO pending_totp (workspace, "user", key, expires) VALUES ($1, $2, $3, $4)
               ON CONFLICT (workspace, "user") DO UPDATE SET
                  key = excluded.key, expires = excluded.expires"#,
            self.key(),
            user,
            &sealed_key(
                self.seal,
                &PENDING_KEY.of(self.workspace, user),
                &pending.key
            ),
            pending.expires,
        )
    }

    fn set_mailed_code(&self, user: &str, code: &MailedCode) -> Query {
        query!(
            r#"INSERT INTO email_code (workspace, "user", hash, issued, expires, failures, mails)
               VALUES ($1, $2, $3, $4, $5, $6, $7)
               ON CONFLICT (workspace, "user") DO UPDATE SET
                  hash = excluded.hash, issued = excluded.issued, expires = excluded.expires,
                  failures = excluded.failures, mails = excluded.mails"#,
            self.key(),
            user,
            &self
                .seal
                .seal(&EMAIL_CODE.of(self.workspace, user), &code.hash),
            code.issued,
            code.expires,
            code.failures,
            code.mails,
        )
    }

    /// None is no row.
    fn set_failures(&self, user: &str, failures: &Failures) -> Query {
        if *failures == Failures::default() {
            return query!(
                r#"DELETE FROM failed_attempt WHERE workspace = $1 AND "user" = $2"#,
                self.key(),
                user,
            );
        }
        query!(
            r#"INSERT INTO failed_attempt (workspace, "user", count, locked_until, told)
               VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (workspace, "user") DO UPDATE SET
                  count = excluded.count, locked_until = excluded.locked_until,
                  told = excluded.told"#,
            self.key(),
            user,
            failures.count,
            failures.locked_until,
            failures.told,
        )
    }

    fn fix_settings(&self, fixed: &[SettingPlace]) -> Vec<Query> {
        let mut queries = vec![query!(
            "DELETE FROM fixed_setting WHERE workspace = $1",
            self.key(),
        )];
        queries.extend(fixed.iter().map(|SettingPlace { name, place }| {
            query!(
                "INSERT INTO fixed_setting (workspace, name, place) VALUES ($1, $2, $3)",
                self.key(),
                name,
                place,
            )
        }));
        queries
    }

    fn prune(&self, retention: &Retention, log: &Log) -> Result<Vec<Query>> {
        let mut queries = audit_log::erase(log.open.as_ref(), self.workspace, &log.old)?;
        let dead_letters = retention.dead_letters_before.map(|before| {
            query!(
                "DELETE FROM outbox WHERE id IN
                    (SELECT id FROM outbox
                     WHERE workspace = $1 AND next_try = $4 AND queued < $2 LIMIT $3)",
                self.key(),
                before,
                PRUNED_TOGETHER,
                NEVER,
            )
        });
        let sessions = query!(
            r#"DELETE FROM login_token WHERE workspace = $1 AND ("user", hash) IN
                  (SELECT "user", hash FROM login_token
                   WHERE workspace = $1 AND expires < $2 LIMIT $3)"#,
            self.key(),
            retention.sessions_ended_before,
            PRUNED_TOGETHER,
        );
        queries.extend(dead_letters);
        queries.push(sessions);
        Ok(queries)
    }
}
