//! What the host lends in this benchmark, from memory: to the sandboxed plugin as
//! a store, to the native function as its host. Both get the same answers.

use async_trait::async_trait;
use host_harness::clock::Timestamp;
use host_harness::settings::{Setting, Settings};
use host_harness::store::directory::{
    Answer, Changed, Operation, Role, RoleChange, Token, UserChange, Workspace,
};
use host_harness::store::outbox::{Claim, Expired, Mail, MailCount, NextTry};
use host_harness::store::{
    Account, Attempt, AuditRecord, Caller, Change, Denial, Directory, EmailCode, Login, Methods,
    NewUser, NewWorkspace, Outbox, Receipt, Refusal, Reset, Result, Selector, Store, StoreError,
    TotpFactor, User,
};
use host_harness::totp::TotpKey;
use reset_totp::contract::chat::reset_totp::{secrets, users};
use reset_totp::decision::{EDIT_OTHER_USER_TOTP, Host};
use secrecy::SecretString;

/// The secret of RFC 6238 appendix B.
const KEY: &[u8] = b"12345678901234567890";

/// A moment of that appendix, in seconds, and its code.
pub(crate) const NOW: u64 = 1_234_567_890;
pub(crate) const CODE: &str = "005924";

/// The administrator who asks, and the member who has lost the phone.
pub(crate) const CALLER: &str = "rbAXPnMktTFbNpwtJ";
pub(crate) const MEMBER: &str = "BsxAKKNK7rgEHNYLm";
const USERNAME: &str = "alice";

/// The time step of a code that was accepted a day ago.
const LAST_STEP: u64 = NOW / 30 - 2880;

/// An administrator has as many backup codes as were given out.
fn backup_code_hashes() -> Vec<String> {
    vec!["k7Pi7VHSJwtQ/0/gnJ4vrHy1BlfbJAMPiU+tWOY0Rbg=".to_owned(); 12]
}

/// The host of the native function.
pub(crate) struct Lent;

impl Host for Lent {
    fn now(&self) -> u64 {
        NOW
    }
    fn find(&self, selector: &users::Selector) -> Option<users::User> {
        let users::Selector::Id(id) = selector else {
            return None;
        };
        Some(users::User {
            id: id.clone(),
            username: USERNAME.to_owned(),
            federated: false,
        })
    }
    fn caller_has(&self, permission: &str) -> bool {
        permission == EDIT_OTHER_USER_TOTP
    }
    fn two_factor_enabled(&self) -> bool {
        true
    }
    fn totp_window(&self) -> u8 {
        1
    }
    fn missing_factor_allowed(&self) -> bool {
        false
    }
    fn bypass_token_allowed(&self) -> bool {
        false
    }
    fn methods(&self) -> Vec<secrets::Method> {
        vec![secrets::Method::Totp]
    }
    fn begin_totp_code_attempt(
        &self,
    ) -> std::result::Result<secrets::TotpKey, secrets::AttemptRefusal> {
        Ok(secrets::TotpKey {
            key: KEY.to_vec(),
            last_step: Some(LAST_STEP),
        })
    }
    fn begin_backup_code_attempt(&self) -> std::result::Result<Vec<u8>, secrets::AttemptRefusal> {
        Err(secrets::AttemptRefusal::Unavailable)
    }
    fn send_email_code(&self) -> std::result::Result<secrets::EmailCode, secrets::AttemptRefusal> {
        Err(secrets::AttemptRefusal::Unavailable)
    }
    fn check_email_code(&self, _: &str) -> std::result::Result<bool, secrets::AttemptRefusal> {
        Err(secrets::AttemptRefusal::Unavailable)
    }
    fn check_password(&self, _: &str) -> std::result::Result<bool, secrets::AttemptRefusal> {
        Err(secrets::AttemptRefusal::Unavailable)
    }
    fn reset(
        &self,
        _: &secrets::Proof,
        _: &secrets::Target,
    ) -> std::result::Result<secrets::Receipt, secrets::Refusal> {
        Ok(secrets::Receipt::Removed)
    }
}

/// The store of the sandboxed plugin.
pub(crate) struct Canned;

/// What no decision of this benchmark asks for.
fn absent<T>() -> Result<T> {
    Err(StoreError("the benchmark has no answer to this".into()))
}

#[async_trait]
impl Store for Canned {
    async fn settings(&self, _: &str) -> Result<Option<Settings>> {
        Ok(Some(Settings::default()))
    }

    async fn find_user(&self, _: &str, selector: Selector) -> Result<Option<User>> {
        let Selector::Id(id) = selector else {
            return Ok(None);
        };
        Ok(Some(User {
            id,
            username: USERNAME.to_owned(),
            federated: false,
        }))
    }

