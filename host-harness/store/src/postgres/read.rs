//! What the tables say of one workspace. A question is as many queries, none of which waits
//! for what another finds: all are one trip.

use super::failure::Failure;
use super::outbox;
use super::query::{Query, Value, count, count_if_any, get, list, moment, moment_if_any, query};
use crate::convention::{NEVER, opened_key, restore};
use crate::seal::{BACKUP_CODE, Column, EMAIL_CODE, PENDING_KEY, Seal, TOTP_KEY};
use chat_domain::account::{
    EDIT_OTHER_USER_TOTP, Email, MailedCode, PendingKey, Profile, Selector, Token, TotpFactor,
    User, skeletons, username_key,
};
use chat_domain::attempts::Failures;
use chat_domain::dossier::{Administrator, Dossier, Question, Subject};
use chat_domain::operator::{Role, SettingPlace};
use chat_domain::retention::Oldest;
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::Row;

/// What becomes of what is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It is known as of one moment.
    Look,
    /// It is changed: nobody else changes it before that. Who has the workspace's lock has
    /// all but its mails, which whoever delivers them claims.
    Change,
}

/// Whether there is such a workspace.
const EXISTENCE: &str = "SELECT 1 FROM workspace WHERE id = $1";

const SETTINGS: &str = "
    SELECT name, value FROM workspace LEFT JOIN setting ON setting.workspace = workspace.id
    WHERE workspace.id = $1";

const TOKEN: &str = r#"
    SELECT "user", hash, expires, name, bypass_two_factor FROM login_token
    WHERE workspace = $1 AND hash = $2"#;

pub(super) const ROLE_NAMES: &str = "SELECT name FROM role WHERE workspace = $1 ORDER BY name";

/// Roles with permissions and members, or the one of a name.
pub(super) const ROLES: &str = r#"
    SELECT name,
           ARRAY(SELECT permission FROM role_permission
                 WHERE role_permission.workspace = $1 AND role_permission.role = name
                 ORDER BY permission),
           ARRAY(SELECT username
                 FROM user_role JOIN "user" ON "user".workspace = user_role.workspace
                                           AND "user".id = user_role."user"
                 WHERE user_role.workspace = $1 AND user_role.role = name
                 ORDER BY username_key)
    FROM role WHERE workspace = $1 AND ($2::TEXT IS NULL OR name = $2) ORDER BY name"#;

const ADMINISTRATORS: &str = r#"
    SELECT "user".id, user_role.role
    FROM "user" JOIN user_role ON user_role.workspace = "user".workspace
                              AND user_role."user" = "user".id
                JOIN role_permission ON role_permission.workspace = user_role.workspace
                                    AND role_permission.role = user_role.role
    WHERE "user".workspace = $1 AND permission = $2 AND NOT deactivated AND NOT federated
    ORDER BY "user".id, user_role.role"#;

const FIXED_SETTINGS: &str =
    "SELECT name, place FROM fixed_setting WHERE workspace = $1 ORDER BY name";

const OLDEST: &str = "
    SELECT (SELECT min(at) FROM audit WHERE workspace = $1),
           (SELECT min(queued) FROM outbox WHERE workspace = $1 AND next_try = $2),
           (SELECT min(expires) FROM login_token WHERE workspace = $1)";

