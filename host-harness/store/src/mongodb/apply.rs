//! Changes, as the collections keep them: of Rocket.Chat's documents the named fields alone, where
//! they hold what was decided by.

use super::account::{ACCOUNTS, Held, TOKENS, USERS, mark_of, tokens_in};
use super::audit_log::{self, Appended};
use super::database::{Look, Transaction};
use super::failure::Failure;
use super::outbox::{self, OUTBOX};
use super::settings::{FIXED_SETTINGS, SETTINGS, is_rockets, refusal};
use crate::audit_log::OpenLog;
use crate::convention::{NEVER, PRUNED_TOGETHER, sealed_setting};
use crate::seal::{EMAIL_CODE, Seal};
use chat_domain::account::{MailedCode, PendingKey, Token, TotpFactor};
use chat_domain::attempts::Failures;
use chat_domain::order::{Change, Tokens};
use chat_domain::retention::Retention;
use chat_domain::settings::{Setting, Settings};
use mongodb::bson::{DateTime, Document, doc};
use secrecy::{ExposeSecret, SecretString};

/// Rocket.Chat's registrations for push notices: `{userId, authToken}`, by account and, hashed,
/// by the token of its session.
const PUSH_TOKENS: &str = "_raix_push_app_tokens";

/// Rocket.Chat's list of sessions: `{userId, loginToken, logoutAt}`.
const SESSIONS: &str = "rocketchat_sessions";

/// The numbers that were given last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    /// To a mail.
    pub(super) mails: i64,
    /// To an audit record.
    pub(super) records: i64,
}

/// The audit log, as a transaction goes on with it.
pub(super) struct Log {
    /// None where there are no records yet.
    pub(super) open: Option<OpenLog>,
    pub(super) appended: Appended,
}

/// Where changes are made.
pub(super) struct Apply<'a> {
    pub(super) transaction: &'a mut Transaction,
    pub(super) seal: &'a Seal,
    pub(super) workspace: &'a str,
    /// What was read of the accounts.
    pub(super) held: Vec<Held>,
    /// By which they were read.
    pub(super) settings: Settings,
    pub(super) log: &'a mut Log,
    pub(super) numbers: &'a mut Numbers,
}

fn by_id(id: &str) -> Document {
    doc! { "_id": id }
}

