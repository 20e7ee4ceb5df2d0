//! A store in memory, as simple as one can be: it answers questions, makes changes, lists, gives
//! out mail, and panics where a database would refuse a row. It knows nothing of the rules, and
//! makes changes by code of its own.

use crate::text;
use chat_domain::account::{Profile, Selector, Token, look_alike, username_key};
use chat_domain::audit::AuditRecord;
use chat_domain::dossier::{Administrator, Dossier, Question, Subject};
use chat_domain::operator::{NewUser, NewWorkspace, Role, SettingPlace};
use chat_domain::order::{Change, Decided, Order, Tokens};
use chat_domain::outbox::{NextTry, Post, StoredMail};
use chat_domain::retention::{Oldest, Retention};
use chat_domain::settings::{Setting, Settings};
use chat_domain::time::Timestamp;
use secrecy::ExposeSecret as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// Workspaces by their ids. A copy costs little, and one that is not changed is the same.
#[derive(Clone, Debug, Default)]
pub struct Model {
    workspaces: BTreeMap<String, Rc<Workspace>>,
    /// The id of the mail that was queued last.
    mails: i64,
}

/// All that is kept of one workspace.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    /// All settings.
    pub settings: Shared<Settings>,
    /// What each role grants.
    pub roles: Shared<BTreeMap<String, BTreeSet<String>>>,
    /// By id; one that is not changed is the same. Of the fields, `receives_codes` and `permissions` are not kept.
    pub accounts: BTreeMap<String, Rc<Profile>>,
    /// Mails, in the order in which they were queued; one that is not changed is the same.
    pub outbox: Vec<Rc<StoredMail>>,
    /// In the order in which they were written.
    pub audit: Vec<Rc<AuditRecord>>,
    /// Settings that a configuration says.
    pub fixed_settings: Vec<SettingPlace>,
    /// What was queued as each mail that is there.
    posts: BTreeMap<i64, Rc<Post>>,
    /// The id of the mail that was queued last.
    mails: i64,
}

/// What a copy has in common with its original until one of them is changed.
#[derive(Debug, Default)]
pub struct Shared<T>(Rc<T>);

impl<T> Shared<T> {
    /// Whether it was not changed since one was copied from the other.
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Self(Rc::new(value))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Rc::make_mut(&mut self.0)
    }
}

impl Model {
    /// With this workspace and no other.
    pub fn new(id: &str, workspace: Workspace) -> Self {
        let mut model = Self::default();
        model.put(id, workspace);
        model
    }

    /// With this workspace, too.
    pub fn put(&mut self, id: &str, workspace: Workspace) {
        self.mails = self.mails.max(workspace.mails);
        self.workspaces.insert(id.to_owned(), Rc::new(workspace));
    }

    /// All workspaces, by their ids.
    pub fn workspaces(&self) -> impl Iterator<Item = (&str, &Rc<Workspace>)> {
        self.workspaces
            .iter()
            .map(|(id, workspace)| (id.as_str(), workspace))
    }

    /// Whether there is such a workspace.
    pub fn has(&self, id: &str) -> bool {
        self.workspaces.contains_key(id)
    }

    /// The workspace with this id.
    ///
    /// # Panics
    ///
    /// Where there is no such workspace.
    pub fn workspace(&self, id: &str) -> &Workspace {
        self.workspaces.get(id).unwrap()
    }

    /// The workspace with this id, to be changed.
    ///
    /// # Panics
    ///
    /// Where there is no such workspace.
    pub(crate) fn edit_workspace(&mut self, id: &str) -> &mut Workspace {
        Rc::make_mut(self.workspaces.get_mut(id).unwrap())
    }

    /// What `order` decides, and its changes as text; they are made.
    ///
    /// # Panics
    ///
    /// When deciding twice is not deciding once, or a change cannot be made.
    pub fn ask<O>(&mut self, order: &O) -> (O::Answer, String)
    where
        O: Order,
        O::Answer: Debug,
    {
        let question = order.question();
        let Decided { answer, changes } = order.decide(&self.read(&question));
        let lines = text::lines(&changes);
        let again = self.ask_once(order);
        assert_eq!(lines, text::lines(&again.changes), "decided again");
        assert_eq!(format!("{answer:?}"), format!("{:?}", again.answer));
        (again.answer, lines)
    }

