//! What operators do: they create workspaces, change accounts, roles, tokens and
//! settings, by the names that people use.
//!
//! Every change of an existing workspace is recorded in the audit trail, in the same
//! transaction, with the caller [`OPERATOR`].

mod problem;
mod role;
mod setting;

pub use problem::Problem;
pub use role::{ChangeRole, RoleChange};
pub use setting::{FixSettings, SetSetting, SettingPlace};

use crate::account::{
    Account, BYPASS_RATE_LIMIT, EDIT_OTHER_USER_TOTP, Email, Profile, Selector, Token, TotpFactor,
    User,
};
use crate::attempts::Failures;
use crate::audit::{Action, AuditRecord, Decision};
use crate::dossier::{Administrator, Dossier, Question, Subject};
use crate::mail::Event;
use crate::mailed_code::{forget_code, forget_unproved};
use crate::member::{Denial, may_enrol};
use crate::order::{Change, Decided, Order, Tokens};
use crate::outbox::Post;
use crate::reset::{self, remove_totp};
use crate::settings::{Settings, whole_name};
use crate::sockets::Sockets;
use crate::time::Timestamp;
use crate::totp::step_of;
use data_encoding::HEXLOWER;
use rand::Rng;
use secrecy::SecretString;
use std::collections::BTreeSet;

/// The caller of an operator's changes in the audit trail: no account has it as
/// its id.
pub const OPERATOR: &str = "operator";

/// Characters in a name.
const NAME_LIMIT: usize = 64;

/// What [`is_name`] takes, in words.
pub const NAME_FORM: &str = "1 to 64 letters, digits, `-`, `_` and `.`";

/// Bytes of chance in a new account's id.
const USER_ID_BYTES: usize = 8;

/// A new account's id: 16 hexadecimal digits.
pub fn new_user_id(random: &mut impl Rng) -> String {
    let mut bytes = [0; USER_ID_BYTES];
    random.fill_bytes(&mut bytes);
    HEXLOWER.encode(&bytes)
}

/// Whether `text` can name something new: it needs no quotes in a shell, and has
/// no place for what a terminal would obey.
pub fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.chars().count() <= NAME_LIMIT && !text.is_empty() && text.chars().all(is_plain)
}

/// A workspace to create, with everything in it.
#[derive(Clone, Debug)]
pub struct NewWorkspace {
    /// Unique in the store.
    pub id: String,
    /// Its settings.
    pub settings: Settings,
    /// Its roles.
    pub roles: Vec<NewRole>,
    /// Its accounts.
    pub users: Vec<NewUser>,
}

/// A role and the permissions that it grants.
#[derive(Clone, Debug)]
pub struct NewRole {
    /// Unique in the workspace.
    pub name: String,
    /// For example `edit-other-user-totp`.
    pub permissions: Vec<String>,
}

/// An account to create.
#[derive(Clone, Debug, Default)]
pub struct NewUser {
    /// Unique in the workspace.
    pub id: String,
    /// Unique in the workspace without regard to case.
    pub username: String,
    /// bcrypt of the password's lower-case hexadecimal SHA-256; none for an
    /// account that cannot log in with one.
    pub password_hash: Option<SecretString>,
    /// Belongs to another server of a federation.
    pub federated: bool,
    /// Can neither log in nor use its tokens.
    pub deactivated: bool,
    /// Names of roles that the workspace has.
    pub roles: Vec<String>,
    /// E-mail addresses: no two accounts of a workspace have the same.
    pub emails: Vec<Email>,
    /// The holder has opted in to codes by e-mail.
    pub email_two_factor: bool,
    /// Login tokens.
    pub tokens: Vec<Token>,
    /// The TOTP factor, confirmed.
    pub totp: Option<TotpFactor>,
}

/// The roles of a new workspace, as Rocket.Chat knows them.
pub fn default_roles() -> Vec<NewRole> {
    [
        ("admin", &[BYPASS_RATE_LIMIT, EDIT_OTHER_USER_TOTP][..]),
        ("app", &[BYPASS_RATE_LIMIT]),
        ("bot", &[BYPASS_RATE_LIMIT]),
        ("user", &[]),
    ]
    .map(|(name, permissions)| NewRole {
        name: name.to_owned(),
        permissions: permissions.iter().map(ToString::to_string).collect(),
    })
    .into()
}

