//! Questions to a store, and what it answers: everything that bears on one decision,
//! as of one moment.

use crate::account::{Profile, Selector, Token};
use crate::operator::{Role, SettingPlace};
use crate::outbox::StoredMail;
use crate::retention::Oldest;
use crate::settings::Settings;

/// What a store is asked about one workspace: nothing but what is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The workspace of everything else.
    pub workspace: String,
    /// Whether there is such a workspace.
    pub existence: bool,
    /// Its settings.
    pub settings: bool,
    /// A token, by its hash, that belongs to the first of the accounts. Where that
    /// account holds no such token, nothing else need be read.
    pub token_hash: Option<String>,
    /// Accounts.
    pub accounts: Vec<Subject>,
    /// The names of its roles.
    pub role_names: bool,
    /// A role, with permissions and members.
    pub role: Option<String>,
    /// Who may reset others.
    pub administrators: bool,
    /// A mail in the outbox, and the account that it is for.
    pub mail: Option<i64>,
    /// Which settings the configuration says.
    pub fixed_settings: bool,
    /// How old the oldest of what is kept is.
    pub oldest: bool,
    /// Most who ask this have nothing changed: a store looks first, and begins no
    /// transaction where that is so.
    pub look_first: bool,
}

/// An account, and which lists of its [`Profile`] are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Which account.
    pub account: Selector,
    /// Its addresses.
    pub emails: bool,
    /// Its roles and what they grant.
    pub roles: bool,
    /// The backup codes of its TOTP factor, used and not.
    pub backup_codes: bool,
    /// Its tokens.
    pub tokens: bool,
}

impl Question {
    /// Asks nothing yet.
    pub fn of(workspace: &str) -> Self {
        Self {
            workspace: workspace.to_owned(),
            ..Self::default()
        }
    }

    /// With whether there is such a workspace.
    #[must_use]
    pub fn with_existence(mut self) -> Self {
        self.existence = true;
        self
    }

    /// With the settings.
    #[must_use]
    pub fn with_settings(mut self) -> Self {
        self.settings = true;
        self
    }

    /// With the token that has this hash.
    #[must_use]
    pub fn with_token(mut self, hash: &str) -> Self {
        self.token_hash = Some(hash.to_owned());
        self
    }

    /// With this account after the others.
    #[must_use]
    pub fn about(mut self, subject: Subject) -> Self {
        self.accounts.push(subject);
        self
    }

    /// With the names of the roles.
    #[must_use]
    pub fn with_role_names(mut self) -> Self {
        self.role_names = true;
        self
    }

    /// With this role.
    #[must_use]
    pub fn with_role(mut self, name: &str) -> Self {
        self.role = Some(name.to_owned());
        self
    }

    /// With who may reset others.
    #[must_use]
    pub fn with_administrators(mut self) -> Self {
        self.administrators = true;
        self
    }

    /// Asked by many who have nothing changed.
    #[must_use]
    pub fn looking_first(mut self) -> Self {
        self.look_first = true;
        self
    }

    /// With which settings the configuration says.
    #[must_use]
    pub fn with_fixed_settings(mut self) -> Self {
        self.fixed_settings = true;
        self
    }

    /// With how old the oldest of what is kept is.
    #[must_use]
    pub fn with_oldest(mut self) -> Self {
        self.oldest = true;
        self
    }

    /// With this mail, and the account that it is for.
    #[must_use]
    pub fn with_mail(mut self, id: i64) -> Self {
        self.mail = Some(id);
        self
    }
}

impl Subject {
    /// An account without its lists.
    pub fn new(account: Selector) -> Self {
        Self {
            account,
            emails: false,
            roles: false,
            backup_codes: false,
            tokens: false,
        }
    }

    /// The account with this id, without its lists.
    pub fn id(id: &str) -> Self {
        Self::new(Selector::Id(id.to_owned()))
    }

    /// With its addresses.
    #[must_use]
    pub fn with_emails(mut self) -> Self {
        self.emails = true;
        self
    }

    /// With its roles and what they grant.
    #[must_use]
    pub fn with_roles(mut self) -> Self {
        self.roles = true;
        self
    }

    /// With its backup codes.
    #[must_use]
    pub fn with_backup_codes(mut self) -> Self {
        self.backup_codes = true;
        self
    }

    /// With its tokens.
    #[must_use]
    pub fn with_tokens(mut self) -> Self {
        self.tokens = true;
        self
    }

    /// With what an [`crate::account::Account`] shows.
    #[must_use]
    pub fn as_seen(self) -> Self {
        self.with_emails().with_roles().with_backup_codes()
    }
}

/// What a store knows that bears on one question, as of one moment.
#[derive(Debug, Default)]
pub struct Dossier {
    /// There is such a workspace.
    pub exists: bool,
    /// The settings, where there is such a workspace.
    pub settings: Option<Settings>,
    /// The token, whether or not it has ended.
    pub token: Option<Token>,
    /// The accounts, in the order in which they are asked for; none for one that
    /// does not exist.
    pub accounts: Vec<Option<Profile>>,
    /// The names of the roles, sorted.
    pub role_names: Vec<String>,
    /// The role.
    pub role: Option<Role>,
    /// Each role of each account, active and of this server, that grants
    /// [`EDIT_OTHER_USER_TOTP`](crate::account::EDIT_OTHER_USER_TOTP).
    pub administrators: Vec<Administrator>,
    /// The mail.
    pub mail: Option<StoredMail>,
    /// The account that the mail is for, without its lists.
    pub mail_holder: Option<Profile>,
    /// The settings that the configuration says.
    pub fixed_settings: Vec<SettingPlace>,
    /// How old the oldest of what is kept is.
    pub oldest: Oldest,
}

/// An account that may reset others, by a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administrator {
    /// The account's id.
    pub user: String,
    /// The role's name.
    pub role: String,
}

impl Dossier {
    /// The first account: the one on whose behalf something is asked, or which it is
    /// done to.
    pub fn caller(&self) -> Option<&Profile> {
        self.account(0)
    }

    /// The second account.
    pub fn target(&self) -> Option<&Profile> {
        self.account(1)
    }

    fn account(&self, index: usize) -> Option<&Profile> {
        self.accounts.get(index)?.as_ref()
    }
}