    /// What `order` decides; its changes are made.
    ///
    /// # Panics
    ///
    /// When a change cannot be made.
    pub fn ask_once<O: Order>(&mut self, order: &O) -> Decided<O::Answer> {
        let question = order.question();
        let decided = order.decide(&self.read(&question));
        for change in &decided.changes {
            self.apply(&question.workspace, change);
        }
        decided
    }

    /// The answer to `question`: what is asked for, and nothing more.
    pub fn read(&self, question: &Question) -> Dossier {
        let Some(workspace) = self.workspaces.get(&question.workspace) else {
            let accounts = question.accounts.iter().map(|_| None).collect();
            return Dossier {
                accounts,
                ..Dossier::default()
            };
        };
        let mut dossier = Dossier {
            exists: question.existence,
            settings: question.settings.then(|| (*workspace.settings).clone()),
            ..Dossier::default()
        };
        let mut holder = None;
        if let Some(hash) = &question.token_hash {
            let first = question.accounts.first().map(|first| &first.account);
            let Some((id, token)) = workspace.token(hash, first) else {
                return dossier;
            };
            holder = Some(id);
            dossier.token = Some(token.clone());
        }
        let accounts = question.accounts.iter();
        dossier.accounts = accounts
            .map(|subject| workspace.profile(subject, holder))
            .collect();
        if question.role_names {
            dossier.role_names = workspace.roles.keys().cloned().collect();
        }
        dossier.role = question.role.as_ref().and_then(|name| workspace.role(name));
        if question.administrators {
            dossier.administrators = workspace.administrators().collect();
        }
        let mail = |id| workspace.mail(id).map(|mail| (**mail).clone());
        dossier.mail = question.mail.and_then(mail);
        let mail = dossier.mail.as_ref();
        let holder = mail.and_then(|mail| workspace.holder(mail.id));
        dossier.mail_holder = holder.and_then(|id| workspace.profile(&Subject::id(id), None));
        if question.fixed_settings {
            dossier.fixed_settings.clone_from(&workspace.fixed_settings);
        }
        if question.oldest {
            dossier.oldest = workspace.oldest();
        }
        dossier
    }

    fn apply(&mut self, id: &str, change: &Change) {
        match change {
            Change::CreateWorkspace(new) => {
                assert!(!self.has(&new.id), "{} is there", new.id);
                self.put(&new.id, Workspace::from((**new).clone()));
            }
            change => {
                let mails = self.mails;
                let workspace = self.edit_workspace(id);
                // Ids are the store's, not the workspace's.
                workspace.mails = mails;
                workspace.apply(id, change);
                self.mails = self.workspace(id).mails;
            }
        }
    }
}

impl Workspace {
    /// The account with this id.
    ///
    /// # Panics
    ///
    /// Where there is no such account.
    pub fn account(&self, id: &str) -> &Profile {
        self.accounts.get(id).unwrap()
    }

    /// The account with this id, to be changed.
    ///
    /// # Panics
    ///
    /// Where there is no such account.
    pub fn edit(&mut self, id: &str) -> &mut Profile {
        Rc::make_mut(self.accounts.get_mut(id).unwrap())
    }

    /// Adds an account.
    ///
    /// # Panics
    ///
    /// Where the id or the username is taken, or there is no such role.
    pub fn add(&mut self, new: NewUser) {
        let id = new.id.clone();
        let key = username_key(&new.username);
        let mut others = self.accounts.values();
        assert!(others.all(|other| username_key(&other.user.username) != key));
        let profile = Profile::from(new);
        for (place, role) in profile.roles.iter().enumerate() {
            assert!(self.roles.contains_key(role), "no role {role}");
            let twice = profile.roles.iter().take(place).any(|other| other == role);
            assert!(!twice, "the role {role} twice");
        }
        assert!(self.accounts.insert(id, Rc::new(profile)).is_none());
    }

