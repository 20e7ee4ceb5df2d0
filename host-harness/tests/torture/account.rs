//! Accounts as the answers, or the audit trail, tell of them: what each has after each
//! thing that was done, and what nobody may have been told.

use crate::request::{Act, News, Proof, Request, Whom};
use chat_domain::attempts::FREE_FAILURES;
use chat_domain::time::Timestamp;
use chat_domain::token;
use chat_domain::totp::{TotpKey, code_hash};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a key that was shown is proved: shorter than it can be, so that no clock decides.
const PROVED_WITHIN: Duration = Duration::from_secs(10 * 60);

/// Who an account is. That never changes.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) is_admin: bool,
    pub(crate) verified: Vec<String>,
    /// Opted in to codes by e-mail.
    pub(crate) has_mailed_codes: bool,
}

/// What an account has.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) person: Person,
    pub(crate) factor: Option<Factor>,
    pub(crate) pending: Pending,
    /// By their hashes.
    pub(crate) tokens: BTreeMap<String, Held>,
    /// Log-ins that were done and not answered.
    pub(crate) unseen_tokens: usize,
    /// At least so many failed attempts in a row, and at most.
    pub(crate) failures: (u32, u32),
    /// The hash of the code that it was mailed, and when that was.
    pub(crate) mailed: Option<(String, Timestamp)>,
    /// Hashes of codes by e-mail that were used.
    pub(crate) used_codes: BTreeSet<String>,
    /// How often it was told of what, by subject.
    pub(crate) notices: BTreeMap<&'static str, usize>,
}

#[derive(Clone)]
pub(crate) struct Factor {
    pub(crate) key: TotpKey,
    pub(crate) last_step: Option<u64>,
    pub(crate) backup_codes: BackupCodes,
}

#[derive(Clone)]
pub(crate) enum BackupCodes {
    /// They were made and not answered.
    Unseen,
    /// By their hashes.
    Known(BTreeMap<String, BackupCode>),
}

#[derive(Clone)]
pub(crate) struct BackupCode {
    /// None where only its hash is known.
    pub(crate) plain: Option<String>,
    pub(crate) is_spent: bool,
}

#[derive(Clone)]
pub(crate) enum Pending {
    None,
    /// A key was made and not answered.
    Unseen,
    Key(TotpKey, Timestamp),
}

#[derive(Clone)]
pub(crate) struct Held {
    /// None where only its hash is known.
    pub(crate) plain: Option<String>,
    pub(crate) is_session: bool,
}

pub(crate) const RESET: &str = "Two Factor TOTP Reset Notification";
const KEY_SHOWN: &str = "Two-factor authentication: a key was shown";
const ENROLLED: &str = "Two-factor authentication was enrolled";
const DISABLED: &str = "Two-factor authentication was given up";
const NEW_CODES: &str = "Two-factor authentication: new backup codes";
const CODE_USED: &str = "Two-factor authentication: a backup code was used";
pub(crate) const LOCKED: &str = "Two-factor authentication is locked for a while";

/// The subjects of all notices of these tests.
pub(crate) const SUBJECTS: [&str; 7] = [
    RESET, KEY_SHOWN, ENROLLED, DISABLED, NEW_CODES, CODE_USED, LOCKED,
];

/// What a request that was done did, as the audit trail tells it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) decision: &'static str,
    /// To how many addresses a notice goes.
    pub(crate) told: Option<u32>,
}

impl Account {
    /// An account that has nothing yet.
    pub(crate) fn new(person: Person) -> Self {
        Self {
            person,
            factor: None,
            pending: Pending::None,
            tokens: BTreeMap::new(),
            unseen_tokens: 0,
            failures: (0, 0),
            mailed: None,
            used_codes: BTreeSet::new(),
            notices: BTreeMap::new(),
        }
    }

    pub(crate) fn hold(&mut self, token: String, is_session: bool) {
        let held = Held {
            plain: Some(token.clone()),
            is_session,
        };
        self.tokens.insert(token::hash(&token.into()), held);
    }

    /// A token that its holder knows.
    pub(crate) fn token(&self) -> Option<String> {
        self.tokens.values().find_map(|held| held.plain.clone())
    }

    /// The key that can be proved at `now`.
    pub(crate) fn shown_key(&self, now: Timestamp) -> Option<&TotpKey> {
        match &self.pending {
            Pending::Key(key, shown) if now - *shown < PROVED_WITHIN => Some(key),
            _ => None,
        }
    }

