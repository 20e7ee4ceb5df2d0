//! Changes, as the tables keep them.

use super::create::{
    create_user, create_workspace, enrol, insert_permission, insert_role, insert_token,
    replace_backup_codes, spend_backup_code, write_setting,
};
use super::{Db, SqlResult, audit_log, outbox};
use crate::convention::{NEVER, PRUNED_TOGETHER, sealed_key};
use crate::seal::{EMAIL_CODE, PENDING_KEY};
use chat_domain::account::{MailedCode, PendingKey};
use chat_domain::attempts::Failures;
use chat_domain::operator::SettingPlace;
use chat_domain::order::{Change, Tokens};
use chat_domain::retention::Retention;
use chat_domain::settings::Setting;
use chat_domain::time::Timestamp;
use rusqlite::{Params, ToSql, named_params, params};
use secrecy::{ExposeSecret, SecretString};

/// Makes all changes, in the transaction that the connection is in.
pub(super) fn all(db: Db<'_>, workspace: &str, changes: &[Change]) -> SqlResult<()> {
    let at = Place { db, workspace };
    changes.iter().try_for_each(|change| at.apply(change))
}

/// A workspace in a store.
struct Place<'a> {
    db: Db<'a>,
    workspace: &'a str,
}

impl Place<'_> {
    fn apply(&self, change: &Change) -> SqlResult<()> {
        let Self { db, workspace } = *self;
        match change {
            Change::CreateWorkspace(new) => create_workspace(db, new),
            Change::SetSetting { name, value } => self.set_setting(name, value.as_ref()),
            Change::AddRole { role } => insert_role(&db, workspace, role),
            Change::AllowPermission { role, permission } => {
                insert_permission(&db, workspace, role, permission)
            }
            Change::DenyPermission { role, permission } => self.run(
                "DELETE FROM role_permission
                 WHERE workspace = ?1 AND role = ?2 AND permission = ?3",
                [workspace, role, permission],
            ),
            Change::AddUser(new) => create_user(db, workspace, new),
            Change::SetPassword { user, hash } => self.run(
                "UPDATE user SET password_hash = ?3 WHERE workspace = ?1 AND id = ?2",
                [workspace, user, hash.expose_secret()],
            ),
            Change::SetDeactivated { user, deactivated } => self.run(
                "UPDATE user SET deactivated = ?3 WHERE workspace = ?1 AND id = ?2",
                params![workspace, user, deactivated],
            ),
            Change::GiveRole { user, role } => self.run(
                "INSERT OR IGNORE INTO user_role (workspace, user, role) VALUES (?1, ?2, ?3)",
                [workspace, user, role],
            ),
            Change::TakeRole { user, role } => self.run(
                "DELETE FROM user_role WHERE workspace = ?1 AND user = ?2 AND role = ?3",
                [workspace, user, role],
            ),
            Change::AddToken { user, token } => insert_token(&db, workspace, user, token),
            Change::EndTokens { user, which } => self.end_tokens(user, which),
            Change::Enrol { user, factor } => enrol(db, workspace, user, factor),
            Change::RemoveFactor { user } => {
                self.delete("DELETE FROM totp WHERE workspace = ?1 AND user = ?2", user)
            }
            Change::SpendStep { user, step } => self.run(
                "UPDATE totp SET last_step = ?3 WHERE workspace = ?1 AND user = ?2",
                params![workspace, user, step.cast_signed()],
            ),
            Change::SpendBackupCode { user, hash } => spend_backup_code(db, workspace, user, hash),
            Change::ReplaceBackupCodes { user, hashes } => {
                replace_backup_codes(db, workspace, user, hashes)
            }
            Change::SetPendingKey { user, pending } => self.set_pending_key(user, pending),
            Change::RemovePendingKey { user } => self.delete(
                "DELETE FROM pending_totp WHERE workspace = ?1 AND user = ?2",
                user,
            ),
            Change::SetMailedCode { user, code } => self.set_mailed_code(user, code),
            Change::RemoveMailedCode { user } => self.delete(
                "DELETE FROM email_code WHERE workspace = ?1 AND user = ?2",
                user,
            ),
            Change::SetFailures { user, failures } => self.set_failures(user, failures),
            Change::QueueMail(post) => outbox::queue(db, workspace, post),
            Change::RemoveCodeMails { user } => self.delete(
                "DELETE FROM outbox WHERE workspace = ?1 AND holds_code AND user = ?2",
                user,
            ),
            Change::PostponeMail {
                id,
                next,
                problem,
                doubtful,
            } => outbox::postpone(&db, workspace, *id, *next, problem.as_deref(), *doubtful),
            Change::RetryMail { id, due, expires } => {
                outbox::retry(&db, workspace, *id, *due, *expires)
            }
            Change::RemoveMail { id } => self.run(
                "DELETE FROM outbox WHERE workspace = ?1 AND id = ?2",
                params![workspace, id],
            ),
            Change::FixSettings(fixed) => self.fix_settings(fixed),
            Change::Prune(retention) => self.prune(retention),
            Change::Record(record) => audit_log::append(db, record),
        }
    }

    fn run(&self, sql: &str, params: impl Params) -> SqlResult<()> {
        self.db.prepare_cached(sql)?.execute(params).map(drop)
    }

    fn delete(&self, sql: &str, user: &str) -> SqlResult<()> {
        self.run(sql, [self.workspace, user])
    }

    fn set_setting(&self, name: &str, value: Option<&SecretString>) -> SqlResult<()> {
        match value.zip(Setting::named(name)) {
            Some((value, setting)) => write_setting(self.db, self.workspace, setting, value),
            None => self.delete(
                "DELETE FROM setting WHERE workspace = ?1 AND name = ?2",
                name,
            ),
        }
    }

    fn end_tokens(&self, user: &str, which: &Tokens) -> SqlResult<()> {
        let end = |sql: &str, of: &dyn ToSql| self.run(sql, params![self.workspace, user, of]);
        match which {
            Tokens::All => self.delete(
                "DELETE FROM login_token WHERE workspace = ?1 AND user = ?2",
                user,
            ),
            Tokens::Sessions { but } => end(
                "DELETE FROM login_token
                 WHERE workspace = ?1 AND user = ?2 AND expires IS NOT NULL AND hash IS NOT ?3",
                but,
            ),
            Tokens::Ended { by } => end(
                "DELETE FROM login_token WHERE workspace = ?1 AND user = ?2 AND expires <= ?3",
                &by.millis(),
            ),
            Tokens::Named(name) => end(
                "DELETE FROM login_token WHERE workspace = ?1 AND user = ?2 AND name = ?3",
                name,
            ),
            Tokens::Hash(hash) => end(
                "DELETE FROM login_token WHERE workspace = ?1 AND user = ?2 AND hash = ?3",
                hash,
            ),
        }
    }

    fn set_pending_key(&self, user: &str, pending: &PendingKey) -> SqlResult<()> {
        let place = PENDING_KEY.of(self.workspace, user);
        self.run(
            "INSERT OR REPLACE INTO pending_totp (workspace, user, key, expires)
             VALUES (?1, ?2, ?3, ?4)",
            params![
                self.workspace,
                user,
                sealed_key(self.db.seal, &place, &pending.key),
                pending.expires.millis()
            ],
        )
    }

    fn set_mailed_code(&self, user: &str, code: &MailedCode) -> SqlResult<()> {
        let place = EMAIL_CODE.of(self.workspace, user);
        self.run(
            "INSERT OR REPLACE INTO email_code
                (workspace, user, hash, issued, expires, failures, mails)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                self.workspace,
                user,
                self.db.seal.seal(&place, &code.hash),
                code.issued.millis(),
                code.expires.millis(),
                code.failures,
                code.mails
            ],
        )
    }

    /// None is no row.
    fn set_failures(&self, user: &str, failures: &Failures) -> SqlResult<()> {
        if *failures == Failures::default() {
            return self.delete(
                "DELETE FROM failed_attempt WHERE workspace = ?1 AND user = ?2",
                user,
            );
        }
        self.run(
            "INSERT INTO failed_attempt (workspace, user, count, locked_until, told)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET
                count = excluded.count, locked_until = excluded.locked_until, told = excluded.told",
            params![
                self.workspace,
                user,
                failures.count,
                failures.locked_until.map(Timestamp::millis),
                failures.told
            ],
        )
    }

    fn fix_settings(&self, fixed: &[SettingPlace]) -> SqlResult<()> {
        self.run(
            "DELETE FROM fixed_setting WHERE workspace = ?1",
            [self.workspace],
        )?;
        fixed.iter().try_for_each(|SettingPlace { name, place }| {
            self.run(
                "INSERT INTO fixed_setting (workspace, name, place) VALUES (?1, ?2, ?3)",
                [self.workspace, name, place],
            )
        })
    }

    fn prune(&self, retention: &Retention) -> SqlResult<()> {
        let prune = |sql: &str, before: Option<Timestamp>| match before {
            Some(before) => self.run(
                sql,
                named_params! {
                    ":workspace": self.workspace,
                    ":before": before.millis(),
                    ":most": PRUNED_TOGETHER,
                },
            ),
            None => Ok(()),
        };
        if let Some(before) = retention.records_before {
            audit_log::erase(self.db, self.workspace, before)?;
        }
        prune(
            &format!(
                "DELETE FROM outbox WHERE id IN
                    (SELECT id FROM outbox
                     WHERE workspace = :workspace AND next_try = {} AND queued < :before
                     LIMIT :most)",
                NEVER
            ),
            retention.dead_letters_before,
        )?;
        prune(
            "DELETE FROM login_token WHERE workspace = :workspace AND (user, hash) IN
                (SELECT user, hash FROM login_token
                 WHERE workspace = :workspace AND expires < :before LIMIT :most)",
            Some(retention.sessions_ended_before),
        )
    }
}