    /// Who may reset others, by which role.
    pub fn administrators(&self) -> impl Iterator<Item = Administrator> {
        let accounts = self.accounts.values();
        let able = accounts.filter(|profile| !profile.deactivated && !profile.user.federated);
        able.flat_map(|profile| {
            let granted = |role: &String| self.roles.get(role).unwrap();
            let grants = move |role: &&String| granted(role).contains("edit-other-user-totp");
            profile
                .roles
                .iter()
                .filter(grants)
                .map(|role| Administrator {
                    user: profile.user.id.clone(),
                    role: role.clone(),
                })
        })
    }

    fn token(&self, hash: &str, first: Option<&Selector>) -> Option<(&str, &Token)> {
        let mut accounts = self.accounts.iter();
        let (id, token) = accounts.find_map(|(id, profile)| {
            let mut tokens = profile.tokens.iter();
            let token = tokens.find(|token| token.hash == hash)?;
            Some((id.as_str(), token))
        })?;
        match first {
            Some(Selector::Id(first)) if first != id => None,
            _ => Some((id, token)),
        }
    }

    fn profile(&self, subject: &Subject, holder: Option<&str>) -> Option<Profile> {
        let is_named = |profile: &&Rc<Profile>| match &subject.account {
            Selector::Id(id) => profile.user.id == *id,
            Selector::Username(name) => username_key(&profile.user.username) == username_key(name),
            Selector::LookAlike(name) => look_alike(&profile.user.username, name),
            Selector::Address(address) => {
                let mut emails = profile.emails.iter();
                emails.any(|email| email.address.eq_ignore_ascii_case(address))
            }
            Selector::TokenHolder => Some(profile.user.id.as_str()) == holder,
        };
        let mut profile = Profile::clone(self.accounts.values().find(is_named)?);
        let verified = profile.emails.iter().any(|email| email.verified);
        profile.receives_codes = profile.email_two_factor && verified;
        let granted = profile.roles.iter().filter_map(|role| self.roles.get(role));
        profile.permissions = granted.flatten().cloned().collect();
        if !subject.emails {
            profile.emails.clear();
        }
        if !subject.roles {
            profile.roles.clear();
            profile.permissions.clear();
        }
        if let Some(factor) = profile.factor.as_mut().filter(|_| !subject.backup_codes) {
            factor.backup_code_hashes.clear();
            factor.spent_code_hashes.clear();
        }
        if !subject.tokens {
            profile.tokens.clear();
        }
        Some(profile)
    }

    /// The role with this name.
    pub(crate) fn role(&self, name: &str) -> Option<Role> {
        let permissions = self.roles.get(name)?.iter().cloned().collect();
        let has_it = |profile: &&Rc<Profile>| profile.roles.iter().any(|role| role == name);
        let members = self.accounts.values().filter(has_it);
        let mut members: Vec<_> = members.map(|p| p.user.username.clone()).collect();
        members.sort_by_key(|member| username_key(member));
        Some(Role {
            name: name.to_owned(),
            permissions,
            members,
        })
    }

