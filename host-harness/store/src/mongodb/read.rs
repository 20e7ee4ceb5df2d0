//! What the collections say of the workspace, as of one moment. No question waits for what another
//! finds, but for tokens, of which who is none need not be known further.

use super::account::{
    ACCOUNTS, Account, Held, TOKENS, USERS, account_in, fields, fields_with_tokens, with_lists_of,
};
use super::database::{Look, Transaction};
use super::failure::Failure;
use super::field::{Fields, id_of};
use super::settings::{self, FIXED_SETTINGS};
use super::{audit_log, list, outbox};
use crate::seal::Seal;
use chat_domain::account::{EDIT_OTHER_USER_TOTP, Profile, Selector, Token, username_key};
use chat_domain::dossier::{Administrator, Dossier, Question, Subject};
use chat_domain::operator::SettingPlace;
use chat_domain::retention::Oldest;
use chat_domain::settings::Settings;
use mongodb::bson::{Document, doc};

/// Rocket.Chat's permissions: `{_id, roles}`, the name and the roles that grant it.
pub(super) const PERMISSIONS: &str = "rocketchat_permissions";

/// Rocket.Chat's roles: `{_id, scope}`. What accounts and permissions name is the id.
pub(super) const ROLES: &str = "rocketchat_roles";

/// Those of the whole workspace; others are of one room.
pub(super) fn roles_of_the_workspace() -> Document {
    doc! { "scope": { "$ne": "Subscriptions" } }
}

/// Accounts that are active and of this server.
fn active_here() -> Document {
    doc! { "active": true, "federated": { "$ne": true } }
}

/// The answer to a question, and what is needed to change what is in it.
#[derive(Default)]
pub(super) struct Read {
    pub(super) dossier: Dossier,
    pub(super) held: Vec<Held>,
    /// Those by which accounts were read.
    pub(super) settings: Settings,
}

/// The answer to `question`. `workspace` is the one that there is.
pub(super) async fn dossier(
    transaction: &mut Transaction,
    seal: &Seal,
    workspace: &str,
    question: &Question,
) -> Result<Read, Failure> {
    let mut read = Read::default();
    if question.workspace != workspace {
        read.dossier.accounts = question.accounts.iter().map(|_| None).collect();
        return Ok(read);
    }
    let mut reader = Reader {
        transaction,
        seal,
        workspace,
    };
    reader.answer(question, &mut read).await?;
    Ok(read)
}

struct Reader<'a> {
    transaction: &'a mut Transaction,
    seal: &'a Seal,
    workspace: &'a str,
}

