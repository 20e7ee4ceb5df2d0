//! Who makes a request, and what is known of them from its beginning to its end.

use crate::account::{Account, BYPASS_RATE_LIMIT, Caller, Methods, Profile, Selector};
use crate::audit::{Action, AuditRecord, Decision, Source};
use crate::dossier::{Dossier, Question, Subject};
use crate::order::{Change, Decided, Order, Tokens};
use crate::reset::excuse;
use crate::settings::Settings;
use crate::time::Timestamp;

/// The error id of a request that cannot be understood.
pub const INVALID_PARAMS: &str = "invalid-params";

/// The account that a valid token proves; none where it is deactivated, or the token
/// has ended or is another's.
pub fn authenticate(dossier: &Dossier, now: Timestamp) -> Option<Caller> {
    let (token, profile) = (dossier.token.as_ref()?, dossier.caller()?);
    let proved = token.is_valid(now) && !profile.deactivated;
    proved.then(|| Caller {
        id: profile.user.id.clone(),
        token_hash: token.hash.clone(),
        bypass_token: token.bypass_two_factor,
    })
}

/// An authenticated caller and what a request of theirs is decided by before anything
/// is changed. It holds no secret.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Who it is.
    pub caller: Caller,
    /// As the account writes it.
    pub username: String,
    /// The second factors that the caller may use.
    pub methods: Methods,
    /// What the caller's roles grant.
    pub permissions: Vec<String>,
    /// The workspace's settings.
    pub settings: Settings,
}

impl Standing {
    /// What must be known of the account with this id and the token with this hash.
    pub fn question(workspace: &str, user: &str, token_hash: &str) -> Question {
        Question::of(workspace)
            .with_settings()
            .with_token(token_hash)
            .about(Subject::id(user).with_roles())
    }

    /// As [`Standing::question`], with what is needed to see the account, too.
    pub fn question_with_account(workspace: &str, user: &str, token_hash: &str) -> Question {
        Question::of(workspace)
            .with_settings()
            .with_token(token_hash)
            .about(Subject::id(user).as_seen())
    }

    /// The caller, where [`authenticate`] knows one.
    pub fn of(dossier: &Dossier, now: Timestamp) -> Option<Self> {
        let caller = authenticate(dossier, now)?;
        let (settings, profile) = (dossier.settings.as_ref()?, dossier.caller()?);
        Some(Self::known(caller, profile, settings))
    }

    fn known(caller: Caller, profile: &Profile, settings: &Settings) -> Self {
        Self {
            caller,
            username: profile.user.username.clone(),
            methods: Methods::of(profile, settings),
            permissions: profile.permissions.clone(),
            settings: settings.clone(),
        }
    }

    /// Whether a role of the caller's grants `permission`.
    pub fn may(&self, permission: &str) -> bool {
        self.permissions.iter().any(|held| held == permission)
    }

    /// Whether the settings excuse the caller, or the token, from a second factor: none is asked
    /// for then.
    pub fn is_excused(&self) -> bool {
        excuse(&self.settings, self.methods, &self.caller).is_ok()
    }

    /// Whether the caller may call once more after `recent_calls` in one window.
    pub fn may_call(&self, recent_calls: u32) -> bool {
        self.is_unlimited() || recent_calls < self.settings.rate_limit_calls
    }

    /// Whether the caller may call as often as they like.
    pub fn is_unlimited(&self) -> bool {
        self.settings.rate_limit_calls == 0 || self.may(BYPASS_RATE_LIMIT)
    }
}

/// The holder of a token that is valid, as they see themselves.
pub fn resume(dossier: Dossier, now: Timestamp) -> Option<Account> {
    authenticate(&dossier, now)?;
    let settings = dossier.settings.unwrap_or_default();
    let profile = dossier.accounts.into_iter().next()?;
    profile.map(|profile| Account::of(profile, &settings, now))
}

/// What must be known for [`resume`].
pub fn resume_question(workspace: &str, token_hash: &str) -> Question {
    Question::of(workspace)
        .with_settings()
        .with_token(token_hash)
        .about(Subject::new(Selector::TokenHolder).as_seen())
}

/// Ends the token that a request carries.
#[derive(Clone, Debug)]
pub struct LogOut {
    /// Whose token it is.
    pub caller: Caller,
    /// What is recorded.
    pub record: AuditRecord,
}

impl Order for LogOut {
    type Answer = ();

    fn question(&self) -> Question {
        Question::of(&self.record.workspace)
    }

    fn decide(&self, _: &Dossier) -> Decided<()> {
        let ended = Change::EndTokens {
            user: self.caller.id.clone(),
            which: Tokens::Hash(self.caller.token_hash.clone()),
        };
        Decided {
            answer: (),
            changes: vec![ended, Change::Record(self.record.clone())],
        }
    }
}

/// A request to reset that cannot be understood: it is recorded where its caller is
/// logged in and may call at all. Who is not logged in leaves no trace.
#[derive(Clone, Debug)]
pub struct RefuseMalformed {
    /// The workspace that the request is for.
    pub workspace: String,
    /// Whose request it is said to be.
    pub user: String,
    /// The hash of the token that it carries.
    pub token_hash: String,
    /// When it was accepted.
    pub now: Timestamp,
    /// Its id.
    pub request_id: String,
    /// Where it came from.
    pub source: Source,
    /// Calls that its client has made in the window that is open now.
    pub recent_calls: u32,
}

/// Who sent a request that cannot be understood.
#[derive(Debug)]
pub struct Malformed {
    /// Who it is; none where nobody is logged in.
    pub standing: Option<Standing>,
    /// The settings that were read on the way.
    pub settings: Option<Settings>,
    /// The refusal was recorded.
    pub recorded: bool,
}

impl Order for RefuseMalformed {
    type Answer = Malformed;

    fn question(&self) -> Question {
        Standing::question(&self.workspace, &self.user, &self.token_hash).looking_first()
    }

    fn decide(&self, dossier: &Dossier) -> Decided<Malformed> {
        let standing = Standing::of(dossier, self.now);
        let record = standing
            .as_ref()
            .filter(|standing| standing.may_call(self.recent_calls))
            .map(|standing| Change::Record(self.record(standing)));
        Decided::unchanged(Malformed {
            standing,
            settings: dossier.settings.clone(),
            recorded: record.is_some(),
        })
        .and(record)
    }
}

impl RefuseMalformed {
    /// The audit record of the refusal.
    pub fn record(&self, standing: &Standing) -> AuditRecord {
        AuditRecord {
            at: self.now,
            workspace: self.workspace.clone(),
            request_id: self.request_id.clone(),
            action: Action::ResetTotp,
            caller: standing.caller.id.clone(),
            target: None,
            decision: Decision::Refused,
            reason: Some(INVALID_PARAMS.to_owned()),
            source: Some(self.source.clone()),
            proof: None,
            told: None,
            calls: 1,
        }
    }
}