impl Apply<'_> {
    /// Makes the changes in this order.
    pub(super) async fn all(&mut self, changes: &[Change]) -> Result<(), Failure> {
        for change in changes {
            self.one(change).await?;
        }
        Ok(())
    }

    async fn one(&mut self, change: &Change) -> Result<(), Failure> {
        match change {
            Change::CreateWorkspace(_) => {
                let here = self.workspace;
                return Err(Failure::rocket_chats(format!(
                    "Rocket.Chat's database holds one workspace, {here}, which Rocket.Chat has made"
                )));
            }
            Change::AddUser(_) => return not_here("accounts are made in Rocket.Chat"),
            Change::SetPassword { .. } => return not_here("passwords are set in Rocket.Chat"),
            Change::SetDeactivated { .. } => {
                return not_here("accounts are activated and deactivated in Rocket.Chat");
            }
            Change::AddRole { .. }
            | Change::AllowPermission { .. }
            | Change::DenyPermission { .. }
            | Change::GiveRole { .. }
            | Change::TakeRole { .. } => {
                return not_here("roles and permissions are changed in Rocket.Chat");
            }
            Change::SetSetting { name, value } => self.set_setting(name, value.as_ref()).await?,
            Change::AddToken { user, token } => self.add_token(user, token).await?,
            Change::EndTokens { user, which } => self.end_tokens(user, which).await?,
            Change::Enrol { user, factor } => self.enrol(user, factor).await?,
            Change::RemoveFactor { user } => self.remove_factor(user).await?,
            Change::SpendStep { user, step } => {
                let step = i64::try_from(*step).unwrap_or(i64::MAX);
                let of = self.factor_of(user);
                self.note(user, doc! { "$set": { "last_step": step, "factor": of } })
                    .await?;
            }
            Change::SpendBackupCode { user, hash } => self.spend_code(user, hash).await?,
            Change::ReplaceBackupCodes { user, hashes } => {
                let filter = doc! { "_id": user, "services.totp.enabled": true };
                let codes = doc! { "$set": { "services.totp.hashedBackup": hashes } };
                self.transaction.update_there(USERS, filter, codes).await?;
                self.note(user, doc! { "$unset": { "spent": "" } }).await?;
            }
            Change::SetPendingKey { user, pending } => self.show_key(user, pending).await?,
            Change::RemovePendingKey { user } => self.remove_pending_key(user).await?,
            Change::SetMailedCode { user, code } => self.set_mailed_code(user, code).await?,
            Change::RemoveMailedCode { user } => {
                let filter = doc! { "_id": user, "services.emailCode": { "$exists": true } };
                let code = doc! { "$unset": { "services.emailCode": "" } };
                self.transaction.update(USERS, filter, code).await?;
                let code = doc! { "$unset": { "code": "" } };
                self.transaction.update(ACCOUNTS, by_id(user), code).await?;
            }
            Change::SetFailures { user, failures } => self.set_failures(user, failures).await?,
            Change::QueueMail(post) => {
                self.numbers.mails += 1;
                let mail = outbox::queued(self.seal, self.workspace, post, self.numbers.mails);
                self.transaction.insert(OUTBOX, vec![mail]).await?;
            }
            Change::RemoveCodeMails { user } => {
                let mails = doc! { "user": user, "holds_code": true };
                self.transaction.delete(OUTBOX, mails).await?;
            }
            Change::PostponeMail {
                id,
                next,
                problem,
                doubtful,
            } => {
                let postponed = outbox::postponed(*next, problem.as_deref(), *doubtful);
                self.update_mail(*id, postponed).await?;
            }
            Change::RetryMail { id, due, expires } => {
                self.update_mail(*id, outbox::retried(*due, *expires))
                    .await?;
            }
            Change::RemoveMail { id } => {
                self.transaction.delete(OUTBOX, doc! { "_id": *id }).await?;
            }
            Change::FixSettings(fixed) => {
                self.transaction.delete(FIXED_SETTINGS, doc! {}).await?;
                let fixed = fixed
                    .iter()
                    .map(|fixed| doc! { "_id": &fixed.name, "place": &fixed.place });
                let fixed = fixed.collect();
                self.transaction.insert(FIXED_SETTINGS, fixed).await?;
            }
            Change::Prune(retention) => self.prune(retention).await?,
            Change::Record(record) => {
                self.numbers.records += 1;
                let Log { open, appended } = &mut *self.log;
                appended.push(open, record.into(), self.numbers.records)?;
            }
        }
        Ok(())
    }

    fn held(&mut self, user: &str) -> Option<&mut Held> {
        self.held.iter_mut().find(|held| held.user == user)
    }

    /// What marks the account's factor, if it has one.
    fn factor_of(&mut self, user: &str) -> Option<String> {
        self.held(user).and_then(|held| held.factor.clone())
    }

    /// Notes something of an account; what was of a factor that it has no more, goes first.
    async fn note(&mut self, user: &str, update: Document) -> Result<(), Failure> {
        if let Some(held) = self.held(user).filter(|held| held.is_outdated) {
            held.is_outdated = false;
            let gone = doc! { "factor": "", "last_step": "", "spent": "", "failures": "" };
            let gone = doc! { "$unset": gone };
            self.transaction.update(ACCOUNTS, by_id(user), gone).await?;
        }
        self.transaction
            .upsert(ACCOUNTS, user, update)
            .await
            .map(drop)
    }

    async fn set_setting(
        &mut self,
        name: &str,
        value: Option<&SecretString>,
    ) -> Result<(), Failure> {
        if is_rockets(name).is_some() {
            return Err(Failure::rocket_chats(refusal(name)));
        }
        match value.zip(Setting::named(name)) {
            Some((value, setting)) => {
                let value = sealed_setting(self.seal, self.workspace, setting, value);
                let value = doc! { "$set": { "value": value.expose_secret() } };
                self.transaction
                    .upsert(SETTINGS, name, value)
                    .await
                    .map(drop)
            }
            None => self.transaction.delete(SETTINGS, by_id(name)).await,
        }
    }

    /// A session: when it began is what Rocket.Chat keeps.
    async fn add_token(&mut self, user: &str, token: &Token) -> Result<(), Failure> {
        let Some(expires) = token.expires else {
            return not_here("personal access tokens are made in Rocket.Chat");
        };
        let when = expires.before(self.settings.login_lifetime());
        let when = DateTime::from_millis(when.millis());
        let session = doc! { "hashedToken": &token.hash, "when": when };
        let session = doc! { "$push": { TOKENS: session } };
        self.transaction
            .update_there(USERS, by_id(user), session)
            .await
    }

    /// With a session end the registration of its phone for push notices, and its place in the
    /// list of sessions that are open.
    async fn end_tokens(&mut self, user: &str, which: &Tokens) -> Result<(), Failure> {
        let look = Look::at(by_id(user)).only(doc! { "services.resume": 1 });
        let Some(document) = self.transaction.one(USERS, look).await? else {
            return Ok(());
        };
        let tokens = tokens_in(&document, self.settings.login_lifetime())?;
        let mut phones = doc! { "userId": user };
        let mut open = doc! { "userId": user, "logoutAt": { "$exists": false } };
        if *which == Tokens::All {
            let filter = doc! { "_id": user, format!("{TOKENS}.0"): { "$exists": true } };
            let none: [Document; 0] = [];
            let none = doc! { "$set": { TOKENS: none.to_vec() } };
            self.transaction.update(USERS, filter, none).await?;
        } else {
            let ended = tokens.into_iter().filter(|token| which.include(token));
            let ended: Vec<_> = ended.map(|token| token.hash).collect();
            if ended.is_empty() {
                return Ok(());
            }
            let gone = doc! { "hashedToken": { "$in": &ended } };
            let gone = doc! { "$pull": { TOKENS: gone } };
            self.transaction.update(USERS, by_id(user), gone).await?;
            phones.insert("authToken", doc! { "$in": &ended });
            open.insert("loginToken", doc! { "$in": &ended });
        }
        self.transaction.delete(PUSH_TOKENS, phones).await?;
        // By Rocket.Chat's clock, as far as anybody's, all its other moments are.
        let now = doc! { "$currentDate": { "logoutAt": true } };
        self.transaction.update_all(SESSIONS, open, now).await
    }

    async fn enrol(&mut self, user: &str, factor: &TotpFactor) -> Result<(), Failure> {
        let secret = factor.key.to_base32();
        let mark = mark_of(&secret);
        let filter = doc! { "_id": user, "services.totp.enabled": { "$ne": true } };
        let enrolled = doc! { "$set": {
            "services.totp.enabled": true,
            "services.totp.secret": secret,
            "services.totp.hashedBackup": &factor.backup_code_hashes,
        } };
        self.transaction
            .update_there(USERS, filter, enrolled)
            .await?;
        let mut set = doc! { "factor": &mark, "spent": &factor.spent_code_hashes };
        if let Some(step) = factor.last_step {
            set.insert("last_step", i64::try_from(step).unwrap_or(i64::MAX));
        }
        self.note(user, doc! { "$set": set }).await?;
        if let Some(held) = self.held(user) {
            held.factor = Some(mark);
        }
        Ok(())
    }

    async fn remove_factor(&mut self, user: &str) -> Result<(), Failure> {
        let filter = doc! { "_id": user, "services.totp.enabled": true };
        let gone = doc! { "$unset": { "services.totp": "" } };
        self.transaction.update_there(USERS, filter, gone).await?;
        let gone = doc! { "$unset": { "factor": "", "last_step": "", "spent": "" } };
        self.note(user, gone).await?;
        if let Some(held) = self.held(user) {
            held.factor = None;
        }
        Ok(())
    }

    async fn spend_code(&mut self, user: &str, hash: &str) -> Result<(), Failure> {
        let filter = doc! { "_id": user, "services.totp.hashedBackup": hash };
        let spent = doc! { "$pull": { "services.totp.hashedBackup": hash } };
        self.transaction.update_there(USERS, filter, spent).await?;
        let of = self.factor_of(user);
        let spent = doc! { "$addToSet": { "spent": hash }, "$set": { "factor": of } };
        self.note(user, spent).await
    }

    async fn show_key(&mut self, user: &str, pending: &PendingKey) -> Result<(), Failure> {
        let secret = pending.key.to_base32();
        let until = pending.expires.millis();
        let noted = doc! { "pending": { "of": mark_of(&secret), "until": until } };
        let filter = doc! { "_id": user, "services.totp.enabled": { "$ne": true } };
        let shown = doc! { "$set": {
            "services.totp.enabled": false,
            "services.totp.tempSecret": secret,
        } };
        self.transaction.update_there(USERS, filter, shown).await?;
        self.note(user, doc! { "$set": noted }).await
    }

    /// Where there is a factor it stays; where there is none, nothing does.
    async fn remove_pending_key(&mut self, user: &str) -> Result<(), Failure> {
        let pending = doc! { "$exists": true };
        let beside = doc! {
            "_id": user, "services.totp.enabled": true, "services.totp.tempSecret": &pending,
        };
        let gone = doc! { "$unset": { "services.totp.tempSecret": "" } };
        self.transaction.update(USERS, beside, gone).await?;
        let alone = doc! {
            "_id": user, "services.totp.enabled": { "$ne": true },
            "services.totp.tempSecret": &pending,
        };
        let gone = doc! { "$unset": { "services.totp": "" } };
        self.transaction.update(USERS, alone, gone).await?;
        let gone = doc! { "$unset": { "pending": "" } };
        self.transaction.update(ACCOUNTS, by_id(user), gone).await?;
        Ok(())
    }

    /// A code that Rocket.Chat has sent stays where it is, and has its wrong tries counted there.
    async fn set_mailed_code(&mut self, user: &str, code: &MailedCode) -> Result<(), Failure> {
        let place = self.held(user).and_then(|held| held.code_place.clone());
        if let Some(place) = place {
            let filter = doc! { "_id": user, format!("{place}.code"): &code.hash };
            let tries = doc! { format!("{place}.attempts"): i64::from(code.failures) };
            let tries = doc! { "$set": tries };
            if self.transaction.update(USERS, filter, tries).await? {
                return Ok(());
            }
        }
        let hash = EMAIL_CODE.of(self.workspace, user);
        let hash = self.seal.seal(&hash, &code.hash);
        let code = doc! {
            "hash": hash,
            "issued": code.issued.millis(),
            "expires": code.expires.millis(),
            "failures": i64::from(code.failures),
            "mails": i64::from(code.mails),
        };
        self.note(user, doc! { "$set": { "code": code } }).await
    }

    /// None is no field.
    async fn set_failures(&mut self, user: &str, failures: &Failures) -> Result<(), Failure> {
        if *failures == Failures::default() {
            let none = doc! { "$unset": { "failures": "" } };
            return self.note(user, none).await;
        }
        let mut kept = doc! {
            "count": i64::from(failures.count),
            "told": i64::from(failures.told),
        };
        if let Some(until) = failures.locked_until {
            kept.insert("locked_until", until.millis());
        }
        let mut set = doc! { "failures": kept };
        if let Some(of) = self.factor_of(user) {
            set.insert("factor", of);
        }
        self.note(user, doc! { "$set": set }).await
    }

    async fn update_mail(&mut self, id: i64, update: Document) -> Result<(), Failure> {
        let filter = doc! { "_id": id };
        self.transaction.update(OUTBOX, filter, update).await?;
        Ok(())
    }

    /// Sessions that have ended are Rocket.Chat's to remove, and it does.
    async fn prune(&mut self, retention: &Retention) -> Result<(), Failure> {
        if let Some(before) = retention.records_before {
            let open = self.log.open.as_ref();
            audit_log::erase(self.transaction, open, before).await?;
        }
        let Some(before) = retention.dead_letters_before else {
            return Ok(());
        };
        let old = doc! { "next_try": NEVER, "queued": { "$lt": before.millis() } };
        let old = Look::at(old)
            .only(doc! { "_id": 1 })
            .first(PRUNED_TOGETHER.into());
        let old = self.transaction.find(OUTBOX, old).await?;
        let ids: Vec<_> = old.iter().filter_map(|mail| mail.get("_id")).collect();
        let old = doc! { "_id": { "$in": ids } };
        self.transaction.delete(OUTBOX, old).await
    }
}

/// Of whatever is Rocket.Chat's to change.
fn not_here<T>(where_it_is: &str) -> Result<T, Failure> {
    Err(Failure::rocket_chats(format!(
        "the store is Rocket.Chat's own database: {where_it_is}"
    )))
}