    /// It may be locked.
    pub(crate) fn may_be_locked(&self) -> bool {
        self.failures.1 >= FREE_FAILURES
    }

    /// Whether a request for the other method than TOTP means a code by e-mail.
    pub(crate) fn is_asked_by_mail(&self, by_mail: bool) -> bool {
        self.person.has_mailed_codes && (by_mail || self.factor.is_none())
    }

    fn holds(&self, token: Option<&String>) -> Result<(), String> {
        let hash = token.map(|token| token::hash(&token.as_str().into()));
        match hash.is_some_and(|hash| self.tokens.contains_key(&hash)) {
            true => Ok(()),
            false => Err("by a token that had ended".to_owned()),
        }
    }

    /// Whether the proof is right and was not used.
    pub(crate) fn is_right(&self, proof: &Proof) -> bool {
        self.clone().spend(proof).is_ok()
    }

    fn spend(&mut self, proof: &Proof) -> Result<(), String> {
        let factor = self.factor.as_mut();
        let refuse = |why: &str| Err(why.to_owned());
        match proof {
            Proof::None => Ok(()),
            Proof::Wrong(_) => refuse("by a wrong code"),
            Proof::Step { key, step, .. } => {
                let Some(factor) = factor.filter(|own| own.key.expose() == key.expose()) else {
                    return refuse("by a code of a key that was gone");
                };
                if factor.last_step >= Some(*step) {
                    return refuse("by a code of a step that was spent");
                }
                factor.last_step = Some(*step);
                Ok(())
            }
            Proof::BackupCode(code) => match factor.map(|factor| &mut factor.backup_codes) {
                // Nobody knows these codes but the store.
                None | Some(BackupCodes::Unseen) => refuse("by a backup code that was void"),
                Some(BackupCodes::Known(codes)) => match codes.get_mut(&code_hash(code)) {
                    Some(code) if !code.is_spent => {
                        code.is_spent = true;
                        Ok(())
                    }
                    Some(_) => refuse("by a backup code that was spent"),
                    None => refuse("by a backup code that was void"),
                },
            },
            Proof::Mailed(code) => {
                let hash = code_hash(code);
                if !self.used_codes.insert(hash) {
                    return refuse("by a code by e-mail that was spent");
                }
                self.mailed = None;
                Ok(())
            }
        }
    }

    fn has_factor(&self) -> bool {
        self.factor.is_some()
    }

    /// Who has no second factor at all is excused, where TOTP itself is not what is asked for.
    pub(crate) fn must_prove(&self, act: Act) -> bool {
        match act {
            Act::ConfirmTotp | Act::LogOut | Act::Malformed => false,
            Act::DisableTotp | Act::ReplaceBackupCodes => true,
            Act::Reset(_) | Act::LogIn | Act::BeginEnrolment => {
                self.has_factor() || self.person.has_mailed_codes
            }
        }
    }

    fn tell(&mut self, subject: &'static str) -> u32 {
        *self.notices.entry(subject).or_default() += 1;
        self.person.verified.len().try_into().unwrap()
    }

    /// It is told that guesses have locked it.
    pub(crate) fn tell_of_lock(&mut self) -> u32 {
        self.tell(LOCKED)
    }

    fn lose_factor(&mut self) {
        self.factor = None;
        self.pending = Pending::None;
        self.failures = (0, 0);
    }
}

