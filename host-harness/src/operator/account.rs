//! What is told of an account, and of what a command changed about it.

use super::{Report, count};
use chat_domain::account::{Account, Email};
use chat_domain::attempts::Lock;
use chat_domain::operator::Changed;
use serde_json::{Value, json};

/// What a command did to an account: `text`, of its username, and for scripts the
/// account as it is now.
pub(super) fn changed_report(changed: &Changed, text: impl Fn(&str) -> String) -> Report {
    let mut json = described(&changed.account);
    if let Some(members) = json.as_object_mut() {
        members.insert("endedTokens".to_owned(), changed.ended_tokens.into());
    }
    Report {
        text: text(&changed.account.user.username),
        json,
    }
}

/// For example `2 sessions are ended`.
pub(super) fn ended(number: usize, noun: &str) -> String {
    let verb = if number == 1 { "is" } else { "are" };
    format!("{} {verb} ended", count(number, noun))
}

/// Whether the holder hears of what was done.
pub(super) fn told(account: &Account) -> &'static str {
    match account.emails.iter().any(|email| email.verified) {
        true => "The holder is told by e-mail.",
        false => "No address is verified: nobody can be told.",
    }
}

/// The account as scripts see it.
pub(super) fn described(account: &Account) -> Value {
    let email = |email: &Email| json!({"address": email.address, "verified": email.verified});
    json!({
        "id": account.user.id,
        "username": account.user.username,
        "deactivated": account.deactivated,
        "federated": account.user.federated,
        "roles": account.roles,
        "emails": account.emails.iter().map(email).collect::<Value>(),
        "hasPassword": account.has_password,
        "hasTotp": account.backup_codes.is_some(),
        "backupCodesLeft": account.backup_codes,
        "emailTwoFactor": account.email_two_factor,
        "failures": account.failures,
        "locked": account.lock.is_some(),
        "lockedUntil": account.lock.and_then(Lock::ends).map(|until| until.to_string()),
    })
}
