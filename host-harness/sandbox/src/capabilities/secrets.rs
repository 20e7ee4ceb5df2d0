//! `secrets`: the caller's second factor, and the one effect.
//!
//! The store checks permission, target and proof again in the transaction. What
//! only the call can know is checked here: that the attempt was begun in it,
//! that the proof is for the code that the request carried, and that nothing
//! was committed before.

use super::gate::caught;
use super::{Call, ObservedAttempt};
use crate::comparisons::{Busy, SECOND_FACTORS};
use crate::contract::chat::reset_totp::secrets::{
    AttemptRefusal, EmailCode, Host, Method, Proof, Receipt, Refusal, Target, TotpFactor, TotpKey,
};
use crate::host_call::HostCall;
use chat_domain::attempts::{
    Attempt, BeginEmailAttempt, BeginPasswordAttempt, BeginTotpAttempt, Needed,
};
use chat_domain::mailed_code::{self, SendEmailCode};
use chat_domain::order::Order;
use chat_domain::password::is_digest;
use chat_domain::proof::{Compared, Tried};
use chat_domain::totp::{code_hash, email_code, entered, is_six_digits};
use chat_domain::{account, proof, reset};
use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;

impl Host for Call {
    fn methods(&mut self) -> wasmtime::Result<Vec<Method>> {
        self.answer(HostCall::Methods, &(), |call| Ok(call.callers_methods()))
    }

    async fn begin_totp_attempt(&mut self) -> wasmtime::Result<Attempted<TotpFactor>> {
        let gate = self.enter(HostCall::BeginTotpAttempt, &())?;
        let factor = gate.run(self.hand_out(Needed::Everything, factor)).await;
        self.leave(factor)
    }

    async fn begin_totp_code_attempt(&mut self) -> wasmtime::Result<Attempted<TotpKey>> {
        let gate = self.enter(HostCall::BeginTotpCodeAttempt, &())?;
        let key = gate.run(self.hand_out(Needed::Key, key)).await;
        self.leave(key)
    }

    async fn begin_backup_code_attempt(&mut self) -> wasmtime::Result<Attempted<Vec<u8>>> {
        let gate = self.enter(HostCall::BeginBackupCodeAttempt, &())?;
        let hashes = gate
            .run(self.hand_out(Needed::Everything, backup_code_hashes))
            .await;
        self.leave(hashes)
    }

    async fn send_email_code(&mut self) -> wasmtime::Result<Attempted<EmailCode>> {
        let gate = self.enter(HostCall::SendEmailCode, &())?;
        let code = gate.run(self.mail_code()).await;
        self.leave(code)
    }

    async fn check_email_code(&mut self, code: String) -> wasmtime::Result<Attempted<bool>> {
        let gate = self.enter(HostCall::CheckEmailCode, &code)?;
        let right = gate.run(self.compare_email_code(code)).await;
        self.leave(right)
    }

    async fn check_password(&mut self, digest: String) -> wasmtime::Result<Attempted<bool>> {
        let gate = self.enter(HostCall::CheckPassword, &digest)?;
        let right = gate.run(self.compare_password(digest)).await;
        self.leave(right)
    }

    async fn reset(
        &mut self,
        proof: Proof,
        target: Target,
    ) -> wasmtime::Result<Result<Receipt, Refusal>> {
        let order = (proof, target);
        let gate = self.enter(HostCall::Reset, &order)?;
        let outcome = gate.run(self.commit(order.0, order.1)).await;
        self.leave(outcome)
    }
}

/// What an attempt hands out, or why there was none.
type Attempted<T> = Result<T, AttemptRefusal>;

impl Call {
    fn callers_methods(&self) -> Vec<Method> {
        let method = |method| match method {
            account::Method::Totp => Method::Totp,
            account::Method::Email => Method::Email,
            account::Method::Password => Method::Password,
        };
        self.standing.methods.preferred().map(method).collect()
    }