/// Does to the accounts what `request` asks. What it does must have been granted: the error
/// says why it could not be.
pub(crate) fn perform(accounts: &mut [Account], request: &Request) -> Result<Effect, String> {
    let news = request.news();
    let (act, proof) = (request.act, &request.proof);
    let caller = accounts.get_mut(request.caller).ok_or("by nobody")?;
    // A log-out of what has ended meanwhile is one, too.
    if !matches!(act, Act::LogIn | Act::LogOut) {
        caller.holds(request.token.as_ref())?;
    }
    let must_prove = caller.must_prove(act);
    if must_prove {
        if matches!(proof, Proof::None) {
            return Err("without a proof".to_owned());
        }
        caller.spend(proof)?;
        caller.failures = (0, 0);
    }
    let done = |told| {
        Ok(Effect {
            decision: "done",
            told,
        })
    };
    match act {
        Act::Malformed => Err("though it is not understood".to_owned()),
        Act::Reset(whom) => reset(accounts, request.caller, whom, proof),
        Act::LogIn => {
            match news.token {
                Some(token) => caller.hold(token, true),
                None => caller.unseen_tokens += 1,
            }
            let is_told = must_prove && matches!(proof, Proof::BackupCode(_));
            done(is_told.then(|| caller.tell(CODE_USED)))
        }
        Act::LogOut => {
            let token = request.token.clone().unwrap_or_default();
            caller.tokens.remove(&token::hash(&token.into()));
            done(None)
        }
        Act::BeginEnrolment => {
            if caller.has_factor() {
                return Err("beside a factor".to_owned());
            }
            caller.pending = match news.key {
                Some(key) => Pending::Key(key, request.begun),
                None => Pending::Unseen,
            };
            done(Some(caller.tell(KEY_SHOWN)))
        }
        Act::ConfirmTotp => confirm(caller, request, news).and_then(|told| done(Some(told))),
        Act::DisableTotp => {
            caller.lose_factor();
            done(Some(caller.tell(DISABLED)))
        }
        Act::ReplaceBackupCodes => {
            let factor = caller.factor.as_mut().ok_or("without a factor")?;
            factor.backup_codes = BackupCodes::of(news.backup_codes);
            done(Some(caller.tell(NEW_CODES)))
        }
    }
}

fn reset(
    accounts: &mut [Account],
    caller: usize,
    whom: Whom,
    proof: &Proof,
) -> Result<Effect, String> {
    let by = accounts.get(caller).ok_or("by nobody")?;
    let target = match whom {
        Whom::Own => caller,
        Whom::Member(_) if !by.person.is_admin => return Err("by no administrator".to_owned()),
        Whom::Member(member) => member,
        Whom::Nobody => return Err("of nobody".to_owned()),
    };
    let must_prove = by.must_prove(Act::Reset(whom));
    if must_prove && matches!(proof, Proof::BackupCode(_)) && target != caller {
        let caller = accounts.get_mut(caller).ok_or("by nobody")?;
        caller.tell(CODE_USED);
    }
    let target = accounts.get_mut(target).ok_or("of nobody")?;
    let is_enrolled = target.has_factor() || !matches!(target.pending, Pending::None);
    if !is_enrolled {
        return Ok(Effect {
            decision: "nothing-enrolled",
            told: None,
        });
    }
    target.lose_factor();
    target.tokens.clear();
    target.unseen_tokens = 0;
    Ok(Effect {
        decision: "reset",
        told: Some(target.tell(RESET)),
    })
}

fn confirm(caller: &mut Account, request: &Request, news: News) -> Result<u32, String> {
    let (Pending::Key(shown, _), Proof::Step { key, step, .. }) = (&caller.pending, &request.proof)
    else {
        return Err("by no code of the key that was shown".to_owned());
    };
    if shown.expose() != key.expose() {
        return Err("by a code of another key than was shown".to_owned());
    }
    caller.factor = Some(Factor {
        key: key.clone(),
        last_step: Some(*step),
        backup_codes: BackupCodes::of(news.backup_codes),
    });
    caller.pending = Pending::None;
    let session = request.token.clone().unwrap_or_default();
    let session = token::hash(&session.into());
    let stays = |hash: &String, held: &mut Held| !held.is_session || *hash == session;
    caller.tokens.retain(stays);
    caller.unseen_tokens = 0;
    Ok(caller.tell(ENROLLED))
}

impl BackupCodes {
    /// Those that were answered, none of them used.
    pub(crate) fn of(codes: Option<Vec<String>>) -> Self {
        let Some(codes) = codes else {
            return Self::Unseen;
        };
        let codes = codes.into_iter().map(|plain| {
            let code = BackupCode {
                plain: Some(plain.clone()),
                is_spent: false,
            };
            (code_hash(&plain), code)
        });
        Self::Known(codes.collect())
    }

    /// Those that their holder knows, used or not.
    pub(crate) fn plain(&self, is_spent: bool) -> Vec<String> {
        match self {
            Self::Unseen => Vec::new(),
            Self::Known(codes) => {
                let codes = codes.values().filter(|code| code.is_spent == is_spent);
                codes.filter_map(|code| code.plain.clone()).collect()
            }
        }
    }
}
