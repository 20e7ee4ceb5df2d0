//! Who asks, and what they enter as a second factor.

use super::Host;
use super::member::password_of;
use super::operator::ADDED;
use crate::acme::key;
use crate::schedule::{Distance, Entered, Held, Odd, PLACES, Who};
use chat_domain::account::{Caller, Profile};
use chat_domain::proof::Proof;
use chat_domain::totp::{TotpKey, code_hash, step_of};

impl Host<'_> {
    /// What is claimed to be proved; `shown` is the key whose codes are entered, where
    /// it is not the factor's.
    pub(super) fn proof(&self, id: &str, entered: Entered, shown: Option<TotpKey>) -> Proof {
        let factor = |id: &str| self.account(id).factor.as_ref().map(|f| f.key.clone());
        let own = || {
            shown
                .clone()
                .or(factor(id))
                .unwrap_or_else(|| key("nobody"))
        };
        let step = |distance: i8| step_of(self.now).saturating_add_signed(distance.into());
        let code = |key: TotpKey, of: u64, said: u64| Proof::TotpStep {
            step: said,
            code: key.code(of).into(),
        };
        let another = if id == "admin" { "alice" } else { "admin" };
        let mailed = |last| Proof::EmailCode(code_hash(self.ledger().mailed_code(id, last)).into());
        let odd = match entered.kind {
            7 => Odd::Spent,
            _ if !entered.is_right() => entered.odd,
            _ if shown.is_some() => Odd::Now,
            kind => self.right(id, kind % 2 == 0),
        };
        match odd {
            Odd::Now => code(own(), step(0), step(0)),
            Odd::Step(Distance(distance)) => code(own(), step(distance), step(distance)),
            Odd::Misplaced(Distance(distance)) => code(own(), step(distance), step(0)),
            Odd::AnothersStep => {
                let key = factor(another).unwrap_or_else(|| key("nobody"));
                code(key, step(0), step(0))
            }
            Odd::ElsewheresStep => {
                let there = self.elsewhere(id).and_then(|there| there.factor.as_ref());
                let key = there.map_or_else(|| key("nobody"), |factor| factor.key.clone());
                code(key, step(0), step(0))
            }
            Odd::Spent => self.ledger().last_accepted(id),
            Odd::Backup(number) => Proof::BackupCode(self.ledger().backup_code(id, number).into()),
            Odd::Mailed => mailed(1),
            Odd::MailedBefore => mailed(2),
            Odd::Password => Proof::Password(password_of(self.account(id))),
            Odd::AnothersPassword => Proof::Password(password_of(self.account(another))),
            Odd::Digits(digits) => Proof::TotpStep {
                step: step(0),
                code: format!("{digits:06}").into(),
            },
            Odd::Nothing => Proof::None,
        }
    }

    /// The account of the same id in another workspace.
    pub(super) fn elsewhere(&self, id: &str) -> Option<&Profile> {
        let elsewhere = PLACES.into_iter().find(|place| *place != self.place)?;
        self.model
            .workspace(elsewhere)
            .accounts
            .get(id)
            .map(|rc| &**rc)
    }

    /// What is right for the account, if anything is.
    pub(super) fn right(&self, id: &str, by_code: bool) -> Odd {
        let (account, settings) = (self.account(id), &self.workspace().settings);
        let unspent = self.ledger().unspent(id);
        match (&account.factor, unspent) {
            _ if by_code && !settings.two_factor_enabled => Odd::Nothing,
            (Some(_), Some(number)) if !by_code && settings.totp_enabled => Odd::Backup(number),
            (Some(_), _) if settings.totp_enabled => Odd::Now,
            _ if account.email_two_factor && settings.email_enabled => Odd::Mailed,
            _ if account.password_hash.is_some() => Odd::Password,
            _ => Odd::Nothing,
        }
    }

    pub(super) fn caller(&self, held: Held) -> Caller {
        let id = self.id(held.who);
        let own = &self.account(&id).tokens;
        let place = usize::from(held.token) % own.len().max(1);
        let another = if id == "admin" { "alice" } else { "admin" };
        let token = match held.token {
            0 => self.account(another).tokens.last(),
            1 => None,
            2 => self.elsewhere(&id).and_then(|there| there.tokens.last()),
            _ => own.get(place),
        };
        let hash = token
            .map_or("nonesuch", |token| token.hash.as_str())
            .to_owned();
        let mut tokens = self.workspace().accounts.values().flat_map(|a| &a.tokens);
        let bypass_token = tokens.any(|token| token.hash == hash && token.bypass_two_factor);
        Caller {
            id,
            token_hash: hash,
            bypass_token,
        }
    }

    pub(super) fn id(&self, who: Who) -> String {
        const ALL: [&str; 5] = ["admin", "alice", "bob", "cora", "nell"];
        let place = usize::from(who.0.checked_sub(7).unwrap_or(self.hero));
        let added = || {
            let mut ids = self.workspace().accounts.keys();
            ids.rfind(|id| id.starts_with(ADDED)).cloned()
        };
        match ALL.get(place) {
            Some(id) => (*id).to_owned(),
            None => added().unwrap_or_else(|| ALL[0].to_owned()),
        }
    }

    pub(super) fn new_key(&self) -> TotpKey {
        key(&format!("key-{}", self.made))
    }

    /// Backup codes that nobody has.
    pub(super) fn codes(&self) -> Vec<String> {
        let letter = |digit: char| char::from(b'a' + digit as u8 - b'0');
        let code = |n| format!("{:07}{n}", self.made).chars().map(letter).collect();
        (1..=3).map(code).collect()
    }
}