/// A workspace, as operators see it.
#[derive(Debug)]
pub struct WorkspaceSummary {
    /// Unique in the store.
    pub id: String,
    /// How many accounts it has.
    pub users: u32,
    /// How many of them are deactivated.
    pub deactivated: u32,
    /// How many of them have TOTP.
    pub enrolled: u32,
    /// How many of them are locked.
    pub locked: u32,
    /// Names of its roles, sorted.
    pub roles: Vec<String>,
    /// Names of the settings that differ from the default.
    pub changed_settings: Vec<&'static str>,
}

/// A role of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Unique in the workspace.
    pub name: String,
    /// What it grants, sorted.
    pub permissions: Vec<String>,
    /// Usernames of those who have it, sorted.
    pub members: Vec<String>,
}

/// A login token that is valid: neither it nor its hash is told.
#[derive(Debug, PartialEq, Eq)]
pub struct TokenSummary {
    /// The name of a personal access token.
    pub name: Option<String>,
    /// When a session ends; none for a personal access token.
    pub expires: Option<Timestamp>,
    /// Issued to bypass the second factor.
    pub bypass_two_factor: bool,
}

impl TokenSummary {
    /// The tokens of `profile` that are valid at `now`: personal access tokens by
    /// name, then sessions by their end.
    pub fn of(profile: Profile, now: Timestamp) -> Vec<Self> {
        let valid = profile
            .tokens
            .into_iter()
            .filter(|token| token.is_valid(now));
        let mut valid: Vec<_> = valid
            .map(|token| Self {
                name: token.name,
                expires: token.expires,
                bypass_two_factor: token.bypass_two_factor,
            })
            .collect();
        valid.sort_by(|a, b| (a.expires, &a.name).cmp(&(b.expires, &b.name)));
        valid
    }
}

/// Where and when an operator changes something.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The workspace of everything that is named.
    pub workspace: String,
    /// When.
    pub now: Timestamp,
    /// For the audit record.
    pub request_id: String,
    /// Also where nobody is left afterwards who may reset others, a second factor that was
    /// guessed at too often is used again, or a configuration fixes the setting.
    pub forced: bool,
}

impl Operation {
    /// Checks that somebody is left who may reset others, when those go that `gone` names.
    fn leaves_an_administrator(
        &self,
        dossier: &Dossier,
        gone: impl FnMut(&Administrator) -> bool,
    ) -> Answer<()> {
        let administrators = &dossier.administrators;
        let last = !administrators.is_empty() && administrators.iter().all(gone);
        match last && !self.forced {
            true => Err(Problem::LastAdministrator),
            false => Ok(()),
        }
    }

    /// The audit record of `action` on the account `target`. The detail is the
    /// role, permission, token, setting or mail that it is about.
    pub fn record(
        &self,
        action: Action,
        target: Option<String>,
        detail: Option<String>,
    ) -> AuditRecord {
        AuditRecord {
            at: self.now,
            workspace: self.workspace.clone(),
            request_id: self.request_id.clone(),
            action,
            caller: OPERATOR.to_owned(),
            target,
            decision: Decision::Done,
            reason: detail,
            source: None,
            proof: None,
            told: None,
            calls: 1,
        }
    }
}