impl Reader<'_> {
    async fn answer(&mut self, question: &Question, read: &mut Read) -> Result<(), Failure> {
        let dossier = &mut read.dossier;
        dossier.exists = true;
        let has_accounts = question.token_hash.is_some()
            || question.mail.is_some()
            || !question.accounts.is_empty();
        if question.settings || has_accounts {
            read.settings = settings::read(self.transaction, self.seal, self.workspace).await?;
        }
        if question.settings {
            dossier.settings = Some(read.settings.clone());
        }
        self.accounts(question, read).await?;
        let dossier = &mut read.dossier;
        if question.token_hash.is_some() && dossier.token.is_none() {
            return Ok(());
        }
        if question.role_names {
            dossier.role_names = list::role_names(self.transaction).await?;
        }
        if let Some(name) = &question.role {
            let mut roles = list::roles(self.transaction, Some(name)).await?;
            dossier.role = roles.pop();
        }
        if question.administrators {
            dossier.administrators = self.administrators().await?;
        }
        if let Some(id) = question.mail {
            self.mail(id, read).await?;
        }
        let dossier = &mut read.dossier;
        if question.fixed_settings {
            dossier.fixed_settings = fixed_settings(self.transaction).await?;
        }
        if question.oldest {
            dossier.oldest = self.oldest().await?;
        }
        Ok(())
    }

    /// The token that is asked about, and all accounts where there is that.
    async fn accounts(&mut self, question: &Question, read: &mut Read) -> Result<(), Failure> {
        let mut accounts = Vec::new();
        for (place, subject) in question.accounts.iter().enumerate() {
            let token = question.token_hash.as_deref();
            let is_holder = place == 0 && token.is_some();
            let found = self.find(&subject.account, token, subject.tokens || is_holder);
            let found = match found.await? {
                Some(user) => Some(self.account(&user, &read.settings).await?),
                None => None,
            };
            if let Some(hash) = token.filter(|_| is_holder) {
                let held = found.as_ref().and_then(|found| held_token(found, hash));
                match held {
                    Some(token) => read.dossier.token = Some(token),
                    None => return Ok(()),
                }
            }
            accounts.push(found);
        }
        for (found, subject) in accounts.into_iter().zip(&question.accounts) {
            let profile = match found {
                Some(account) => {
                    read.held.push(account.held.clone());
                    Some(self.profile(account, subject).await?)
                }
                None => None,
            };
            read.dossier.accounts.push(profile);
        }
        Ok(())
    }

    /// The document of an account.
    async fn find(
        &mut self,
        selector: &Selector,
        token_hash: Option<&str>,
        with_tokens: bool,
    ) -> Result<Option<Document>, Failure> {
        let fields = match with_tokens {
            true => fields_with_tokens(),
            false => fields(),
        };
        let look = match selector {
            Selector::Id(id) => Look::at(doc! { "_id": id }),
            Selector::TokenHolder => match token_hash {
                Some(hash) => Look::at(doc! { format!("{TOKENS}.hashedToken"): hash }),
                None => return Ok(None),
            },
            Selector::Username(name) => Look::at(doc! { "username": name }).caseless(),
            Selector::Address(address) => {
                let there = doc! { "$exists": true };
                Look::at(doc! { "emails": there, "emails.address": address }).caseless()
            }
            // No account is made here that could look like another.
            Selector::LookAlike(_) => return Ok(None),
        };
        let look = look.only(fields).sorted(doc! { "_id": 1 });
        for user in self.transaction.find(USERS, look).await? {
            if is_named(&user, selector)? {
                return Ok(Some(user));
            }
        }
        Ok(None)
    }

    async fn account(&mut self, user: &Document, settings: &Settings) -> Result<Account, Failure> {
        let own = Look::at(doc! { "_id": id_of(user) });
        let own = self.transaction.one(ACCOUNTS, own).await?;
        account_in(self.seal, self.workspace, settings, user, own.as_ref())
    }

    /// The profile of an account, with the lists that are asked for.
    async fn profile(&mut self, account: Account, subject: &Subject) -> Result<Profile, Failure> {
        let mut profile = with_lists_of(account.profile, subject);
        if subject.roles && !profile.roles.is_empty() {
            let granted = Look::at(doc! { "roles": { "$in": &profile.roles } });
            let granted = self.transaction.find(PERMISSIONS, granted).await?;
            profile.permissions = granted_to(&profile.roles, &granted)?;
        }
        Ok(profile)
    }

    async fn administrators(&mut self) -> Result<Vec<Administrator>, Failure> {
        let permission = Look::at(doc! { "_id": EDIT_OTHER_USER_TOTP });
        let permission = self.transaction.one(PERMISSIONS, permission).await?;
        let roles = match &permission {
            Some(permission) => {
                Fields::of(permission, PERMISSIONS, EDIT_OTHER_USER_TOTP).texts("roles")?
            }
            None => return Ok(Vec::new()),
        };
        let mut filter = active_here();
        filter.insert("roles", doc! { "$in": &roles });
        let holders = Look::at(filter)
            .only(doc! { "roles": 1 })
            .sorted(doc! { "_id": 1 });
        let mut administrators = Vec::new();
        for holder in self.transaction.find(USERS, holders).await? {
            let user = id_of(&holder);
            let mut held = Fields::of(&holder, USERS, &user).texts("roles")?;
            held.sort();
            let granting = held.into_iter().filter(|role| roles.contains(role));
            administrators.extend(granting.map(|role| Administrator {
                user: user.clone(),
                role,
            }));
        }
        Ok(administrators)
    }

    async fn mail(&mut self, id: i64, read: &mut Read) -> Result<(), Failure> {
        let Some((mail, user)) = outbox::mail(self.transaction, id).await? else {
            return Ok(());
        };
        read.dossier.mail = Some(mail);
        let Some(user) = user else {
            return Ok(());
        };
        let holder = self.find(&Selector::Id(user), None, false).await?;
        if let Some(holder) = holder {
            let account = self.account(&holder, &read.settings).await?;
            read.held.push(account.held.clone());
            let subject = Subject::id(&account.held.user);
            read.dossier.mail_holder = Some(with_lists_of(account.profile, &subject));
        }
        Ok(())
    }

    /// Rocket.Chat removes the sessions that have ended.
    async fn oldest(&mut self) -> Result<Oldest, Failure> {
        Ok(Oldest {
            record: audit_log::oldest(self.transaction).await?,
            dead_letter: outbox::oldest_dead_letter(self.transaction).await?,
            session_end: None,
        })
    }
}

/// Whether the account, which Rocket.Chat's comparison has found, is the one that is named here, too.
fn is_named(user: &Document, selector: &Selector) -> Result<bool, Failure> {
    let id = id_of(user);
    let user = Fields::of(user, USERS, &id);
    match selector {
        Selector::Username(name) => {
            let username = user.text("username")?.unwrap_or_default();
            Ok(username_key(username) == username_key(name))
        }
        Selector::Address(address) => {
            for email in user.documents("emails")? {
                let found = user.within(email, "emails.").text("address")?;
                if found.is_some_and(|found| found.eq_ignore_ascii_case(address)) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Ok(true),
    }
}

/// The token with this hash, where the account has it.
fn held_token(account: &Account, hash: &str) -> Option<Token> {
    let mut tokens = account.profile.tokens.iter();
    tokens.find(|token| token.hash == hash).cloned()
}

/// What these documents of [`PERMISSIONS`] grant to these roles, by role and name.
pub(super) fn granted_to(
    roles: &[String],
    permissions: &[Document],
) -> Result<Vec<String>, Failure> {
    let mut granted = Vec::new();
    for permission in permissions {
        let name = id_of(permission);
        let by = Fields::of(permission, PERMISSIONS, &name).texts("roles")?;
        let by = by.into_iter().filter(|role| roles.contains(role));
        granted.extend(by.map(|role| (role, name.clone())));
    }
    granted.sort();
    Ok(granted.into_iter().map(|(_, name)| name).collect())
}

/// The settings that a configuration says, sorted by name.
pub(super) async fn fixed_settings(
    transaction: &mut Transaction,
) -> Result<Vec<SettingPlace>, Failure> {
    let all = Look::default().sorted(doc! { "_id": 1 });
    let all = transaction.find(FIXED_SETTINGS, all).await?;
    let fixed = all.iter().map(|document| {
        let name = id_of(document);
        let place = Fields::of(document, FIXED_SETTINGS, &name);
        let place = place.needed_text("place")?.to_owned();
        Ok(SettingPlace { name, place })
    });
    fixed.collect()
}
