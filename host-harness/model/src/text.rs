//! Changes and accounts as text, secrets included, so that whole lists of them can be
//! compared: what a rule forgets to change is seen.

use crate::acme::{CODES, here, now};
use chat_domain::account::{Email, MailedCode, PendingKey, Profile, Token, TotpFactor};
use chat_domain::attempts::Failures;
use chat_domain::audit::AuditRecord;
use chat_domain::dossier::Dossier;
use chat_domain::operator::OPERATOR;
use chat_domain::order::{Change, Tokens};
use chat_domain::outbox::{NextTry, Post};
use chat_domain::retention::Retention;
use chat_domain::settings::SETTINGS;
use chat_domain::time::Timestamp;
use chat_domain::totp::{TotpKey, code_hash};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::LazyLock;

/// A line for each.
pub fn lines(changes: &[Change]) -> String {
    changes.iter().map(|one| change(one) + "\n").collect()
}

fn change(change: &Change) -> String {
    match change {
        Change::CreateWorkspace(new) => format!("create-workspace {}", new.id),
        Change::SetSetting { name, value } => {
            format!("set-setting {name} {}", or_none(value.as_ref().map(shown)))
        }
        Change::AddRole { role } => format!("add-role {role}"),
        Change::AllowPermission { role, permission } => format!("allow {role} {permission}"),
        Change::DenyPermission { role, permission } => format!("deny {role} {permission}"),
        Change::AddUser(new) => {
            let added = Profile::from((**new).clone());
            let fields = fields(&added).into_iter();
            let fields: Vec<_> = fields
                .map(|(name, text)| format!("{name}={text}"))
                .collect();
            format!("add-user {} {}", new.id, fields.join(" "))
        }
        Change::SetPassword { user, hash } => format!("set-password {user} {}", shown(hash)),
        Change::SetDeactivated { user, deactivated } => {
            format!("set-deactivated {user} {deactivated}")
        }
        Change::GiveRole { user, role } => format!("give-role {user} {role}"),
        Change::TakeRole { user, role } => format!("take-role {user} {role}"),
        Change::AddToken { user, token: added } => format!("add-token {user} {}", token(added)),
        Change::EndTokens { user, which } => format!("end-tokens {user} {}", tokens(which)),
        Change::Enrol { user, factor: new } => format!("enrol {user} {}", factor(new)),
        Change::RemoveFactor { user } => format!("remove-factor {user}"),
        Change::SpendStep { user, step } => format!("spend-step {user} {step}"),
        Change::SpendBackupCode { user, hash } => {
            format!("spend-backup-code {user} {}", code(hash))
        }
        Change::ReplaceBackupCodes { user, hashes } => {
            format!("replace-backup-codes {user} {}", codes(hashes))
        }
        Change::SetPendingKey { user, pending: key } => {
            format!("set-pending-key {user} {}", pending(key))
        }
        Change::RemovePendingKey { user } => format!("remove-pending-key {user}"),
        Change::SetMailedCode { user, code } => format!("set-mailed-code {user} {}", mailed(code)),
        Change::RemoveMailedCode { user } => format!("remove-mailed-code {user}"),
        Change::SetFailures { user, failures: of } => {
            format!("set-failures {user} {}", failures(of))
        }
        Change::QueueMail(post) => format!("mail {}", letter(post)),
        Change::RemoveCodeMails { user } => format!("remove-code-mails {user}"),
        Change::PostponeMail {
            id,
            next,
            problem,
            doubtful,
        } => {
            let next = match next {
                NextTry::At(next) => moment(*next),
                NextTry::Never => "never".to_owned(),
            };
            let problem = or_none(problem.as_ref());
            format!("postpone-mail {id} to {next} {doubtful} {problem}")
        }
        Change::FixSettings(fixed) => {
            let fixed: Vec<_> = fixed
                .iter()
                .map(|fixed| format!("{} by {}", fixed.name, fixed.place))
                .collect();
            format!("fix-settings {}", fixed.join(", "))
        }
        Change::Prune(Retention {
            records_before,
            dead_letters_before,
            sessions_ended_before,
        }) => format!(
            "prune records {} dead letters {} sessions {}",
            or_none(records_before.map(moment)),
            or_none(dead_letters_before.map(moment)),
            moment(*sessions_ended_before)
        ),
        Change::RetryMail { id, due, expires } => {
            format!(
                "retry-mail {id} at {} until {}",
                moment(*due),
                moment(*expires)
            )
        }
        Change::RemoveMail { id } => format!("remove-mail {id}"),
        Change::Record(of) => format!("record {}", record(of)),
    }
}