/// What an operator does to an account. To activate the active, to unlock the
/// unlocked, to give a role that is held or to take one that is not is no
/// problem: it changes nothing and is recorded.
#[derive(Clone, Debug)]
pub enum UserChange {
    /// Sets the password whose hash this is, and ends the sessions: who knew
    /// the old one may hold one, or a key that is not proved yet.
    SetPassword(SecretString),
    /// Enrols TOTP, confirmed, and ends the sessions, which were begun without
    /// it.
    EnrolTotp(TotpFactor),
    /// Replaces the backup codes.
    ReplaceBackupCodes {
        /// As [`crate::totp::code_hash`] writes them.
        backup_code_hashes: Vec<String>,
    },
    /// Removes the TOTP factor, or a key that is not proved yet, and ends all tokens; the
    /// holder is told. What the endpoint does, where no administrator can.
    ResetTotp,
    /// Forgets the failures in a row, a code that was sent by e-mail, and a step that was
    /// spent while the clock was ahead. A factor that was guessed at too often is to be
    /// replaced instead.
    Unlock,
    /// Lets the account log in again.
    Activate,
    /// Keeps the account from logging in, and ends all its tokens.
    Deactivate,
    /// Makes the account a member of this role.
    GiveRole(String),
    /// Ends that.
    TakeRole(String),
    /// Creates a token.
    CreateToken(Token),
    /// Ends the personal access token of this name.
    RevokeToken(String),
    /// Ends every token, those of sessions included.
    RevokeAllTokens,
}

impl UserChange {
    /// What the audit trail calls it.
    pub fn action(&self) -> Action {
        match self {
            Self::SetPassword(_) => Action::SetPassword,
            Self::EnrolTotp(_) => Action::EnrolTotp,
            Self::ReplaceBackupCodes { .. } => Action::ReplaceBackupCodes,
            Self::ResetTotp => Action::ResetTotp,
            Self::Unlock => Action::Unlock,
            Self::Activate => Action::Activate,
            Self::Deactivate => Action::Deactivate,
            Self::GiveRole(_) => Action::GiveRole,
            Self::TakeRole(_) => Action::TakeRole,
            Self::CreateToken(_) => Action::CreateToken,
            Self::RevokeToken(_) | Self::RevokeAllTokens => Action::RevokeTokens,
        }
    }

    /// What the holder is told; none where that is nothing.
    fn event(&self) -> Option<Event<'_>> {
        Some(match self {
            Self::SetPassword(_) => Event::NewPassword,
            Self::EnrolTotp(_) => Event::Enrolled,
            Self::ReplaceBackupCodes { .. } => Event::NewBackupCodes,
            Self::ResetTotp => Event::Reset { by: None },
            Self::CreateToken(token) => Event::NewToken {
                name: token.name.as_deref().unwrap_or_default(),
            },
            _ => return None,
        })
    }

    /// The role or token that it is about.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::GiveRole(name) | Self::TakeRole(name) | Self::RevokeToken(name) => {
                Some(name.clone())
            }
            Self::CreateToken(token) if token.bypass_two_factor => {
                let name = token.name.as_deref().unwrap_or_default();
                Some(format!("{name}: bypasses the second factor"))
            }
            Self::CreateToken(token) => token.name.clone(),
            _ => None,
        }
    }
}

/// An account that an operator changed.
#[derive(Debug)]
pub struct Changed {
    /// As it is now.
    pub account: Account,
    /// How many of its tokens were ended.
    pub ended_tokens: usize,
}

/// What was asked for, or why there is none.
pub type Answer<T> = Result<T, Problem>;

/// What is done and answered, or why nothing is.
type Granted<T> = Result<(T, Vec<Change>), Problem>;

impl Operation {
    /// Asks whether there is such a workspace.
    pub(crate) fn question(&self) -> Question {
        Question::of(&self.workspace).with_existence()
    }

    /// Checks that there is.
    pub(crate) fn require_workspace(&self, dossier: &Dossier) -> Answer<()> {
        require_workspace(&self.workspace, dossier)
    }

    pub(crate) fn decided<T>(granted: Granted<T>) -> Decided<Answer<T>> {
        match granted {
            Ok((answer, changes)) => Decided {
                answer: Ok(answer),
                changes,
            },
            Err(problem) => Decided::unchanged(Err(problem)),
        }
    }
}

/// Checks that there is the workspace whose existence was asked about.
///
/// # Errors
///
/// [`Problem::UnknownWorkspace`].
pub fn require_workspace(workspace: &str, dossier: &Dossier) -> Answer<()> {
    match dossier.exists {
        true => Ok(()),
        false => Err(Problem::UnknownWorkspace(workspace.to_owned())),
    }
}