    /// Counts an attempt, and hands out a part of what codes are checked against.
    async fn hand_out<T>(
        &mut self,
        needed: Needed,
        part: fn(account::TotpFactor) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<Attempted<T>> {
        let order = BeginTotpAttempt {
            workspace: self.workspace.clone(),
            user: self.standing.caller.id.clone(),
            needed,
            now: self.now,
        };
        let tried = self.code.clone().map(Tried::Totp);
        let factor = match self.attempt(order, tried).await? {
            Ok(factor) => factor,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let spent_code = self.carries_spent_code(&factor);
        if spent_code {
            self.observed.attempt = Some(ObservedAttempt::Begun { spent_code });
        }
        Ok(Ok(part(factor)?))
    }

    async fn mail_code(&mut self) -> wasmtime::Result<Attempted<EmailCode>> {
        let sent = self.store.decide(SendEmailCode {
            workspace: self.workspace.clone(),
            user: self.standing.caller.id.clone(),
            code: email_code(&mut rand::rng()),
            now: self.now,
        });
        let sent = sent.await?;
        let (sent_now, expires) = match sent {
            mailed_code::EmailCode::Sent { expires } => (true, expires),
            mailed_code::EmailCode::Live { expires } => (false, expires),
            mailed_code::EmailCode::Locked(lock) => {
                return Ok(self.begun(Attempt::Locked(lock)));
            }
            mailed_code::EmailCode::Unavailable => return Ok(self.begun(Attempt::Unavailable)),
        };
        Ok(Ok(EmailCode {
            sent_now,
            expires: expires.seconds(),
            recipient: self.standing.username.clone(),
        }))
    }

    /// What a host is too busy to compare is not counted in the end, and what has no code's form
    /// is no guess.
    async fn compare_email_code(&mut self, code: String) -> wasmtime::Result<Attempted<bool>> {
        let code = entered(&code.into());
        self.proved_email_code = None;
        if !is_six_digits(&code) {
            return Ok(Ok(false));
        }
        let place = SECOND_FACTORS.place_for_code(&self.workspace, self.standing.methods)?;
        let order = BeginEmailAttempt {
            workspace: self.workspace.clone(),
            user: self.standing.caller.id.clone(),
            now: self.now,
        };
        let tried = Some(Tried::Email(Compared::Not));
        let hash = match self.attempt(order, tried).await? {
            Ok(hash) => hash,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let hash = hash.filter(|_| self.carries(&code));
        let compared = SECOND_FACTORS.compare_code(&self.workspace, place, code, hash);
        let compared = compared.await;
        self.observed.tried = Some(Tried::Email(compared.clone()));
        self.proved_email_code = right(compared)?;
        Ok(Ok(self.proved_email_code.is_some()))
    }

    /// What a host is too busy to compare is not counted in the end, and what has no digest's
    /// form is no guess.
    async fn compare_password(&mut self, digest: String) -> wasmtime::Result<Attempted<bool>> {
        let digest = entered(&digest.into());
        self.proved_password = None;
        if !is_digest(digest.expose_secret()) {
            return Ok(Ok(false));
        }
        let place = SECOND_FACTORS.place(&self.workspace)?;
        let order = BeginPasswordAttempt {
            workspace: self.workspace.clone(),
            user: self.standing.caller.id.clone(),
            now: self.now,
        };
        let tried = Some(Tried::Password(Compared::Not));
        let hash = match self.attempt(order, tried).await? {
            Ok(hash) => hash,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let compared = match self.carries(&digest) {
            true => place.matches(digest, hash).await,
            false => Compared::Wrong,
        };
        self.observed.tried = Some(Tried::Password(compared.clone()));
        self.proved_password = right(compared)?;
        Ok(Ok(self.proved_password.is_some()))
    }

    async fn commit(
        &mut self,
        proof: Proof,
        target: Target,
    ) -> wasmtime::Result<Result<Receipt, Refusal>> {
        let proof = self.proof(proof).filter(|_| !self.observed.committed());
        let Some(proof) = proof else {
            return Ok(Err(Refusal::ProofRefused));
        };
        let target = match target {
            Target::Caller => reset::Target::Caller,
            Target::User(id) => reset::Target::User(id),
        };
        self.begin_reset(proof, target);
        self.finish_reset().await?;
        Ok(match self.observed.reset {
            Some(Ok(reset::Receipt::Removed)) => Ok(Receipt::Removed),
            Some(Ok(reset::Receipt::NothingEnrolled)) => Ok(Receipt::NothingEnrolled),
            Some(Err(
                reset::Refusal::NotAuthenticated
                | reset::Refusal::NotPermitted
                | reset::Refusal::NotEnabled
                | reset::Refusal::Federated,
            )) => Err(Refusal::NotPermitted),
            Some(Err(reset::Refusal::UnknownTarget)) => Err(Refusal::UnknownTarget),
            Some(Err(reset::Refusal::Replayed | reset::Refusal::WrongProof)) | None => {
                Err(Refusal::ProofRefused)
            }
        })
    }

    /// Begins an attempt, which has tried this until more is known. The call keeps the work: what
    /// the store has counted is noted, also when the plugin is given up meanwhile.
    async fn attempt<O, F>(
        &mut self,
        order: O,
        tried: Option<Tried>,
    ) -> wasmtime::Result<Attempted<F>>
    where
        O: Order<Answer = Attempt<F>> + Send + 'static,
        F: Send + 'static,
    {
        let store = self.store.clone();
        let (sender, mut answer) = oneshot::channel();
        let work = caught(async move {
            let attempt = store.decide(order).await?;
            let has_begun = matches!(attempt, Attempt::Begun(_));
            let _ = sender.send(attempt);
            Ok(has_begun)
        });
        self.attempt = Some((tried, Box::pin(work)));
        self.finish_attempt().await?;
        Ok(self.begun(answer.try_recv()?))
    }

    /// Waits for the attempt that was begun, if any, and notes what it has tried, where it was
    /// counted.
    ///
    /// # Errors
    ///
    /// When the store failed or panicked; nothing was counted then, or nobody knows and the count
    /// stands.
    pub(crate) async fn finish_attempt(&mut self) -> wasmtime::Result<()> {
        let Some((tried, work)) = &mut self.attempt else {
            return Ok(());
        };
        let ended = work.await;
        let tried = tried.take();
        self.attempt = None;
        if ended? {
            self.observed.tried = tried;
        }
        Ok(())
    }

    /// Notes how an attempt began, and says it to the plugin.
    fn begun<F>(&mut self, attempt: Attempt<F>) -> Result<F, AttemptRefusal> {
        match attempt {
            Attempt::Begun(factor) => {
                // A code that was spent stays so, whatever is tried next.
                let spent = Some(ObservedAttempt::Begun { spent_code: true });
                if self.observed.attempt != spent {
                    self.observed.attempt = Some(ObservedAttempt::Begun { spent_code: false });
                }
                Ok(factor)
            }
            Attempt::Locked(lock) => {
                self.observed.attempt = Some(ObservedAttempt::Locked(lock));
                Err(AttemptRefusal::Locked)
            }
            Attempt::Unavailable => Err(AttemptRefusal::Unavailable),
        }
    }

    /// Whether this is the code that the request carried.
    fn carries(&self, code: &SecretString) -> bool {
        let carried = self.code.as_ref().map(ExposeSecret::expose_secret);
        carried == Some(code.expose_secret())
    }

    /// The call keeps the work: what the store has begun, it ends, also when the
    /// plugin is given up meanwhile.
    fn begin_reset(&mut self, proof: proof::Proof, target: reset::Target) {
        let order = reset::Reset {
            workspace: self.workspace.clone(),
            caller: self.standing.caller.clone(),
            proof,
            target: target.clone(),
            now: self.now,
            request_id: self.request_id.clone(),
            source: self.source.clone(),
        };
        let target = match target {
            reset::Target::Caller => self.standing.caller.id.clone(),
            reset::Target::User(id) => id,
        };
        let store = self.store.clone();
        let work = caught(async move { Ok(store.decide(order).await?) });
        self.reset = Some((target, Box::pin(work)));
    }

    /// Waits for the reset that was begun, if any, and notes how it ended.
    ///
    /// # Errors
    ///
    /// When the store failed or panicked; the reset did not happen then.
    pub(crate) async fn finish_reset(&mut self) -> wasmtime::Result<()> {
        let Some((target, work)) = &mut self.reset else {
            return Ok(());
        };
        let ended = work.await;
        let target = std::mem::take(target);
        self.reset = None;
        let outcome = ended?;
        self.observed.reset = Some(outcome);
        if matches!(
            outcome,
            Ok(_) | Err(reset::Refusal::Replayed | reset::Refusal::WrongProof)
        ) {
            self.observed.target = Some(target);
        }
        Ok(())
    }

    /// Whether the request's code was right for a step that is in the window, or is a backup
    /// code, and is spent: the plugin refuses it like a wrong one, the audit trail tells.
    fn carries_spent_code(&self, factor: &account::TotpFactor) -> bool {
        let window = self.standing.settings.totp_window;
        let code = self.code.as_ref();
        code.is_some_and(|code| proof::is_spent(factor, code, self.now, window))
    }

    /// The proof that the plugin claims, with the code that the request carried;
    /// none where this call cannot have given such a proof.
    fn proof(&self, claimed: Proof) -> Option<proof::Proof> {
        let begun = matches!(self.observed.attempt, Some(ObservedAttempt::Begun { .. }));
        let code = || self.code.clone().filter(|_| begun);
        match claimed {
            Proof::TotpStep(step) => Some(proof::Proof::TotpStep {
                step,
                code: code()?,
            }),
            Proof::BackupCode(hash) => code()
                .filter(|code| code_hash(code.expose_secret()) == hash)
                .map(proof::Proof::BackupCode),
            Proof::None => Some(proof::Proof::None),
            Proof::Password => self.proved_password.clone().map(proof::Proof::Password),
            Proof::EmailCode => {
                let proved = self.proved_email_code.clone().filter(|_| begun);
                proved.map(proof::Proof::EmailCode)
            }
            Proof::Other(_) => None,
        }
    }
}

/// The hash of what is right.
fn right(compared: Compared) -> wasmtime::Result<Option<SecretString>> {
    match compared {
        Compared::Right(hash) => Ok(Some(hash)),
        Compared::Wrong => Ok(None),
        Compared::Not => Err(Busy.into()),
    }
}

fn factor(factor: account::TotpFactor) -> wasmtime::Result<TotpFactor> {
    Ok(TotpFactor {
        key: factor.key.expose().to_vec(),
        last_step: factor.last_step,
        backup_code_hashes: factor.backup_code_hashes,
    })
}

fn key(factor: account::TotpFactor) -> wasmtime::Result<TotpKey> {
    Ok(TotpKey {
        key: factor.key.expose().to_vec(),
        last_step: factor.last_step,
    })
}

/// A hash that is no SHA-256 is no code's.
fn backup_code_hashes(factor: account::TotpFactor) -> wasmtime::Result<Vec<u8>> {
    let hashes = factor.backup_code_hashes.iter();
    let hashes = hashes.filter_map(|hash| HEXLOWER.decode(hash.as_bytes()).ok());
    let hashes: Vec<_> = hashes.filter(|hash| hash.len() == SHA_256_BYTES).collect();
    Ok(hashes.concat())
}

/// Bytes of a SHA-256.
const SHA_256_BYTES: usize = 32;