    async fn has_permission(&self, _: &str, _: &str, permission: &str) -> Result<bool> {
        Ok(permission == EDIT_OTHER_USER_TOTP)
    }

    async fn methods(&self, _: &str, _: &str) -> Result<Methods> {
        Ok(Methods {
            totp: true,
            ..Methods::default()
        })
    }

    async fn begin_totp_attempt(
        &self,
        _: &str,
        _: &str,
        _: Timestamp,
    ) -> Result<Attempt<TotpFactor>> {
        Ok(Attempt::Begun(TotpFactor {
            key: TotpKey::new(KEY.to_vec()),
            last_step: Some(LAST_STEP),
            backup_code_hashes: backup_code_hashes(),
        }))
    }

    async fn reset(&self, _: Reset) -> Result<std::result::Result<Receipt, Refusal>> {
        Ok(Ok(Receipt::Removed))
    }

    async fn authenticate(
        &self,
        _: &str,
        _: &str,
        _: &str,
        _: Timestamp,
    ) -> Result<Option<Caller>> {
        absent()
    }
    async fn token_holder(&self, _: &str, _: &str, _: Timestamp) -> Result<Option<String>> {
        absent()
    }
    async fn revoke_token(&self, _: &str, _: &str) -> Result<()> {
        absent()
    }
    async fn find_login(&self, _: &str, _: &str) -> Result<Option<Login>> {
        absent()
    }
    async fn account(&self, _: &str, _: &str, _: Timestamp) -> Result<Option<Account>> {
        absent()
    }
    async fn begin_password_attempt(
        &self,
        _: &str,
        _: &str,
        _: Timestamp,
    ) -> Result<Attempt<SecretString>> {
        absent()
    }
    async fn begin_email_attempt(
        &self,
        _: &str,
        _: &str,
        _: Timestamp,
    ) -> Result<Attempt<Option<String>>> {
        absent()
    }
    async fn send_email_code(
        &self,
        _: &str,
        _: &str,
        _: SecretString,
        _: Timestamp,
    ) -> Result<EmailCode> {
        absent()
    }
    async fn change(&self, _: Change) -> Result<std::result::Result<(), Denial>> {
        absent()
    }
    async fn record(&self, _: AuditRecord) -> Result<()> {
        absent()
    }
}

#[async_trait]
impl Directory for Canned {
    async fn create_workspace(&self, _: NewWorkspace) -> Result<bool> {
        absent()
    }
    async fn workspaces(&self, _: Timestamp) -> Result<Vec<Workspace>> {
        absent()
    }
    async fn users(&self, _: &str, _: Timestamp) -> Result<Answer<Vec<Account>>> {
        absent()
    }
    async fn user(&self, _: &str, _: &str, _: Timestamp) -> Result<Answer<Account>> {
        absent()
    }
    async fn roles(&self, _: &str) -> Result<Answer<Vec<Role>>> {
        absent()
    }
    async fn tokens(&self, _: &str, _: &str, _: Timestamp) -> Result<Answer<Vec<Token>>> {
        absent()
    }
    async fn add_user(&self, _: Operation, _: NewUser) -> Result<Answer<Account>> {
        absent()
    }
    async fn change_user(&self, _: Operation, _: &str, _: UserChange) -> Result<Answer<Changed>> {
        absent()
    }
    async fn change_role(&self, _: Operation, _: &str, _: RoleChange) -> Result<Answer<Role>> {
        absent()
    }
    async fn set_setting(
        &self,
        _: Operation,
        _: &'static Setting,
        _: SecretString,
    ) -> Result<Answer<()>> {
        absent()
    }
    async fn list_mail(&self, _: &str, _: Timestamp) -> Result<Answer<Vec<Mail>>> {
        absent()
    }
    async fn find_mail(&self, _: &str, _: i64, _: Timestamp) -> Result<Answer<Mail>> {
        absent()
    }
    async fn retry_mail(&self, _: Operation, _: i64) -> Result<Answer<()>> {
        absent()
    }
    async fn remove_mail(&self, _: Operation, _: i64) -> Result<Answer<()>> {
        absent()
    }
}

#[async_trait]
impl Outbox for Canned {
    async fn next_mail_due(&self) -> Result<Option<Timestamp>> {
        absent()
    }
    async fn mail_count(&self) -> Result<MailCount> {
        absent()
    }
    async fn claim_mail(&self, _: Timestamp, _: &[String]) -> Result<Option<Claim>> {
        absent()
    }
    async fn mail_sent(&self, _: &Claim) -> Result<()> {
        absent()
    }
    async fn mail_failed(&self, _: &Claim, _: &str, _: NextTry) -> Result<()> {
        absent()
    }
    async fn expire_mail(&self, _: Timestamp) -> Result<Vec<Expired>> {
        absent()
    }
}