/// Creates a workspace with everything in it. The answer is false, and nothing is
/// done, where the store has a workspace of that id.
#[derive(Clone, Debug)]
pub struct CreateWorkspace(pub NewWorkspace);

impl Order for CreateWorkspace {
    type Answer = bool;

    fn question(&self) -> Question {
        Question::of(&self.0.id).with_existence()
    }

    fn decide(&self, dossier: &Dossier) -> Decided<bool> {
        if dossier.exists {
            return Decided::unchanged(false);
        }
        let workspace = Box::new(self.0.clone());
        Decided::unchanged(true).and(Change::CreateWorkspace(workspace))
    }
}

/// Adds an account.
#[derive(Clone, Debug)]
pub struct AddUser {
    /// Where and when.
    pub operation: Operation,
    /// The account.
    pub user: NewUser,
}

impl Order for AddUser {
    type Answer = Answer<Account>;

    fn question(&self) -> Question {
        let name = || self.user.username.clone();
        let names = [
            Selector::Username(name()),
            Selector::Id(name()),
            Selector::LookAlike(name()),
        ];
        let addresses = self.user.emails.iter();
        let addresses = addresses.map(|email| Selector::Address(email.address.clone()));
        let mut question = self.operation.question().with_role_names().with_settings();
        for taken in names.into_iter().chain(addresses) {
            question = question.about(Subject::new(taken));
        }
        question
    }

    fn decide(&self, dossier: &Dossier) -> Decided<Self::Answer> {
        Operation::decided(self.grant(dossier))
    }
}

impl AddUser {
    fn grant(&self, dossier: &Dossier) -> Granted<Account> {
        self.operation.require_workspace(dossier)?;
        let user = &self.user;
        let name = || user.username.clone();
        let settings = dossier.settings.clone().unwrap_or_default();
        require_username(&user.username, &settings.username_pattern)?;
        let [username, id, look_alike, addresses @ ..] = dossier.accounts.as_slice() else {
            return Err(Problem::UsernameTaken(name()));
        };
        if username.is_some() {
            return Err(Problem::UsernameTaken(name()));
        }
        if id.is_some() {
            return Err(Problem::UsernameIsId(name()));
        }
        if let Some(other) = look_alike {
            let (name, taken) = (name(), other.user.username.clone());
            return Err(Problem::UsernameLooksTaken { name, taken });
        }
        require_free_addresses(&user.emails, addresses.iter().map(Option::is_some))?;
        for role in &user.roles {
            require_role(dossier, role)?;
        }
        let user = user.clone().with_each_role_once();
        let roles = (!user.roles.is_empty()).then(|| user.roles.join(", "));
        let record = self
            .operation
            .record(Action::AddUser, Some(user.id.clone()), roles);
        let account = Account::of(user.clone().into(), &settings, self.operation.now);
        let added = Change::AddUser(Box::new(user));
        Ok((account, vec![added, Change::Record(record)]))
    }
}

/// An empty pattern takes what [`is_name`] does.
fn require_username(name: &str, pattern: &str) -> Answer<()> {
    let matches = match pattern {
        "" => is_name(name),
        // One that is none takes no name: it was checked when it was set.
        _ => whole_name(pattern).is_ok_and(|whole| whole.is_match(name)),
    };
    let is_printable = !name.is_empty() && !name.chars().any(|c| c.is_control() || c == '@');
    let is_short = name.chars().count() <= NAME_LIMIT;
    match matches && is_printable && is_short && !matches!(name, "." | "..") {
        true => Ok(()),
        false => Err(Problem::InvalidUsername {
            pattern: match pattern {
                "" => NAME_FORM.to_owned(),
                _ => pattern.to_owned(),
            },
        }),
    }
}

/// Log-in compares addresses without regard to the case of ASCII letters. `taken` says
/// of each address whether another account has it.
fn require_free_addresses(emails: &[Email], taken: impl Iterator<Item = bool>) -> Answer<()> {
    for (index, (email, taken)) in emails.iter().zip(taken).enumerate() {
        let same = |other: &Email| other.address.eq_ignore_ascii_case(&email.address);
        if taken || emails.iter().take(index).any(same) {
            return Err(Problem::AddressTaken(email.address.clone()));
        }
    }
    Ok(())
}

