//! What members ask: resets, and what they do to themselves.

use super::{Answer, Host, Rest};
use crate::acme::{here, record_of, session};
use crate::deed::Deed;
use crate::schedule::{Act, Entered, Held, Intervention, Pause, Whom};
use chat_domain::account::Profile;
use chat_domain::attempts::{
    Attempt, BeginEmailAttempt, BeginPasswordAttempt, BeginTotpAttempt, Needed,
};
use chat_domain::audit::AuditRecord;
use chat_domain::mailed_code::{EmailCode, SendEmailCode};
use chat_domain::member::{self, Authority, Code, Denial, MemberChange};
use chat_domain::proof::{Compared, Proof, Tried};
use chat_domain::reset::{RefuseReset, Reset, Target};
use chat_domain::standing::Standing;
use chat_domain::totp::code_hash;
use secrecy::{ExposeSecret as _, SecretString};
use std::time::Duration;

impl Host<'_> {
    /// The order, where its attempt was begun.
    pub(super) fn begin_reset(
        &mut self,
        held: Held,
        whom: Whom,
        entered: Entered,
    ) -> Answer<Option<Reset>> {
        let id = self.id(held.who);
        self.log_in_again(held)?;
        self.send_code_for(&id, entered)?;
        let caller = self.caller(held);
        self.note_read(Standing::question(
            self.place,
            &caller.id,
            &caller.token_hash,
        ));
        let proof = self.proof(&id, entered, None);
        let is_begun = self.begin(&id, &proof)?;
        Ok(is_begun.then(|| Reset {
            workspace: self.place.to_owned(),
            caller,
            proof,
            target: match whom.kind {
                0..=3 => Target::Caller,
                4..=9 => Target::User(self.id(whom.who)),
                10 => Target::User("fred".to_owned()),
                _ => Target::User("nobody".to_owned()),
            },
            now: self.now,
            request_id: "request".to_owned(),
            source: here(),
        }))
    }

    pub(super) fn commit(&mut self, order: &Reset, pause: Pause) -> Answer<()> {
        let answer = self.ask(order, |answer| Deed::Reset(order.clone(), *answer))?;
        match answer {
            Ok(_) => Ok(()),
            Err(_) => self.refuse(order, pause),
        }
    }

    /// Whatever it is refused for.
    pub(super) fn refuse(&mut self, order: &Reset, pause: Pause) -> Answer<()> {
        let refused = RefuseReset {
            record: AuditRecord {
                at: order.now,
                workspace: order.workspace.clone(),
                ..record_of(&order.caller.id)
            },
            tried: match &order.proof {
                Proof::TotpStep { code, .. } | Proof::BackupCode(code) => {
                    Some(Tried::Totp(code.clone()))
                }
                Proof::EmailCode(hash) => Some(Tried::Email(Compared::Right(hash.clone()))),
                Proof::Password(hash) => Some(Tried::Password(Compared::Right(hash.clone()))),
                Proof::None => None,
            },
        };
        let pause = Pause(u8::from(pause.0 == 2));
        self.go_on(Rest::Refuse(refused, order.proof.clone()), pause)
    }

    /// Whether the proof may be tried.
    pub(super) fn begin(&mut self, id: &str, proof: &Proof) -> Answer<bool> {
        let (workspace, user, now) = (self.place.to_owned(), id.to_owned(), self.now);
        let deed = |begun| Deed::Attempt {
            user: id.to_owned(),
            now,
            begun,
        };
        match proof {
            Proof::TotpStep { .. } | Proof::BackupCode(_) => {
                let order = BeginTotpAttempt {
                    workspace,
                    user,
                    needed: match proof {
                        Proof::TotpStep { .. } => Needed::Key,
                        _ => Needed::Everything,
                    },
                    now,
                };
                let attempt = self.ask(&order, |attempt| deed(is_begun(attempt)))?;
                Ok(is_begun(&attempt))
            }
            Proof::EmailCode(_) => {
                let order = BeginEmailAttempt {
                    workspace,
                    user,
                    now,
                };
                let attempt = self.ask(&order, |attempt| deed(is_begun(attempt)))?;
                Ok(is_begun(&attempt))
            }
            Proof::Password(_) => {
                let order = BeginPasswordAttempt {
                    workspace,
                    user,
                    now,
                };
                let attempt = self.ask(&order, |attempt| deed(is_begun(attempt)))?;
                Ok(is_begun(&attempt))
            }
            Proof::None => Ok(true),
        }
    }

    pub(super) fn act(
        &mut self,
        held: Held,
        act: Act,
        entered: Entered,
        pause: Pause,
    ) -> Answer<()> {
        let id = self.id(held.who);
        self.log_in_again(held)?;
        self.send_code_for(&id, entered)?;
        let account = self.account(&id);
        let pending = account.pending_key.as_ref();
        let pending = pending.filter(|_| matches!(act, Act::ConfirmTotp));
        let pending = pending.map(|pending| pending.key.clone());
        let proof = self.proof(&id, entered, pending);
        let caller = self.caller(held);
        self.note_read(Standing::question_with_account(
            self.place,
            &caller.id,
            &caller.token_hash,
        ));
        let change = MemberChange {
            workspace: self.place.to_owned(),
            user: id.clone(),
            authority: match act {
                Act::LogInByPassword => Authority::Password(password_of(self.account(&id))),
                _ => Authority::Token(caller.token_hash),
            },
            act: self.member_act(act),
            code: self.code(&id, proof)?,
            now: self.now,
            request_id: "request".to_owned(),
            source: here(),
        };
        let issued = self.codes();
        self.made += 1;
        self.go_on(Rest::Change(change, issued), pause)
    }

    pub(super) fn member_act(&self, act: Act) -> member::Act {
        let backup_code_hashes = || self.codes().iter().map(|code| code_hash(code)).collect();
        match act {
            Act::LogIn | Act::LogInByPassword => member::Act::LogIn(session(
                &format!("token-{}", self.made),
                self.now + Duration::from_secs(3600),
            )),
            Act::BeginEnrolment => member::Act::BeginEnrolment(self.new_key()),
            Act::ConfirmTotp => member::Act::ConfirmTotp {
                backup_code_hashes: backup_code_hashes(),
            },
            Act::DisableTotp => member::Act::DisableTotp,
            Act::ReplaceBackupCodes => member::Act::ReplaceBackupCodes {
                backup_code_hashes: backup_code_hashes(),
            },
        }
    }

    /// The proof as a code that is entered. A password, or a code by e-mail, is compared, and
    /// counted before.
    pub(super) fn code(&mut self, id: &str, proof: Proof) -> Answer<Option<Code>> {
        let begun = match &proof {
            Proof::Password(_) | Proof::EmailCode(_) => self.begin(id, &proof)?,
            _ => true,
        };
        let settings = &self.workspace().settings;
        let account = self.account(id);
        let lock = account.failures.why_locked(settings, self.now);
        let locked = || lock.map(|lock| Err(Denial::Locked(lock)));
        let compared = |hash: SecretString, right: Option<&str>| {
            let is_right = right == Some(hash.expose_secret());
            is_right.then_some(hash).ok_or(Denial::WrongCode)
        };
        Ok(match proof {
            Proof::TotpStep { code, .. } | Proof::BackupCode(code) => Some(Code::Totp(code)),
            Proof::EmailCode(hash) if begun => {
                let right = account.mailed_code.as_ref().map(|code| code.hash.as_str());
                Some(Code::Email(compared(hash, right)))
            }
            Proof::EmailCode(_) => locked().map(Code::Email),
            Proof::Password(hash) if begun => {
                let right = password_of(account);
                Some(Code::Password(compared(hash, Some(right.expose_secret()))))
            }
            Proof::Password(_) => locked().map(Code::Password),
            Proof::None => None,
        })
    }

    /// Whoever was shut out is let in again, mostly.
    pub(super) fn log_in_again(&mut self, held: Held) -> Answer<()> {
        let id = self.id(held.who);
        if self.account(&id).deactivated && held.token > 2 {
            self.operate(&id, Intervention::Activate)?;
        }
        let mut tokens = self.account(&id).tokens.iter();
        let has_valid = tokens.any(|token| token.is_valid(self.now));
        if !has_valid && held.token > 2 {
            self.operate(&id, Intervention::CreateToken(false))?;
        }
        Ok(())
    }

    /// A host sends the code that it asks for.
    pub(super) fn send_code_for(&mut self, id: &str, entered: Entered) -> Answer<()> {
        match entered.is_right() && self.account(id).email_two_factor {
            true => self.send_code(id),
            false => Ok(()),
        }
    }

    pub(super) fn send_code(&mut self, id: &str) -> Answer<()> {
        let code = format!("{:06}", 100_000 + self.made);
        self.made += 1;
        let order = SendEmailCode {
            workspace: self.place.to_owned(),
            user: id.to_owned(),
            code: code.clone().into(),
            now: self.now,
        };
        let now = self.now;
        let deed = |answer: &EmailCode| Deed::SendCode {
            user: id.to_owned(),
            code: match answer {
                EmailCode::Sent { expires } => Some((code, *expires)),
                _ => None,
            },
            now,
        };
        self.ask(&order, deed).map(drop)
    }
}

pub(super) fn is_begun<F>(attempt: &Attempt<F>) -> bool {
    matches!(attempt, Attempt::Begun(_))
}

pub(super) fn password_of(profile: &Profile) -> SecretString {
    let none = || SecretString::from("none");
    profile.password_hash.clone().unwrap_or_else(none)
}