    fn apply(&mut self, id: &str, change: &Change) {
        match change {
            Change::CreateWorkspace(_) => unreachable!("it is another workspace's"),
            Change::SetSetting { name, value } => {
                let setting = Setting::named(name).unwrap();
                let default = setting.value(&Settings::default());
                let value = value.as_ref().unwrap_or(&default);
                setting
                    .set(&mut self.settings, value.expose_secret())
                    .unwrap();
            }
            Change::AddRole { role } => {
                self.roles.entry(role.clone()).or_default();
            }
            Change::AllowPermission { role, permission } => {
                let granted = self.roles.get_mut(role).unwrap();
                granted.insert(permission.clone());
            }
            Change::DenyPermission { role, permission } => {
                self.roles.get_mut(role).unwrap().remove(permission);
            }
            Change::AddUser(new) => self.add((**new).clone()),
            Change::SetPassword { user, hash } => {
                self.edit(user).password_hash = Some(hash.clone());
            }
            Change::SetDeactivated { user, deactivated } => {
                self.edit(user).deactivated = *deactivated;
            }
            Change::GiveRole { user, role } => {
                assert!(self.roles.contains_key(role), "no role {role}");
                let mut roles: BTreeSet<_> = self.edit(user).roles.drain(..).collect();
                roles.insert(role.clone());
                self.edit(user).roles = roles.into_iter().collect();
            }
            Change::TakeRole { user, role } => {
                self.edit(user).roles.retain(|held| held != role);
            }
            Change::AddToken { user, token } => self.add_token(user, token),
            Change::EndTokens { user, which } => {
                let goes = |token: &Token| match which {
                    Tokens::All => true,
                    Tokens::Sessions { but } => {
                        token.expires.is_some() && Some(&token.hash) != but.as_ref()
                    }
                    Tokens::Ended { by } => token.expires.is_some_and(|end| end <= *by),
                    Tokens::Named(name) => token.name.as_ref() == Some(name),
                    Tokens::Hash(hash) => token.hash == *hash,
                };
                self.edit(user).tokens.retain(|token| !goes(token));
            }
            Change::Enrol { user, factor } => {
                let before = self.edit(user).factor.replace(factor.clone());
                assert!(before.is_none(), "{user} has a factor");
            }
            Change::RemoveFactor { user } => self.edit(user).factor = None,
            Change::SpendStep { user, step } => {
                self.edit(user).factor.as_mut().unwrap().last_step = Some(*step);
            }
            Change::SpendBackupCode { user, hash } => {
                let factor = self.edit(user).factor.as_mut().unwrap();
                factor.backup_code_hashes.retain(|code| code != hash);
                factor.spent_code_hashes.push(hash.clone());
            }
            Change::ReplaceBackupCodes { user, hashes } => {
                let factor = self.edit(user).factor.as_mut().unwrap();
                factor.backup_code_hashes.clone_from(hashes);
                factor.spent_code_hashes.clear();
            }
            Change::SetPendingKey { user, pending } => {
                self.edit(user).pending_key = Some(pending.clone());
            }
            Change::RemovePendingKey { user } => self.edit(user).pending_key = None,
            Change::SetMailedCode { user, code } => {
                self.edit(user).mailed_code = Some(code.clone());
            }
            Change::RemoveMailedCode { user } => self.edit(user).mailed_code = None,
            Change::SetFailures { user, failures } => self.edit(user).failures = *failures,
            Change::QueueMail(post) => self.queue(post),
            Change::RemoveCodeMails { user } => {
                let goes = |post: &Post| post.holds_code && post.user == *user;
                let gone = self.posts.iter().filter(|(_, post)| goes(post));
                let gone: Vec<_> = gone.map(|(id, _)| *id).collect();
                gone.into_iter().for_each(|id| self.remove_mail(id));
            }
            Change::PostponeMail {
                id,
                next,
                problem,
                doubtful,
            } => {
                let mail = self.edit_mail(*id);
                mail.claimed = false;
                mail.next_try = *next;
                mail.doubtful = *doubtful;
                mail.last_problem = problem.clone().or(mail.last_problem.take());
            }
            Change::FixSettings(fixed) => self.fixed_settings.clone_from(fixed),
            Change::Prune(kept) => self.prune(kept),
            Change::RetryMail { id, due, expires } => {
                let mail = self.edit_mail(*id);
                mail.claimed = false;
                mail.next_try = NextTry::At(*due);
                mail.expires = *expires;
                mail.doubtful = 0;
            }
            Change::RemoveMail { id } => self.remove_mail(*id),
            Change::Record(record) => {
                assert_eq!(record.workspace, id, "another workspace's record");
                self.audit.push(Rc::new(record.clone()));
            }
        }
    }

    /// The mail with this id.
    pub fn mail(&self, id: i64) -> Option<&Rc<StoredMail>> {
        self.outbox.iter().find(|mail| mail.id == id)
    }

    /// What was queued as the mail with this id.
    pub(crate) fn post(&self, mail: i64) -> Option<&Post> {
        self.posts.get(&mail).map(|post| &**post)
    }

    /// The id of the account that the mail is for.
    pub(crate) fn holder(&self, mail: i64) -> Option<&str> {
        self.post(mail).map(|post| post.user.as_str())
    }

