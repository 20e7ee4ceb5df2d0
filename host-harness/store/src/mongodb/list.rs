//! Lists for operators.

use super::account::{ACCOUNTS, USERS, account_in, failures_in, fields, with_lists_of};
use super::audit_log;
use super::database::{Look, Transaction};
use super::failure::Failure;
use super::field::{Fields, id_of};
use super::outbox::OUTBOX;
use super::read::{PERMISSIONS, ROLES, granted_to, roles_of_the_workspace};
use super::settings;
use crate::convention::{NEVER, changed_settings};
use crate::seal::Seal;
use chat_domain::account::{Profile, username_key};
use chat_domain::audit::{RecordFilter, StoredRecord};
use chat_domain::clock_fault::Horizon;
use chat_domain::dossier::Subject;
use chat_domain::operator::{Role, WorkspaceSummary};
use chat_domain::time::Timestamp;
use mongodb::bson::{Document, doc};
use std::collections::{HashMap, HashSet};

/// The workspace that there is.
pub(super) async fn workspace(
    transaction: &mut Transaction,
    seal: &Seal,
    workspace: &str,
    now: Timestamp,
) -> Result<WorkspaceSummary, Failure> {
    let settings = settings::read(transaction, seal, workspace).await?;
    let locks = Look::at(doc! { "failures.locked_until": { "$exists": true } });
    let mut locked = 0;
    for document in transaction.find(ACCOUNTS, locks).await? {
        let id = id_of(&document);
        let own = Fields::of(&document, ACCOUNTS, &id);
        if let Some(failures) = own.document("failures")? {
            let failures = failures_in(own.within(failures, "failures."))?;
            locked += u32::from(failures.why_locked(&settings, now).is_some());
        }
    }
    let inactive = doc! { "active": { "$ne": true } };
    let enrolled = doc! { "services.totp.enabled": true };
    Ok(WorkspaceSummary {
        id: workspace.to_owned(),
        users: transaction.count(USERS, doc! {}).await?,
        deactivated: transaction.count(USERS, inactive).await?,
        enrolled: transaction.count(USERS, enrolled).await?,
        locked,
        roles: role_names(transaction).await?,
        changed_settings: changed_settings(&settings),
    })
}

/// The names of all roles, sorted.
pub(super) async fn role_names(transaction: &mut Transaction) -> Result<Vec<String>, Failure> {
    let all = Look::at(roles_of_the_workspace()).only(doc! { "_id": 1 });
    let roles = transaction
        .find(ROLES, all.sorted(doc! { "_id": 1 }))
        .await?;
    Ok(roles.iter().map(id_of).collect())
}

/// Roles with permissions and members, sorted, or the one of a name.
pub(super) async fn roles(
    transaction: &mut Transaction,
    name: Option<&str>,
) -> Result<Vec<Role>, Failure> {
    let mut names = role_names(transaction).await?;
    names.retain(|role| name.is_none_or(|name| name == role));
    let of_any = || doc! { "roles": { "$in": &names } };
    let permissions = transaction.find(PERMISSIONS, Look::at(of_any())).await?;
    let members = Look::at(of_any()).only(doc! { "username": 1, "roles": 1 });
    let members = members_of(&transaction.find(USERS, members).await?)?;
    let roles = names.iter().map(|name| {
        let mut granted = granted_to(std::slice::from_ref(name), &permissions)?;
        granted.dedup();
        Ok(Role {
            name: name.clone(),
            permissions: granted,
            members: members.get(name).cloned().unwrap_or_default(),
        })
    });
    roles.collect()
}

/// The usernames of those who have each role, sorted.
fn members_of(users: &[Document]) -> Result<HashMap<String, Vec<String>>, Failure> {
    let mut members = HashMap::<_, Vec<String>>::new();
    for user in users {
        let id = id_of(user);
        let user = Fields::of(user, USERS, &id);
        let username = user.text("username")?.unwrap_or_default();
        for role in user.texts("roles")? {
            members.entry(role).or_default().push(username.to_owned());
        }
    }
    for names in members.values_mut() {
        names.sort_by_cached_key(|name| username_key(name));
    }
    Ok(members)
}

/// All accounts, with all lists but tokens, ordered by username.
pub(super) async fn profiles(
    transaction: &mut Transaction,
    seal: &Seal,
    workspace: &str,
) -> Result<Vec<Profile>, Failure> {
    let settings = settings::read(transaction, seal, workspace).await?;
    let permissions = transaction.find(PERMISSIONS, Look::default()).await?;
    let own = transaction.find(ACCOUNTS, Look::default()).await?;
    let own: HashMap<_, _> = own.iter().map(|own| (id_of(own), own)).collect();
    let mut profiles = Vec::new();
    for user in transaction
        .find(USERS, Look::default().only(fields()))
        .await?
    {
        let id = id_of(&user);
        let own = own.get(&id).copied();
        let account = account_in(seal, workspace, &settings, &user, own)?;
        let mut profile = with_lists_of(account.profile, &Subject::id(&id).as_seen());
        profile.permissions = granted_to(&profile.roles, &permissions)?;
        profiles.push(profile);
    }
    profiles.sort_by_cached_key(|profile| username_key(&profile.user.username));
    Ok(profiles)
}

/// The records that the filter finds, oldest first.
pub(super) async fn records(
    transaction: &mut Transaction,
    filter: &RecordFilter,
) -> Result<Vec<StoredRecord>, Failure> {
    let mut found = audit_log::records(transaction, filter).await?;
    found.reverse();
    named(transaction, &found).await
}

/// These records, with the names that accounts have by now.
pub(super) async fn named(
    transaction: &mut Transaction,
    records: &[Document],
) -> Result<Vec<StoredRecord>, Failure> {
    let records: Result<Vec<_>, _> = records.iter().map(audit_log::record_in).collect();
    let mut records = records?;
    let callers = records.iter().map(|record| &record.caller);
    let targets = records.iter().filter_map(|record| record.target.as_ref());
    let ids: HashSet<_> = callers.chain(targets).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let users = Look::at(doc! { "_id": { "$in": ids } }).only(doc! { "username": 1 });
    let mut names = HashMap::new();
    for user in transaction.find(USERS, users).await? {
        let id = id_of(&user);
        if let Some(name) = Fields::of(&user, USERS, &id).text("username")? {
            names.insert(id.clone(), name.to_owned());
        }
    }
    for record in &mut records {
        record.caller_name = names.get(&record.caller).cloned();
        let target = record.target.as_ref();
        record.target_name = target.and_then(|target| names.get(target)).cloned();
    }
    Ok(records)
}

/// As [`Store::clock_faults`](crate::Store::clock_faults).
pub(super) async fn clock_faults(
    transaction: &mut Transaction,
    horizon: Horizon,
) -> Result<u32, Failure> {
    let step = i64::try_from(horizon.step).unwrap_or(i64::MAX);
    let mut faults = 0;
    for (name, latest) in [
        ("failures.locked_until", horizon.lock.millis()),
        ("code.issued", horizon.code.millis()),
        ("pending.until", horizon.pending_key.millis()),
        ("last_step", step),
    ] {
        let beyond = doc! { name: { "$gt": latest } };
        faults += transaction.count(ACCOUNTS, beyond).await?;
    }
    let put_off = doc! { "next_try": { "$gt": horizon.mail.millis(), "$lt": NEVER } };
    Ok(faults + transaction.count(OUTBOX, put_off).await?)
}