fn require_role(dossier: &Dossier, name: &str) -> Answer<()> {
    let known = &dossier.role_names;
    if known.iter().any(|role| role == name) {
        return Ok(());
    }
    let (name, known) = (name.to_owned(), known.clone());
    Err(Problem::UnknownRole { name, known })
}

impl NewUser {
    fn with_each_role_once(mut self) -> Self {
        let mut given = BTreeSet::new();
        self.roles.retain(|role| given.insert(role.clone()));
        self
    }
}

impl From<NewUser> for Profile {
    fn from(new: NewUser) -> Self {
        let mut profile = Self {
            user: User {
                id: new.id,
                username: new.username,
                name: None,
                federated: new.federated,
            },
            deactivated: new.deactivated,
            password_hash: new.password_hash,
            email_two_factor: new.email_two_factor,
            receives_codes: false,
            factor: new.totp,
            pending_key: None,
            mailed_code: None,
            failures: Failures::default(),
            language: None,
            emails: new.emails,
            roles: new.roles,
            permissions: Vec::new(),
            tokens: new.tokens,
        };
        let has_verified = profile.verified_addresses().next().is_some();
        profile.receives_codes = profile.email_two_factor && has_verified;
        profile.roles.sort();
        let order = |a: &Email, b: &Email| (b.verified, &a.address).cmp(&(a.verified, &b.address));
        profile.emails.sort_by(order);
        profile
    }
}

/// What must be known of the account that an operator calls `name`: a username, in any
/// case, or an id.
pub fn named_question(workspace: &str, name: &str) -> Question {
    let subject = |selector| Subject::new(selector).as_seen().with_tokens();
    Question::of(workspace)
        .with_existence()
        .with_settings()
        .about(subject(Selector::Id(name.to_owned())))
        .about(subject(Selector::Username(name.to_owned())))
}

/// The account that an operator calls `name`. Whoever chose another's id as their
/// username is not taken for the other.
///
/// # Errors
///
/// [`Problem::UnknownWorkspace`], [`Problem::UnknownUser`] or
/// [`Problem::AmbiguousUser`].
pub fn named<'a>(workspace: &str, name: &str, dossier: &'a Dossier) -> Answer<&'a Profile> {
    require_workspace(workspace, dossier)?;
    match (dossier.caller(), dossier.target()) {
        (Some(one), Some(other)) if one.user.id != other.user.id => Err(Problem::AmbiguousUser {
            name: name.to_owned(),
            username: one.user.username.clone(),
            id: other.user.id.clone(),
        }),
        (Some(profile), _) | (None, Some(profile)) => Ok(profile),
        (None, None) => Err(Problem::UnknownUser(name.to_owned())),
    }
}

/// Changes the account that an operator calls `user`.
#[derive(Clone, Debug)]
pub struct ChangeUser {
    /// Where and when.
    pub operation: Operation,
    /// A username, in any case, or an id.
    pub user: String,
    /// What is done.
    pub change: UserChange,
}

impl Order for ChangeUser {
    type Answer = Answer<Changed>;

    fn question(&self) -> Question {
        let question = named_question(&self.operation.workspace, &self.user).with_role_names();
        match self.change {
            UserChange::Deactivate | UserChange::TakeRole(_) => question.with_administrators(),
            _ => question,
        }
    }

    fn decide(&self, dossier: &Dossier) -> Decided<Self::Answer> {
        Operation::decided(self.grant(dossier))
    }
}