/// All that is known of an account, by the name of the field.
pub fn fields(profile: &Profile) -> BTreeMap<&'static str, String> {
    let user = &profile.user;
    let sorted = |mut texts: Vec<String>| {
        texts.sort();
        texts.join(",")
    };
    BTreeMap::from([
        ("id", user.id.clone()),
        ("username", user.username.clone()),
        ("federated", user.federated.to_string()),
        ("deactivated", profile.deactivated.to_string()),
        (
            "password",
            or_none(profile.password_hash.as_ref().map(shown)),
        ),
        ("email-two-factor", profile.email_two_factor.to_string()),
        ("factor", or_none(profile.factor.as_ref().map(factor))),
        (
            "pending",
            or_none(profile.pending_key.as_ref().map(pending)),
        ),
        ("mailed", or_none(profile.mailed_code.as_ref().map(mailed))),
        ("failures", failures(&profile.failures)),
        ("emails", sorted(profile.emails.iter().map(email).collect())),
        ("roles", sorted(profile.roles.clone())),
        ("tokens", sorted(profile.tokens.iter().map(token).collect())),
    ])
}

/// All that is known of an account, what follows from it included.
pub fn account(profile: &Profile) -> String {
    let mut permissions = profile.permissions.clone();
    permissions.sort();
    permissions.dedup();
    let fields = fields(profile).into_iter();
    let fields: Vec<_> = fields
        .map(|(name, text)| format!("{name}={text}"))
        .collect();
    let receives_codes = profile.receives_codes;
    format!(
        "{} receives-codes={receives_codes} may={permissions:?}",
        fields.join(" ")
    )
}

/// All that is known, lists in an order of their own where a store gives them in any.
pub fn dossier(dossier: &Dossier) -> String {
    let Dossier {
        exists,
        settings,
        token: known,
        accounts,
        role_names,
        role,
        administrators,
        mail,
        mail_holder,
        fixed_settings,
        oldest,
    } = dossier;
    let settings = settings.as_ref().map(|settings| {
        let values = SETTINGS
            .iter()
            .map(|setting| shown(&setting.value(settings)));
        values.collect::<Vec<_>>().join("|")
    });
    let accounts: Vec<_> = accounts
        .iter()
        .map(|one| or_none(one.as_ref().map(account)))
        .collect();
    let mut administrators: Vec<_> = administrators.iter().map(|a| format!("{a:?}")).collect();
    administrators.sort();
    format!(
        "exists={exists} settings={} token={} accounts={accounts:?} roles={role_names:?} {role:?} \
         administrators={administrators:?} mail={mail:?} for={} fixed={fixed_settings:?} {oldest:?}",
        or_none(settings),
        or_none(known.as_ref().map(token)),
        or_none(mail_holder.as_ref().map(account)),
    )
}

/// A moment, by its distance from [`now`].
pub fn moment(moment: Timestamp) -> String {
    match moment.millis() - now().millis() {
        0 => "now".to_owned(),
        millis if millis % 1000 == 0 => format!("{:+}s", millis / 1000),
        millis => format!("{millis:+}ms"),
    }
}