/// Accounts, as [`profile_in`] reads them: with their addresses where $2, roles where $3,
/// backup codes where $4, and tokens where $5. A condition follows.
macro_rules! profiles_where {
    ($condition:literal) => {
        concat!(
            r#"
    SELECT id, username, federated, deactivated, password_hash, email_two_factor,
           email_two_factor AND EXISTS
               (SELECT 1 FROM email
                WHERE email.workspace = $1 AND email."user" = id AND email.verified),
           totp.key, totp.last_step, pending_totp.key, pending_totp.expires,
           email_code.hash, email_code.expires, email_code.failures, email_code.issued,
           email_code.mails, count, locked_until, told,
           addresses.addresses, addresses.verified, roles.names, permissions.names,
           codes.hashes, codes.spent,
           tokens.hashes, tokens.expires, tokens.names, tokens.bypass
    FROM "user"
    LEFT JOIN totp ON totp.workspace = $1 AND totp."user" = id
    LEFT JOIN pending_totp ON pending_totp.workspace = $1 AND pending_totp."user" = id
    LEFT JOIN email_code ON email_code.workspace = $1 AND email_code."user" = id
    LEFT JOIN failed_attempt ON failed_attempt.workspace = $1 AND failed_attempt."user" = id
    CROSS JOIN LATERAL
        (SELECT array_agg(address ORDER BY verified DESC, address) AS addresses,
                array_agg(verified ORDER BY verified DESC, address) AS verified
         FROM email WHERE $2 AND email.workspace = $1 AND email."user" = id) AS addresses
    CROSS JOIN LATERAL
        (SELECT array_agg(role ORDER BY role) AS names
         FROM user_role WHERE $3 AND user_role.workspace = $1 AND user_role."user" = id) AS roles
    CROSS JOIN LATERAL
        (SELECT array_agg(permission ORDER BY role, permission) AS names
         FROM user_role JOIN role_permission USING (workspace, role)
         WHERE $3 AND workspace = $1 AND user_role."user" = id) AS permissions
    CROSS JOIN LATERAL
        (SELECT array_agg(hash ORDER BY hash) AS hashes, array_agg(spent ORDER BY hash) AS spent
         FROM backup_code
         WHERE $4 AND backup_code.workspace = $1 AND backup_code."user" = id) AS codes
    CROSS JOIN LATERAL
        (SELECT array_agg(hash ORDER BY hash) AS hashes,
                array_agg(login_token.expires ORDER BY hash) AS expires,
                array_agg(name ORDER BY hash) AS names,
                array_agg(bypass_two_factor ORDER BY hash) AS bypass
         FROM login_token
         WHERE $5 AND login_token.workspace = $1 AND login_token."user" = id) AS tokens
    WHERE "user".workspace = $1 AND "#,
            $condition
        )
    };
}

pub(super) const ALL_PROFILES: &str = profiles_where!("TRUE ORDER BY username_key");

/// In the order of the ids.
const PROFILES_OF: &str = profiles_where!("id = ANY ($6) ORDER BY array_position($6, id)");

const BY_ID: &str = profiles_where!("id = $6");

/// Older versions compared otherwise: an account whose name has become another's is still
/// found, and first.
const BY_USERNAME: &str = profiles_where!(
    r#"id = (SELECT id FROM "user" WHERE workspace = $1 AND username_key IN ($6, $7)
             ORDER BY (username_key = $6) DESC LIMIT 1)"#
);

/// As it is compared before as it is written. `coalesce` would keep the index from being used:
/// row-level security trusts it as little as `lower`.
const BY_SKELETON: &str = profiles_where!(
    r#"id = (SELECT id FROM
                 ((SELECT id, 1 AS place FROM "user"
                   WHERE workspace = $1 AND skeleton = $6 LIMIT 1)
                  UNION ALL
                  (SELECT id, 2 FROM "user"
                   WHERE workspace = $1 AND skeleton_as_written = $7 LIMIT 1)) AS alike
             ORDER BY place LIMIT 1)"#
);

const BY_ADDRESS: &str = profiles_where!("id = account_of_address($6)");