impl ChangeUser {
    fn grant(&self, dossier: &Dossier) -> Granted<Changed> {
        let profile = named(&self.operation.workspace, &self.user, dossier)?;
        let mut changes = self.change.of(profile, dossier, &self.operation)?;
        let mut changed = profile.clone();
        let mut ended_tokens = 0;
        for change in &changes {
            if let Change::EndTokens { which, .. } = change {
                ended_tokens += profile.count(which);
            }
            changed.apply(change);
        }
        let (id, now) = (Some(profile.user.id.clone()), self.operation.now);
        let mut record = self
            .operation
            .record(self.change.action(), id, self.change.detail());
        if let (Some(event), Some(settings)) = (self.change.event(), &dossier.settings) {
            let notices = Post::notices(settings, profile, &event, now, None);
            record = record.telling(&notices);
            changes.extend(notices);
        }
        let ends_logins = |change: &Change| match change {
            // Rocket.Chat ends all tokens with the sockets.
            Change::EndTokens { which, .. } => *which == Tokens::All,
            _ => false,
        };
        if let (true, Some(settings)) = (changes.iter().any(ends_logins), &dossier.settings) {
            let sockets = Sockets {
                user: profile.user.id.clone(),
                request_id: self.operation.request_id.clone(),
            };
            changes.extend(sockets.close(settings, now));
        }
        changes.push(Change::Record(record));
        let settings = dossier.settings.clone().unwrap_or_default();
        let account = Account::of(changed, &settings, self.operation.now);
        Ok((
            Changed {
                account,
                ended_tokens,
            },
            changes,
        ))
    }
}

impl UserChange {
    /// What it does to the account. Failures belong to the factor: what replaces one
    /// forgets them.
    fn of(
        &self,
        profile: &Profile,
        dossier: &Dossier,
        operation: &Operation,
    ) -> Answer<Vec<Change>> {
        let user = || profile.user.id.clone();
        let end = |which: Tokens| Change::EndTokens {
            user: user(),
            which,
        };
        Ok(match self {
            Self::SetPassword(hash) => {
                let hash = hash.clone();
                let mut changes = vec![Change::SetPassword { user: user(), hash }];
                changes.extend(Failures::forget(profile));
                changes.extend(forget_unproved(profile));
                changes.push(end(Tokens::Sessions { but: None }));
                changes
            }
            Self::EnrolTotp(factor) => {
                may_be_enrolled(profile, dossier.settings.as_ref())?;
                // A key that was shown and not yet proved goes.
                let mut changes = remove_totp(profile);
                changes.extend(Failures::forget(profile));
                let factor = factor.clone();
                changes.push(Change::Enrol {
                    user: user(),
                    factor,
                });
                changes.push(end(Tokens::Sessions { but: None }));
                changes
            }
            Self::ReplaceBackupCodes { backup_code_hashes } => {
                if profile.factor.is_none() {
                    return Err(Problem::NotEnrolled(profile.user.username.clone()));
                }
                let hashes = backup_code_hashes.clone();
                let mut changes = vec![Change::ReplaceBackupCodes {
                    user: user(),
                    hashes,
                }];
                changes.extend(Failures::forget(profile));
                changes
            }
            Self::ResetTotp => reset_totp(profile)?,
            Self::Unlock => {
                let settings = dossier.settings.clone().unwrap_or_default();
                if profile.failures.are_too_many(&settings) && !operation.forced {
                    return Err(Problem::GuessedOut {
                        user: profile.user.username.clone(),
                        failures: profile.failures.count,
                    });
                }
                unlock(profile, &settings, operation.now)
            }
            Self::Activate => vec![deactivated(profile, false)],
            Self::Deactivate => {
                let is_gone = |held: &Administrator| held.user == profile.user.id;
                operation.leaves_an_administrator(dossier, is_gone)?;
                let mut changes = vec![deactivated(profile, true)];
                changes.extend(forget_unproved(profile));
                changes.push(end(Tokens::All));
                changes
            }
            Self::GiveRole(role) => {
                require_role(dossier, role)?;
                let role = role.clone();
                vec![Change::GiveRole { user: user(), role }]
            }
            Self::TakeRole(role) => {
                require_role(dossier, role)?;
                let is_gone =
                    |held: &Administrator| held.user == profile.user.id && held.role == *role;
                operation.leaves_an_administrator(dossier, is_gone)?;
                let role = role.clone();
                vec![Change::TakeRole { user: user(), role }]
            }
            Self::CreateToken(token) => vec![create_token(profile, token)?],
            Self::RevokeToken(name) => {
                let named = Tokens::Named(name.clone());
                if profile.count(&named) == 0 {
                    let (user, token) = (profile.user.username.clone(), name.clone());
                    return Err(Problem::UnknownToken { user, token });
                }
                vec![end(named)]
            }
            Self::RevokeAllTokens => {
                let mut changes = forget_unproved(profile);
                changes.push(end(Tokens::All));
                changes
            }
        })
    }
}

