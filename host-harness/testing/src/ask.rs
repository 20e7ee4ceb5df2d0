//! The words in which the tests ask a store, each an order or a question of the domain.

use crate::now;
use chat_domain::account::{Account, Caller, Methods, TotpFactor};
use chat_domain::attempts::{
    Attempt, BeginEmailAttempt, BeginPasswordAttempt, BeginTotpAttempt, Needed,
};
use chat_domain::audit::{Action, AuditRecord, Decision, Source};
use chat_domain::dossier::{Question, Subject};
use chat_domain::mailed_code::{EmailCode, SendEmailCode};
use chat_domain::member::{Denial, MemberChange};
use chat_domain::order::Record;
use chat_domain::outbox::{Among, Claim, Expired, GiveUp, NextTry, NoteNotSent, NoteSent};
use chat_domain::reset::{Receipt, Refusal, Reset};
use chat_domain::standing::{LogOut, Standing, authenticate};
use chat_domain::time::Timestamp;
use chat_store::{Result, Store};
use secrecy::SecretString;

type Answer<T, R> = Result<std::result::Result<T, R>>;

/// What the tests ask a store.
#[expect(
    async_fn_in_trait,
    missing_docs,
    reason = "the tests call it on one type, and the orders say what each means"
)]
pub trait Ask {
    async fn authenticate(
        &self,
        workspace: &str,
        user: &str,
        hash: &str,
        now: Timestamp,
    ) -> Result<Option<Caller>>;
    async fn account(&self, workspace: &str, user: &str, now: Timestamp)
    -> Result<Option<Account>>;
    async fn has_permission(&self, workspace: &str, user: &str, permission: &str) -> Result<bool>;
    async fn methods(&self, workspace: &str, user: &str) -> Result<Methods>;
    async fn begin_totp_attempt(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Attempt<TotpFactor>>;
    async fn begin_password_attempt(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Attempt<SecretString>>;
    async fn begin_email_attempt(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Attempt<Option<String>>>;
    async fn send_email_code(
        &self,
        workspace: &str,
        user: &str,
        code: SecretString,
        now: Timestamp,
    ) -> Result<EmailCode>;
    async fn change(&self, change: MemberChange) -> Answer<(), Denial>;
    async fn reset(&self, reset: Reset) -> Answer<Receipt, Refusal>;
    async fn record(&self, record: AuditRecord) -> Result<()>;
    async fn log_out(&self, workspace: &str, user: &str, hash: &str) -> Result<()>;
    async fn claim(&self, now: Timestamp) -> Result<Option<Claim>>;
    async fn sent(&self, claim: &Claim) -> Result<()>;
    async fn not_sent(
        &self,
        claim: &Claim,
        problem: &str,
        next: NextTry,
        now: Timestamp,
    ) -> Result<bool>;
    async fn give_up_expired(&self, now: Timestamp) -> Result<Vec<Expired>>;
}

/// Where the tests' requests come from.
pub fn source() -> Source {
    Source::new([192, 0, 2, 1].into(), Some(b"test"))
}

/// The record of what `user` has done, as a reset of the factor.
pub fn done_by(workspace: &str, user: &str) -> AuditRecord {
    AuditRecord {
        at: now(),
        workspace: workspace.to_owned(),
        request_id: "request-1".to_owned(),
        action: Action::ResetTotp,
        caller: user.to_owned(),
        target: Some(user.to_owned()),
        decision: Decision::Done,
        reason: None,
        source: Some(source()),
        proof: None,
        told: None,
        calls: 1,
    }
}

impl Ask for dyn Store {
    async fn authenticate(
        &self,
        workspace: &str,
        user: &str,
        hash: &str,
        now: Timestamp,
    ) -> Result<Option<Caller>> {
        let question = Standing::question(workspace, user, hash);
        Ok(authenticate(&self.read(&question).await?, now))
    }

    async fn account(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Option<Account>> {
        let question = Question::of(workspace)
            .with_settings()
            .about(Subject::id(user).as_seen());
        let mut dossier = self.read(&question).await?;
        let found = dossier.accounts.pop().flatten();
        let settings = dossier.settings.unwrap_or_default();
        Ok(found.map(|profile| Account::of(profile, &settings, now)))
    }

    async fn has_permission(&self, workspace: &str, user: &str, permission: &str) -> Result<bool> {
        let question = Question::of(workspace).about(Subject::id(user).with_roles());
        let dossier = self.read(&question).await?;
        Ok(dossier
            .caller()
            .is_some_and(|profile| profile.may(permission)))
    }

    async fn methods(&self, workspace: &str, user: &str) -> Result<Methods> {
        let question = Question::of(workspace)
            .with_settings()
            .about(Subject::id(user));
        let dossier = self.read(&question).await?;
        Ok(match (dossier.caller(), &dossier.settings) {
            (Some(profile), Some(settings)) => Methods::of(profile, settings),
            _ => Methods::default(),
        })
    }

    async fn begin_totp_attempt(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Attempt<TotpFactor>> {
        let (workspace, user) = (workspace.to_owned(), user.to_owned());
        self.decide(BeginTotpAttempt {
            workspace,
            user,
            needed: Needed::Everything,
            now,
        })
        .await
    }

    async fn begin_password_attempt(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Attempt<SecretString>> {
        let (workspace, user) = (workspace.to_owned(), user.to_owned());
        self.decide(BeginPasswordAttempt {
            workspace,
            user,
            now,
        })
        .await
    }

    async fn begin_email_attempt(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Attempt<Option<String>>> {
        let (workspace, user) = (workspace.to_owned(), user.to_owned());
        self.decide(BeginEmailAttempt {
            workspace,
            user,
            now,
        })
        .await
    }

    async fn send_email_code(
        &self,
        workspace: &str,
        user: &str,
        code: SecretString,
        now: Timestamp,
    ) -> Result<EmailCode> {
        let (workspace, user) = (workspace.to_owned(), user.to_owned());
        self.decide(SendEmailCode {
            workspace,
            user,
            code,
            now,
        })
        .await
    }

    async fn change(&self, change: MemberChange) -> Answer<(), Denial> {
        self.decide(change).await
    }

    async fn reset(&self, reset: Reset) -> Answer<Receipt, Refusal> {
        self.decide(reset).await
    }

    async fn record(&self, record: AuditRecord) -> Result<()> {
        self.decide(Record(record)).await
    }

    async fn log_out(&self, workspace: &str, user: &str, hash: &str) -> Result<()> {
        let caller = Caller {
            id: user.to_owned(),
            token_hash: hash.to_owned(),
            bypass_token: false,
        };
        let record = AuditRecord {
            action: Action::LogOut,
            ..done_by(workspace, user)
        };
        self.decide(LogOut { caller, record }).await
    }

    async fn claim(&self, now: Timestamp) -> Result<Option<Claim>> {
        self.claim_mail(now, Among::AllBut(&[])).await
    }

    async fn sent(&self, claim: &Claim) -> Result<()> {
        let workspace = claim.workspace.clone();
        let id = claim.id;
        self.decide(NoteSent { workspace, id }).await
    }

    async fn not_sent(
        &self,
        claim: &Claim,
        problem: &str,
        next: NextTry,
        now: Timestamp,
    ) -> Result<bool> {
        self.decide(NoteNotSent {
            workspace: claim.workspace.clone(),
            id: claim.id,
            tries: claim.tries,
            problem: problem.to_owned(),
            doubtful: false,
            next,
            now,
        })
        .await
    }

    async fn give_up_expired(&self, now: Timestamp) -> Result<Vec<Expired>> {
        let expired = self.expired_mails(now).await?;
        for expired in &expired {
            let expired = expired.clone();
            self.decide(GiveUp { expired, now }).await?;
        }
        Ok(expired)
    }
}
