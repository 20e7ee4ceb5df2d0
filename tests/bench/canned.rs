//! What the host lends in this benchmark, from memory: to the sandboxed plugin as
//! a store, to the native function as its host. Both get the same answers.

use async_trait::async_trait;
use chat_domain::account::{Caller, Methods, Profile, Selector, Token, TotpFactor, User};
use chat_domain::attempts::{Attempt, BeginTotpAttempt, Needed};
use chat_domain::audit::{RecordFilter, Source, StoredRecord};
use chat_domain::audit_log::Page;
use chat_domain::clock_fault::Horizon;
use chat_domain::directory::{AccountFilter, AccountPage};
use chat_domain::dossier::{Dossier, Question, Subject};
use chat_domain::health::Health;
use chat_domain::operator::{Role, WorkspaceSummary};
use chat_domain::order::Order;
use chat_domain::outbox::{Among, Claim, Expired, OutboxCount, StoredMail};
use chat_domain::proof::Proof;
use chat_domain::reset::{Reset, Target};
use chat_domain::settings::Settings;
use chat_domain::standing::Standing;
use chat_domain::time::Timestamp;
use chat_domain::totp::TotpKey;
use chat_store::seal::{Position, Renewed, Sealing};
use chat_store::{Decide, Result, Store, StoreError};
use reset_totp::contract::chat::reset_totp::{secrets, users};
use reset_totp::decision::{EDIT_OTHER_USER_TOTP, Host};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

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

/// The moment [`NOW`].
fn now() -> Timestamp {
    Timestamp::from_millis(0) + Duration::from_secs(NOW)
}

/// The caller, as the host has authenticated it.
fn caller() -> Caller {
    Caller {
        id: CALLER.to_owned(),
        token_hash: String::new(),
        bypass_token: false,
    }
}

/// Where the call comes from.
pub(crate) fn source() -> Source {
    Source {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        agent: None,
    }
}

/// What is known of the caller when the request is accepted.
pub(crate) fn standing() -> Standing {
    Standing {
        caller: caller(),
        username: USERNAME.to_owned(),
        methods: Methods {
            totp: true,
            ..Methods::default()
        },
        permissions: vec![EDIT_OTHER_USER_TOTP.to_owned()],
        settings: Settings::default(),
    }
}

/// What the store knows: everybody is an administrator with TOTP.
fn dossier(question: &Question) -> Dossier {
    let profile = |subject: &Subject| {
        let Selector::Id(id) = &subject.account else {
            return None;
        };
        Some(Profile {
            user: User {
                id: id.clone(),
                username: USERNAME.to_owned(),
                name: None,
                federated: false,
            },
            permissions: vec![EDIT_OTHER_USER_TOTP.to_owned()],
            factor: Some(TotpFactor {
                key: TotpKey::new(KEY.to_vec()),
                last_step: Some(LAST_STEP),
                backup_code_hashes: match subject.backup_codes {
                    true => backup_code_hashes(),
                    false => Vec::new(),
                },
                spent_code_hashes: Vec::new(),
            }),
            ..Profile::default()
        })
    };
    let accounts = question.accounts.iter();
    Dossier {
        settings: Some(Settings::default()),
        token: Some(Token {
            hash: String::new(),
            expires: None,
            name: None,
            bypass_two_factor: false,
        }),
        accounts: accounts.map(profile).collect(),
        ..Dossier::default()
    }
}

/// The host of the native function: it decides what the store is ordered, as the
/// sandbox's does.
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
        let order = BeginTotpAttempt {
            workspace: "default".to_owned(),
            user: CALLER.to_owned(),
            needed: Needed::Key,
            now: now(),
        };
        match order.decide(&dossier(&order.question())).answer {
            Attempt::Begun(factor) => Ok(secrets::TotpKey {
                key: factor.key.expose().to_vec(),
                last_step: factor.last_step,
            }),
            Attempt::Locked { .. } => Err(secrets::AttemptRefusal::Locked),
            Attempt::Unavailable => Err(secrets::AttemptRefusal::Unavailable),
        }
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
        proof: &secrets::Proof,
        target: &secrets::Target,
    ) -> std::result::Result<secrets::Receipt, secrets::Refusal> {
        let (secrets::Proof::TotpStep(step), secrets::Target::User(id)) = (proof, target) else {
            return Err(secrets::Refusal::NotPermitted);
        };
        let order = Reset {
            workspace: "default".to_owned(),
            caller: caller(),
            proof: Proof::TotpStep {
                step: *step,
                code: CODE.into(),
            },
            target: Target::User(id.clone()),
            now: now(),
            request_id: "request".to_owned(),
            source: source(),
        };
        match order.decide(&dossier(&order.question())).answer {
            Ok(_) => Ok(secrets::Receipt::Removed),
            Err(_) => Err(secrets::Refusal::NotPermitted),
        }
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
    async fn read(&self, question: &Question) -> Result<Dossier> {
        Ok(dossier(question))
    }
    async fn transact(&self, question: Question, mut decide: Decide) -> Result<()> {
        decide(&dossier(&question));
        Ok(())
    }
    async fn workspaces(&self, _: Timestamp) -> Result<Vec<WorkspaceSummary>> {
        absent()
    }
    async fn profiles(&self, _: &str) -> Result<Vec<Profile>> {
        absent()
    }
    async fn accounts(&self, _: &str, _: &AccountFilter) -> Result<AccountPage> {
        absent()
    }
    async fn all_roles(&self, _: &str) -> Result<Vec<Role>> {
        absent()
    }
    async fn mails(&self, _: &str, _: i64, _: u32) -> Result<Vec<StoredMail>> {
        absent()
    }
    async fn next_mail_due(&self, _: Timestamp) -> Result<Option<Timestamp>> {
        absent()
    }
    async fn outbox_count(&self) -> Result<OutboxCount> {
        absent()
    }
    async fn claim_mail(&self, _: Timestamp, _: Among<'_>) -> Result<Option<Claim>> {
        absent()
    }
    async fn expired_mails(&self, _: Timestamp) -> Result<Vec<Expired>> {
        absent()
    }
    async fn records(&self, _: &str, _: &RecordFilter) -> Result<Vec<StoredRecord>> {
        absent()
    }
    async fn log(&self, _: &str, _: i64) -> Result<Option<Page>> {
        absent()
    }
    async fn clock_faults(&self, _: Horizon) -> Result<u32> {
        absent()
    }
    async fn health(&self, _: Timestamp) -> Result<Health> {
        absent()
    }
    async fn probe(&self, _: Timestamp) -> Result<()> {
        absent()
    }
    async fn sealing(&self) -> Result<Option<Sealing>> {
        absent()
    }
    async fn renew(&self, _: Position, _: u32) -> Result<Renewed> {
        absent()
    }
    async fn set_sealing(&self) -> Result<()> {
        absent()
    }
}
