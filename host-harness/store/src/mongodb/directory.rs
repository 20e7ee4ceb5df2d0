//! Accounts, page by page, by Rocket.Chat's own index of usernames.

use super::account::{ACCOUNTS, USERS, account_in, fields_with_tokens};
use super::database::{Look, Transaction};
use super::failure::Failure;
use super::field::{Fields, id_of};
use super::read::{PERMISSIONS, granted_to};
use super::settings;
use crate::directory::{leave_out, usernames_after};
use crate::seal::Seal;
use chat_domain::directory::{AccountFilter, AccountPage, Place, Search};
use mongodb::bson::{Document, doc};
use std::collections::HashMap;

/// As [`Store::accounts`](crate::Store::accounts). Usernames are in the order of their bytes.
pub(super) async fn accounts(
    transaction: &mut Transaction,
    seal: &Seal,
    workspace: &str,
    filter: &AccountFilter,
) -> Result<AccountPage, Failure> {
    let Some(after) = usernames_after(filter) else {
        return Ok(AccountPage::default());
    };
    let settings = settings::read(transaction, seal, workspace).await?;
    let permissions = transaction.find(PERMISSIONS, Look::default()).await?;
    // Nothing but a text comes after a text.
    let mut asked = doc! { "username": { "$gt": after } };
    if let Some(search) = &filter.search {
        asked.insert("$or", holds(search));
    }
    if filter.lock_noted {
        asked.insert("_id", doc! { "$in": with_a_lock(transaction).await? });
    }
    let look = Look::at(asked)
        .only(fields_with_tokens())
        .sorted(doc! { "username": 1 })
        .first(i64::from(filter.most) + 1);
    let mut users = transaction.find(USERS, look).await?;
    let more = users.len() > filter.most as usize;
    users.truncate(filter.most as usize);
    let ids: Vec<_> = users.iter().map(id_of).collect();
    let own = Look::at(doc! { "_id": { "$in": ids } });
    let own = transaction.find(ACCOUNTS, own).await?;
    let own: HashMap<_, _> = own.iter().map(|own| (id_of(own), own)).collect();
    let mut page = AccountPage::default();
    for user in &users {
        let id = id_of(user);
        let account = account_in(seal, workspace, &settings, user, own.get(&id).copied());
        let mut profile = match account {
            Ok(account) => account.profile,
            Err(error) => {
                leave_out(error);
                continue;
            }
        };
        profile.permissions = granted_to(&profile.roles, &permissions)?;
        page.profiles.push(profile);
    }
    if let Some(last) = users.last().filter(|_| more) {
        let id = id_of(last);
        let username = Fields::of(last, USERS, &id).text("username")?;
        page.next = username.map(|username| Place::Username(username.to_owned()));
    }
    Ok(page)
}

/// Accounts in whose username, name or address it is.
fn holds(search: &Search) -> Vec<Document> {
    let part = doc! { "$regex": escaped(&search.address), "$options": "i" };
    let fields = ["username", "name", "emails.address"];
    fields.map(|field| doc! { field: part.clone() }).into()
}

/// A regular expression that finds this text.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The ids of accounts of which a lock is noted.
async fn with_a_lock(transaction: &mut Transaction) -> Result<Vec<String>, Failure> {
    let locks = Look::at(doc! { "failures.locked_until": { "$exists": true } });
    let locks = transaction.find(ACCOUNTS, locks.only(doc! { "_id": 1 }));
    Ok(locks.await?.iter().map(id_of).collect())
}
