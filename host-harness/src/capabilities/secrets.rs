//! `secrets`: the caller's second factor, and the one effect.
//!
//! The store checks permission, target and proof again in the transaction. What
//! only the call can know is checked here: that the attempt was begun in it,
//! that the proof is for the code that the request carried, and that nothing
//! was committed before.

use super::Call;
use crate::contract::chat::reset_totp::secrets::{
    AttemptRefusal, EmailCode, Host, Method, Proof, Receipt, Refusal, Target, TotpFactor,
};
use crate::store;
use crate::totp::backup_code_hash;
use secrecy::ExposeSecret;

impl Host for Call {
    async fn methods(&mut self) -> wasmtime::Result<Vec<Method>> {
        let has_totp = self
            .store
            .has_totp(&self.workspace, &self.caller.id)
            .await?;
        Ok(has_totp.then_some(Method::Totp).into_iter().collect())
    }

    async fn begin_totp_attempt(&mut self) -> wasmtime::Result<Result<TotpFactor, AttemptRefusal>> {
        let attempt = self
            .store
            .begin_totp_attempt(&self.workspace, &self.caller.id, self.now)
            .await?;
        Ok(match attempt {
            store::Attempt::Begun(factor) => {
                self.observed.attempt_begun = true;
                Ok(TotpFactor {
                    key: factor.key.expose().to_vec(),
                    backup_code_hashes: factor.backup_code_hashes,
                })
            }
            store::Attempt::Locked => {
                self.observed.locked = true;
                Err(AttemptRefusal::Locked)
            }
            store::Attempt::Unavailable => Err(AttemptRefusal::Unavailable),
        })
    }

    async fn send_email_code(&mut self) -> wasmtime::Result<Result<EmailCode, AttemptRefusal>> {
        Ok(Err(AttemptRefusal::Unavailable))
    }

    async fn check_email_code(
        &mut self,
        _code: String,
    ) -> wasmtime::Result<Result<bool, AttemptRefusal>> {
        Ok(Err(AttemptRefusal::Unavailable))
    }

    async fn check_password(
        &mut self,
        _digest: String,
    ) -> wasmtime::Result<Result<bool, AttemptRefusal>> {
        Ok(Err(AttemptRefusal::Unavailable))
    }

    async fn reset(
        &mut self,
        proof: Proof,
        target: Target,
    ) -> wasmtime::Result<Result<Receipt, Refusal>> {
        if self.observed.committed.is_some() {
            return Ok(Err(Refusal::ProofRefused));
        }
        let target = match target {
            Target::Caller => {
                self.observed.target = Some(self.caller.id.clone());
                store::Target::Caller
            }
            Target::User(id) => {
                self.observed.target = Some(id.clone());
                store::Target::User(id)
            }
        };
        let Some(proof) = self.proof(proof) else {
            return Ok(Err(Refusal::ProofRefused));
        };
        let outcome = self
            .store
            .reset(store::Reset {
                workspace: self.workspace.clone(),
                caller: self.caller.clone(),
                proof,
                target,
                now: self.now,
                request_id: self.request_id.clone(),
            })
            .await?;
        Ok(match outcome {
            Ok(receipt) => {
                self.observed.committed = Some(receipt);
                Ok(match receipt {
                    store::Receipt::Removed => Receipt::Removed,
                    store::Receipt::NothingEnrolled => Receipt::NothingEnrolled,
                })
            }
            Err(store::Refusal::NotPermitted) => Err(Refusal::NotPermitted),
            Err(store::Refusal::UnknownTarget) => Err(Refusal::UnknownTarget),
            Err(store::Refusal::WrongProof) => Err(Refusal::ProofRefused),
            Err(store::Refusal::Replayed) => {
                self.observed.replayed = true;
                Err(Refusal::ProofRefused)
            }
        })
    }
}

impl Call {
    /// The proof that the plugin claims, with the code that the request carried;
    /// none where this call cannot have given such a proof.
    fn proof(&self, claimed: Proof) -> Option<store::Proof> {
        let code = || self.code.clone().filter(|_| self.observed.attempt_begun);
        match claimed {
            Proof::TotpStep(step) => Some(store::Proof::TotpStep {
                step,
                code: code()?,
            }),
            Proof::BackupCode(hash) => code()
                .filter(|code| backup_code_hash(code.expose_secret()) == hash)
                .map(store::Proof::BackupCode),
            Proof::None => Some(store::Proof::None),
            Proof::EmailCode | Proof::Password | Proof::Other(_) => None,
        }
    }
}