fn may_be_enrolled(profile: &Profile, settings: Option<&Settings>) -> Answer<()> {
    let username = || profile.user.username.clone();
    let settings = settings.ok_or(Problem::NotEnabled)?;
    match may_enrol(settings, &profile.user, profile.factor.is_some()) {
        Ok(()) => Ok(()),
        Err(Denial::NotEnabled) => Err(Problem::NotEnabled),
        Err(Denial::Federated) => Err(Problem::Federated(username())),
        Err(_) => Err(Problem::AlreadyEnrolled(username())),
    }
}

fn reset_totp(profile: &Profile) -> Answer<Vec<Change>> {
    let username = || profile.user.username.clone();
    if profile.user.federated {
        return Err(Problem::Federated(username()));
    }
    match reset::is_enrolled(profile) {
        true => Ok(reset::remove(profile)),
        false => Err(Problem::NotEnrolled(username())),
    }
}

/// What forgets the failures in a row and a code that was sent. A code that was accepted
/// while the clock was ahead spends none that are still to come.
pub(crate) fn unlock(profile: &Profile, settings: &Settings, now: Timestamp) -> Vec<Change> {
    let window = u64::from(settings.totp_window);
    let last = profile.factor.as_ref().and_then(|factor| factor.last_step);
    let is_ahead = last.is_some_and(|last| last > step_of(now) + window);
    let step = is_ahead.then(|| Change::SpendStep {
        user: profile.user.id.clone(),
        step: step_of(now),
    });
    let code = profile.mailed_code.as_ref();
    let code = code.into_iter().flat_map(|_| forget_code(profile));
    let forgotten = Failures::forget(profile).into_iter();
    forgotten.chain(code).chain(step).collect()
}

fn deactivated(profile: &Profile, deactivated: bool) -> Change {
    Change::SetDeactivated {
        user: profile.user.id.clone(),
        deactivated,
    }
}

fn create_token(profile: &Profile, token: &Token) -> Answer<Change> {
    if let Some(name) = &token.name
        && profile.count(&Tokens::Named(name.clone())) > 0
    {
        let (user, token) = (profile.user.username.clone(), name.clone());
        return Err(Problem::TokenNameTaken { user, token });
    }
    Ok(Change::AddToken {
        user: profile.user.id.clone(),
        token: token.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_no_quotes() {
        let longest = "é".repeat(64);
        for name in ["a", "ada.lovelace", "A-Z_0.9", "Ärger", "7", &longest] {
            assert!(is_name(name), "{name}");
        }
        for text in [
            "",
            "a b",
            "a@b",
            "a/b",
            "$a",
            "a\n",
            "\u{1b}[2J",
            &format!("{longest}é"),
        ] {
            assert!(!is_name(text), "{text:?}");
        }
    }

    #[test]
    fn an_account_has_an_id_of_its_own() {
        let [first, second] = [(); 2].map(|()| new_user_id(&mut rand::rng()));
        assert_eq!(first.len(), 16);
        assert!(
            first
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        );
        assert_ne!(first, second);
    }

    #[test]
    fn of_the_first_roles_one_may_reset_others() {
        let roles = default_roles();
        let roles = roles
            .iter()
            .map(|role| (role.name.as_str(), role.permissions.join(" ")));
        let expected = [
            ("admin", "api-bypass-rate-limit edit-other-user-totp"),
            ("app", "api-bypass-rate-limit"),
            ("bot", "api-bypass-rate-limit"),
            ("user", ""),
        ];
        let expected = expected.map(|(name, permissions)| (name, permissions.to_owned()));
        assert!(roles.eq(expected));
    }
}