/// A record of the tests' one request.
///
/// # Panics
///
/// Where it is another's.
pub fn record(record: &AuditRecord) -> String {
    let AuditRecord {
        at,
        workspace,
        request_id,
        action,
        caller,
        target,
        decision,
        reason,
        source,
        proof,
        told,
        calls,
    } = record;
    assert_eq!(source.is_none(), caller == OPERATOR);
    assert!(source.as_ref().is_none_or(|source| *source == here()));
    assert_eq!(request_id, "request");
    let place = match workspace.as_str() {
        "acme" => String::new(),
        other => format!("in {other} "),
    };
    let calls = match calls {
        1 => String::new(),
        calls => format!(" of {calls}"),
    };
    let (target, reason) = (or_none(target.as_ref()), or_none(reason.as_ref()));
    let (action, decision, at) = (action.name(), decision.name(), moment(*at));
    let proof = proof.map_or_else(String::new, |proof| format!(" by {proof}"));
    let told = told.map_or_else(String::new, |told| format!(" told {told}"));
    format!("{place}{caller} {action} {target} {decision} {reason} {at}{proof}{told}{calls}")
}

fn letter(post: &Post) -> String {
    let Post {
        user: _,
        recipient,
        subject,
        body,
        holds_code,
        queued,
        expires,
    } = post;
    let (queued, expires) = (moment(*queued), moment(*expires));
    let kind = if *holds_code { "code" } else { "notice" };
    let first = body.expose_secret().lines().next().unwrap_or_default();
    format!("{recipient} {kind} {queued} until {expires} {subject:?} {first:?}")
}

fn tokens(which: &Tokens) -> String {
    match which {
        Tokens::All => "all".to_owned(),
        Tokens::Sessions { but } => format!("sessions but {}", or_none(but.as_ref())),
        Tokens::Ended { by } => format!("ended by {}", moment(*by)),
        Tokens::Named(name) => format!("named {name}"),
        Tokens::Hash(hash) => format!("hash {hash}"),
    }
}

fn token(token: &Token) -> String {
    let Token {
        hash,
        expires,
        name,
        bypass_two_factor,
    } = token;
    let expires = or_none(expires.map(moment));
    let bypass = if *bypass_two_factor { "/bypass" } else { "" };
    format!("{hash}/{expires}/{}{bypass}", or_none(name.as_ref()))
}

/// The key, the step that was used last, and the codes.
pub fn factor(factor: &TotpFactor) -> String {
    let TotpFactor {
        key: secret,
        last_step,
        backup_code_hashes,
        spent_code_hashes,
    } = factor;
    let (last, unspent) = (or_none(*last_step), codes(backup_code_hashes));
    let spent = match codes(spent_code_hashes) {
        none if none.is_empty() => none,
        spent => format!(" spent {spent}"),
    };
    format!("{}/{last}/[{unspent}{spent}]", key(secret))
}

fn pending(pending: &PendingKey) -> String {
    format!("{}/{}", key(&pending.key), moment(pending.expires))
}

fn mailed(mailed: &MailedCode) -> String {
    let MailedCode {
        hash,
        issued,
        expires,
        failures,
        mails,
    } = mailed;
    let (issued, expires) = (moment(*issued), moment(*expires));
    format!("{}/{issued}/{expires}/{failures}/{mails}", code(hash))
}

fn failures(failures: &Failures) -> String {
    let Failures {
        count,
        locked_until,
        told,
    } = failures;
    let told = match told {
        0 => String::new(),
        told => format!("/told {told}"),
    };
    format!("{count}/{}{told}", or_none(locked_until.map(moment)))
}

fn email(email: &Email) -> String {
    let verified = if email.verified { "" } else { "?" };
    format!("{}{verified}", email.address)
}

fn key(key: &TotpKey) -> String {
    String::from_utf8_lossy(key.expose()).into_owned()
}

fn codes(hashes: &[String]) -> String {
    let mut codes: Vec<_> = hashes.iter().map(|hash| code(hash)).collect();
    codes.sort();
    codes.join(" ")
}

/// The code, where it is one that the tests know.
fn code(hash: &str) -> String {
    static KNOWN: LazyLock<BTreeMap<String, &str>> =
        LazyLock::new(|| CODES.map(|code| (code_hash(code), code)).into());
    KNOWN.get(hash).copied().unwrap_or(hash).to_owned()
}

fn shown(secret: &SecretString) -> String {
    secret.expose_secret().to_owned()
}

fn or_none<T: Display>(text: Option<T>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}