const BY_TOKEN: &str =
    profiles_where!(r#"id = (SELECT "user" FROM login_token WHERE workspace = $1 AND hash = $6)"#);

const BY_MAIL: &str =
    profiles_where!(r#"id = (SELECT "user" FROM outbox WHERE workspace = $1 AND outbox.id = $6)"#);

/// What `question` is asked as.
pub(super) fn queries(question: &Question, purpose: Purpose) -> Vec<Query> {
    let workspace = || Value::key(&question.workspace);
    let mut queries = Vec::new();
    if question.existence {
        queries.push(query!(EXISTENCE, workspace()));
    }
    if question.settings {
        queries.push(query!(SETTINGS, workspace()));
    }
    if let Some(hash) = &question.token_hash {
        queries.push(query!(TOKEN, workspace(), Value::key(hash)));
    }
    for subject in &question.accounts {
        queries.push(profile_query(question, subject));
    }
    if question.role_names {
        queries.push(query!(ROLE_NAMES, workspace()));
    }
    if let Some(name) = &question.role {
        queries.push(query!(ROLES, workspace(), name));
    }
    if question.administrators {
        queries.push(query!(ADMINISTRATORS, workspace(), EDIT_OTHER_USER_TOTP));
    }
    if let Some(id) = question.mail {
        let mail = match purpose {
            Purpose::Look => outbox::MAIL,
            Purpose::Change => outbox::MAIL_TO_CHANGE,
        };
        queries.push(query!(mail, workspace(), id));
        queries.push(profile_by(
            BY_MAIL,
            workspace(),
            [false; 4],
            vec![id.into()],
        ));
    }
    if question.fixed_settings {
        queries.push(query!(FIXED_SETTINGS, workspace()));
    }
    if question.oldest {
        queries.push(query!(OLDEST, workspace(), NEVER));
    }
    queries
}

/// The answer to a question, and the backup codes in it as they are kept.
#[derive(Default)]
pub(super) struct Read {
    pub(super) dossier: Dossier,
    pub(super) codes: Vec<HeldCode>,
}

/// A backup code, and as what its hash is kept: sealed, no other text is like it.
pub(super) struct HeldCode {
    pub(super) user: String,
    pub(super) hash: String,
    pub(super) text: String,
}

/// The answer to `question`, which is what its queries found, in their order.
pub(super) fn dossier(
    seal: &Seal,
    question: &Question,
    found: Vec<Vec<Row>>,
) -> Result<Read, Failure> {
    let workspace = question.workspace.as_str();
    let mut found = found.into_iter();
    let mut next = || found.next().unwrap_or_default();
    let mut read = Read::default();
    let Read { dossier, codes } = &mut read;
    if question.existence {
        dossier.exists = !next().is_empty();
    }
    if question.settings {
        dossier.settings = settings_in(seal, workspace, &next())?;
    }
    if question.token_hash.is_some() {
        let first = question.accounts.first();
        match held_token(&next(), first)? {
            Some(token) => dossier.token = Some(token),
            None => return Ok(read),
        }
    }
    for _ in &question.accounts {
        let profile = next().first().map(|row| profile_in(seal, workspace, row));
        let profile = profile.transpose()?.map(|(profile, held)| {
            codes.extend(held);
            profile
        });
        dossier.accounts.push(profile);
    }
    if question.role_names {
        let names = next();
        let names = names.iter().map(|row| get(row, 0));
        dossier.role_names = names.collect::<Result<_, _>>()?;
    }
    if question.role.is_some() {
        dossier.role = next().first().map(role_in).transpose()?;
    }
    if question.administrators {
        let rows = next();
        let administrators = rows.iter().map(|row| {
            Ok(Administrator {
                user: get(row, 0)?,
                role: get(row, 1)?,
            })
        });
        dossier.administrators = administrators.collect::<Result<_, Failure>>()?;
    }
    if question.mail.is_some() {
        dossier.mail = next().first().map(outbox::mail_in).transpose()?;
        let holder = next().first().map(|row| profile_in(seal, workspace, row));
        dossier.mail_holder = holder.transpose()?.map(|(holder, _)| holder);
    }
    if question.fixed_settings {
        let rows = next();
        let fixed = rows.iter().map(|row| setting_place_in(row, 0));
        dossier.fixed_settings = fixed.collect::<Result<_, _>>()?;
    }
    if question.oldest {
        dossier.oldest = next()
            .first()
            .map(oldest_in)
            .transpose()?
            .unwrap_or_default();
    }
    Ok(read)
}

/// As [`ALL_PROFILES`]: with all lists but tokens.
pub(super) fn all_profiles(workspace: &str) -> Query {
    let lists = [true, true, true, false];
    profile_by(ALL_PROFILES, Value::key(workspace), lists, Vec::new())
}

/// The accounts with these ids, in this order, with all lists.
pub(super) fn profiles_of(workspace: &str, ids: &[String]) -> Query {
    let ids = vec![ids.to_vec().into()];
    profile_by(PROFILES_OF, Value::key(workspace), [true; 4], ids)
}

fn profile_query(question: &Question, subject: &Subject) -> Query {
    let (sql, keys) = match &subject.account {
        Selector::Id(id) => (BY_ID, vec![Value::key(id)]),
        Selector::Username(username) => {
            let names = [username.to_lowercase(), username_key(username)];
            (BY_USERNAME, names.map(|name| Value::key(&name)).into())
        }
        Selector::LookAlike(username) => {
            let skeletons = skeletons(username).map(|skeleton| Value::key(&skeleton));
            (BY_SKELETON, skeletons.into())
        }
        Selector::Address(address) => (BY_ADDRESS, vec![Value::key(&address.to_ascii_lowercase())]),
        Selector::TokenHolder => {
            let hash = question.token_hash.as_deref();
            (BY_TOKEN, vec![hash.map_or(Value::Text(None), Value::key)])
        }
    };
    let lists = [
        subject.emails,
        subject.roles,
        subject.backup_codes,
        subject.tokens,
    ];
    profile_by(sql, Value::key(&question.workspace), lists, keys)
}

fn profile_by(sql: &'static str, workspace: Value, lists: [bool; 4], keys: Vec<Value>) -> Query {
    let mut values = vec![workspace];
    values.extend(lists.map(Value::from));
    values.extend(keys);
    Query { sql, values }
}

fn settings_in(seal: &Seal, workspace: &str, rows: &[Row]) -> Result<Option<Settings>, Failure> {
    let mut settings = None;
    for row in rows {
        let settings = settings.get_or_insert_with(Settings::default);
        restore_in(seal, workspace, row, 0, settings)?;
    }
    Ok(settings)
}

/// `name, value`, from this column on; both may be missing.
pub(super) fn restore_in(
    seal: &Seal,
    workspace: &str,
    row: &Row,
    column: usize,
    settings: &mut Settings,
) -> Result<(), Failure> {
    let name: Option<String> = get(row, column)?;
    let value: Option<String> = get(row, column + 1)?;
    match name.zip(value) {
        Some((name, value)) => Ok(restore(seal, settings, workspace, &name, &value)?),
        None => Ok(()),
    }
}

/// The token, if it is the first's that is asked about.
fn held_token(rows: &[Row], first: Option<&Subject>) -> Result<Option<Token>, Failure> {
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let holder: String = get(row, 0)?;
    let is_firsts = match first.map(|subject| &subject.account) {
        Some(Selector::Id(id)) => *id == holder,
        _ => true,
    };
    let token = Token {
        hash: get(row, 1)?,
        expires: moment_if_any(row, 2)?,
        name: get(row, 3)?,
        bypass_two_factor: get(row, 4)?,
    };
    Ok(is_firsts.then_some(token))
}

/// An account, and its backup codes as they are kept.
pub(super) fn profile_in(
    seal: &Seal,
    workspace: &str,
    row: &Row,
) -> Result<(Profile, Vec<HeldCode>), Failure> {
    let id: String = get(row, 0)?;
    let (factor, codes) = factor_in(seal, workspace, &id, row)?;
    let pending_key = pending_key_in(seal, &PENDING_KEY.of(workspace, &id), row)?;
    let mailed_code = mailed_code_in(seal, &EMAIL_CODE.of(workspace, &id), row)?;
    let profile = Profile {
        user: User {
            id,
            username: get(row, 1)?,
            name: None,
            federated: get(row, 2)?,
        },
        deactivated: get(row, 3)?,
        password_hash: get::<Option<String>>(row, 4)?.map(SecretString::from),
        email_two_factor: get(row, 5)?,
        receives_codes: get(row, 6)?,
        factor,
        pending_key,
        mailed_code,
        failures: Failures {
            count: count_if_any(row, 16)?.unwrap_or_default(),
            locked_until: moment_if_any(row, 17)?,
            told: count_if_any(row, 18)?.unwrap_or_default(),
        },
        language: None,
        emails: emails_in(row)?,
        roles: list(row, 21)?,
        permissions: list(row, 22)?,
        tokens: tokens_in(row)?,
    };
    Ok((profile, codes))
}

fn factor_in(
    seal: &Seal,
    workspace: &str,
    user: &str,
    row: &Row,
) -> Result<(Option<TotpFactor>, Vec<HeldCode>), Failure> {
    let Some(key) = get::<Option<String>>(row, 7)? else {
        return Ok((None, Vec::new()));
    };
    let last_step: Option<i64> = get(row, 8)?;
    let mut factor = TotpFactor {
        key: opened_key(seal, &TOTP_KEY.of(workspace, user), &key)?,
        last_step: last_step.map(i64::cast_unsigned),
        backup_code_hashes: Vec::new(),
        spent_code_hashes: Vec::new(),
    };
    let (texts, spent): (Vec<String>, Vec<bool>) = (list(row, 23)?, list(row, 24)?);
    let mut codes = Vec::with_capacity(texts.len());
    for (text, is_spent) in texts.into_iter().zip(spent) {
        let hash = seal.open(&BACKUP_CODE.of(workspace, user), &text)?;
        let hash = hash.expose_secret().to_owned();
        match is_spent {
            true => factor.spent_code_hashes.push(hash.clone()),
            false => factor.backup_code_hashes.push(hash.clone()),
        }
        let user = user.to_owned();
        codes.push(HeldCode { user, hash, text });
    }
    // Sealed, they are in no order.
    factor.backup_code_hashes.sort_unstable();
    factor.spent_code_hashes.sort_unstable();
    Ok((Some(factor), codes))
}

fn pending_key_in(
    seal: &Seal,
    place: &Column<'_>,
    row: &Row,
) -> Result<Option<PendingKey>, Failure> {
    let key: Option<String> = get(row, 9)?;
    let key = key.map(|key| opened_key(seal, place, &key)).transpose()?;
    let expires = moment_if_any(row, 10)?;
    Ok(key
        .zip(expires)
        .map(|(key, expires)| PendingKey { key, expires }))
}

fn mailed_code_in(
    seal: &Seal,
    place: &Column<'_>,
    row: &Row,
) -> Result<Option<MailedCode>, Failure> {
    let Some(hash) = get::<Option<String>>(row, 11)? else {
        return Ok(None);
    };
    Ok(Some(MailedCode {
        hash: seal.open(place, &hash)?.expose_secret().to_owned(),
        expires: moment(row, 12)?,
        failures: count(row, 13)?,
        issued: moment(row, 14)?,
        mails: count(row, 15)?,
    }))
}

fn emails_in(row: &Row) -> Result<Vec<Email>, Failure> {
    let addresses: Vec<String> = list(row, 19)?;
    let verified: Vec<bool> = list(row, 20)?;
    let emails = addresses.into_iter().zip(verified);
    let emails = emails.map(|(address, verified)| Email { address, verified });
    Ok(emails.collect())
}

fn tokens_in(row: &Row) -> Result<Vec<Token>, Failure> {
    let hashes: Vec<String> = list(row, 25)?;
    let expires: Vec<Option<i64>> = list(row, 26)?;
    let names: Vec<Option<String>> = list(row, 27)?;
    let bypass: Vec<bool> = list(row, 28)?;
    let tokens = hashes.into_iter().zip(expires).zip(names).zip(bypass);
    let tokens = tokens.map(|(((hash, expires), name), bypass_two_factor)| Token {
        hash,
        expires: expires.map(Timestamp::from_millis),
        name,
        bypass_two_factor,
    });
    Ok(tokens.collect())
}

/// As [`ROLES`] has them.
pub(super) fn role_in(row: &Row) -> Result<Role, Failure> {
    Ok(Role {
        name: get(row, 0)?,
        permissions: get(row, 1)?,
        members: get(row, 2)?,
    })
}

/// `name, place`, from this column on.
pub(super) fn setting_place_in(row: &Row, column: usize) -> Result<SettingPlace, Failure> {
    Ok(SettingPlace {
        name: get(row, column)?,
        place: get(row, column + 1)?,
    })
}

fn oldest_in(row: &Row) -> Result<Oldest, Failure> {
    Ok(Oldest {
        record: moment_if_any(row, 0)?,
        dead_letter: moment_if_any(row, 1)?,
        session_end: moment_if_any(row, 2)?,
    })
}