    /// The mail with this id, to be changed.
    ///
    /// # Panics
    ///
    /// Where there is no such mail.
    pub fn edit_mail(&mut self, id: i64) -> &mut StoredMail {
        let mut mails = self.outbox.iter_mut();
        Rc::make_mut(mails.find(|mail| mail.id == id).unwrap())
    }

    fn remove_mail(&mut self, id: i64) {
        self.outbox.retain(|mail| mail.id != id);
        self.posts.remove(&id);
    }

    /// The hash is unique in the workspace, the name in the account.
    fn add_token(&mut self, user: &str, token: &Token) {
        let mut tokens = self.accounts.values().flat_map(|profile| &profile.tokens);
        assert!(tokens.all(|other| other.hash != token.hash));
        let mut names = self
            .account(user)
            .tokens
            .iter()
            .filter_map(|t| t.name.as_ref());
        assert!(names.all(|name| Some(name) != token.name.as_ref()));
        self.edit(user).tokens.push(token.clone());
    }

    /// Writes a record of that moment.
    pub fn note(&mut self, at: Timestamp) {
        self.audit.push(Rc::new(AuditRecord {
            at,
            ..crate::acme::record_of("alice")
        }));
    }

    /// A dead letter that was written at that moment.
    pub fn queue_dead_letter(&mut self, queued: Timestamp) {
        self.queue(&Post {
            user: "alice".to_owned(),
            recipient: "alice@example.com".to_owned(),
            subject: "Subject",
            body: "body".into(),
            holds_code: false,
            queued,
            expires: queued,
        });
        self.edit_mail(self.mails).next_try = NextTry::Never;
    }

    /// The id of the mail that was queued last.
    pub fn last_mail(&self) -> i64 {
        self.mails
    }

    fn oldest(&self) -> Oldest {
        let letters = self
            .outbox
            .iter()
            .filter(|mail| mail.next_try == NextTry::Never);
        let tokens = self.accounts.values().flat_map(|profile| &profile.tokens);
        Oldest {
            record: self.audit.iter().map(|record| record.at).min(),
            dead_letter: letters.map(|mail| mail.queued).min(),
            session_end: tokens.filter_map(|token| token.expires).min(),
        }
    }

    fn prune(&mut self, kept: &Retention) {
        let is_before = |at, limit: Option<Timestamp>| limit.is_some_and(|limit| at < limit);
        self.audit
            .retain(|record| !is_before(record.at, kept.records_before));
        let is_old = |mail: &StoredMail| {
            mail.next_try == NextTry::Never && is_before(mail.queued, kept.dead_letters_before)
        };
        let old = self.outbox.iter().filter(|mail| is_old(mail));
        let old: Vec<_> = old.map(|mail| mail.id).collect();
        old.into_iter().for_each(|id| self.remove_mail(id));
        let ended = |token: &Token| {
            let end = token.expires;
            end.is_some_and(|end| end < kept.sessions_ended_before)
        };
        for profile in self.accounts.values_mut() {
            if profile.tokens.iter().any(ended) {
                Rc::make_mut(profile).tokens.retain(|token| !ended(token));
            }
        }
    }

    /// Queues a mail.
    pub fn queue(&mut self, post: &Post) {
        self.mails += 1;
        self.posts.insert(self.mails, Rc::new(post.clone()));
        let body = post.body.expose_secret().to_owned();
        self.outbox.push(Rc::new(StoredMail {
            id: self.mails,
            queued: post.queued,
            expires: post.expires,
            claimed: false,
            next_try: NextTry::At(post.queued),
            tries: 0,
            doubtful: 0,
            recipient: post.recipient.clone(),
            subject: post.subject.to_owned(),
            body: (!post.holds_code).then_some(body),
            last_problem: None,
        }));
    }
}

impl From<NewWorkspace> for Workspace {
    fn from(new: NewWorkspace) -> Self {
        let roles = new.roles.into_iter();
        let mut workspace = Self {
            settings: new.settings.into(),
            roles: roles
                .map(|role| (role.name, role.permissions.into_iter().collect()))
                .collect::<BTreeMap<_, _>>()
                .into(),
            ..Self::default()
        };
        for user in new.users {
            workspace.add(user);
        }
        workspace
    }
}
