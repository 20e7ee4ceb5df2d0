//! Who makes a request, and what is known of them from its beginning to its end.

use crate::account::{Account, BYPASS_RATE_LIMIT, Caller, Methods, Profile, Selector};
use crate::dossier::{Dossier, Question, Subject};
use crate::order::{Change, Decided, Order, Tokens};
use crate::settings::Settings;
use crate::time::Timestamp;

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

    /// Whether the caller may call as often as they like.
    pub fn is_unlimited(&self) -> bool {
        self.settings.rate_limit_calls == 0 || self.may(BYPASS_RATE_LIMIT)
    }
}

/// The holder of a token that is valid, as they see themselves.
pub fn resume(dossier: Dossier, now: Timestamp) -> Option<Account> {
    authenticate(&dossier, now)?;
    let profile = dossier.accounts.into_iter().next()?;
    profile.map(|profile| Account::of(profile, now))
}

/// What must be known for [`resume`].
pub fn resume_question(workspace: &str, token_hash: &str) -> Question {
    Question::of(workspace)
        .with_token(token_hash)
        .about(Subject::new(Selector::TokenHolder).as_seen())
}

/// Ends the token that a request carries.
#[derive(Clone, Debug)]
pub struct LogOut {
    /// The account's workspace.
    pub workspace: String,
    /// Whose token it is.
    pub caller: Caller,
}

impl Order for LogOut {
    type Answer = ();

    fn question(&self) -> Question {
        Question::of(&self.workspace)
    }

    fn decide(&self, _: &Dossier) -> Decided<()> {
        Decided::unchanged(()).and(Change::EndTokens {
            user: self.caller.id.clone(),
            which: Tokens::Hash(self.caller.token_hash.clone()),
        })
    }
}
