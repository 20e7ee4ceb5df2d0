//! Accounts, as Rocket.Chat's documents have them, and what it has no place for, as ours do.
//!
//! | collection | a document |
//! |---|---|
//! | `users` | an account, of which Rocket.Chat's versions from 6 on write what is read here |
//! | `reset_totp_accounts` | `{_id, factor, last_step, spent, failures, pending, code}`: see [`Own`] |

use super::failure::Failure;
use super::field::{Fields, OneOrMore, id_of};
use crate::convention::opened_email_code;
use crate::seal::Seal;
use chat_domain::account::{Email, MailedCode, PendingKey, Profile, Token, TotpFactor, User};
use chat_domain::attempts::Failures;
use chat_domain::dossier::Subject;
use chat_domain::mail::Language;
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use chat_domain::totp::TotpKey;
use data_encoding::HEXLOWER;
use mongodb::bson::{Document, doc};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Rocket.Chat's accounts.
pub(super) const USERS: &str = "users";

/// Of each account, by its id, what Rocket.Chat has no place for.
pub(super) const ACCOUNTS: &str = "reset_totp_accounts";

/// Where an account's tokens are: those of sessions and personal access tokens.
pub(super) const TOKENS: &str = "services.resume.loginTokens";

/// What says that a token is a personal access token.
const PERSONAL_ACCESS_TOKEN: &str = "personalAccessToken";

/// What is read of an account, but for its tokens.
pub(super) fn fields() -> Document {
    doc! {
        "username": 1, "name": 1, "emails": 1, "active": 1, "roles": 1, "federated": 1, "language": 1,
        "services.password": 1, "services.totp": 1, "services.email2fa": 1,
        "services.emailCode": 1,
    }
}

/// The same, and its tokens, which alone are in there.
pub(super) fn fields_with_tokens() -> Document {
    let mut fields = fields();
    fields.insert("services.resume", 1);
    fields
}

/// An account, and what is needed to change it.
pub(super) struct Account {
    pub(super) profile: Profile,
    pub(super) held: Held,
}

/// What is known of an account's documents, beside the profile that is made of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) user: String,
    /// Which TOTP factor it has: see [`mark_of`].
    pub(super) factor: Option<String>,
    /// What [`ACCOUNTS`] says is of a factor that the account has no more.
    pub(super) is_outdated: bool,
    /// Where the code is that Rocket.Chat has sent it, where that is the code of the profile.
    pub(super) code_place: Option<String>,
}

/// What tells a TOTP key from every other, and nothing of it: Rocket.Chat removes and replaces
/// factors, too, and does not know what we have noted of one.
pub(super) fn mark_of(base32: &str) -> String {
    /// Bytes: none of a workspace's factors meet.
    const MARK: usize = 16;
    let hash = Sha256::digest(base32);
    HEXLOWER.encode(hash.get(..MARK).unwrap_or_default())
}

/// The account of this document, and of ours. Permissions are not in it; tokens where they were
/// read.
pub(super) fn account_in(
    seal: &Seal,
    workspace: &str,
    settings: &Settings,
    user: &Document,
    own: Option<&Document>,
) -> Result<Account, Failure> {
    let id = id_of(user);
    let rockets = Rockets::of(user, &id)?;
    let mut own = match own {
        Some(own) => Own::of(seal, workspace, own, &id)?,
        None => Own::default(),
    };
    let secret = rockets.secret()?;
    let factor = secret.map(mark_of);
    let is_outdated = own.factor.is_some() && own.factor != factor;
    let (mailed_code, code_place) = newest(rockets.mailed_code(settings)?, own.code.take());
    let own_factor = (!is_outdated).then_some(&own);
    let emails = rockets.emails()?;
    let email_two_factor = rockets.uses_email()?;
    let profile = Profile {
        user: User {
            id: id.clone(),
            username: rockets
                .user
                .text("username")?
                .unwrap_or_default()
                .to_owned(),
            name: rockets.user.shown("name").map(str::to_owned),
            federated: rockets.user.flag("federated")?.unwrap_or_default(),
        },
        // Rocket.Chat lets nobody log in of whom it does not say that he is active.
        deactivated: rockets.user.flag("active")? != Some(true),
        password_hash: rockets.password_hash()?,
        email_two_factor,
        receives_codes: email_two_factor && emails.iter().any(|email| email.verified),
        factor: match secret {
            Some(secret) => Some(TotpFactor {
                key: rockets.key("secret", secret)?,
                last_step: own_factor.and_then(|own| own.last_step),
                backup_code_hashes: rockets.backup_codes()?,
                spent_code_hashes: own_factor.map(|own| own.spent.clone()).unwrap_or_default(),
            }),
            None => None,
        },
        pending_key: rockets.pending_key(own.pending.as_ref())?,
        mailed_code,
        failures: own_factor.map(|own| own.failures).unwrap_or_default(),
        language: rockets.user.shown("language").and_then(Language::of_tag),
        emails,
        roles: {
            let mut roles = rockets.user.texts("roles")?;
            roles.sort();
            roles.dedup();
            roles
        },
        permissions: Vec::new(),
        tokens: rockets.tokens(settings.login_lifetime())?,
    };
    let held = Held {
        user: id,
        factor,
        is_outdated,
        code_place,
    };
    Ok(Account { profile, held })
}

/// Leaves the lists in the profile that are asked for.
pub(super) fn with_lists_of(mut profile: Profile, subject: &Subject) -> Profile {
    if !subject.emails {
        profile.emails.clear();
    }
    if !subject.roles {
        profile.roles.clear();
    }
    if !subject.tokens {
        profile.tokens.clear();
    }
    if let Some(factor) = profile.factor.as_mut().filter(|_| !subject.backup_codes) {
        factor.backup_code_hashes.clear();
        factor.spent_code_hashes.clear();
    }
    profile
}

/// The tokens of the account of this document.
pub(super) fn tokens_in(user: &Document, login_lifetime: Duration) -> Result<Vec<Token>, Failure> {
    let id = id_of(user);
    Rockets::of(user, &id)?.tokens(login_lifetime)
}

/// Of two codes the one that was sent last: the other has been replaced. Where it is Rocket.Chat's,
/// its place is given, too.
fn newest(
    rockets: Option<(MailedCode, String)>,
    own: Option<MailedCode>,
) -> (Option<MailedCode>, Option<String>) {
    match (rockets, own) {
        (Some((code, place)), own) if own.as_ref().is_none_or(|o| o.issued < code.issued) => {
            (Some(code), Some(place))
        }
        (_, own) => (own, None),
    }
}

/// A document of [`USERS`].
struct Rockets<'a> {
    user: Fields<'a>,
    services: Option<Fields<'a>>,
    totp: Option<Fields<'a>>,
}

impl<'a> Rockets<'a> {
    fn of(user: &'a Document, id: &'a str) -> Result<Self, Failure> {
        let user = Fields::of(user, USERS, id);
        let services = user.document("services")?;
        let services = services.map(|services| user.within(services, "services."));
        let mut rockets = Self {
            user,
            services,
            totp: None,
        };
        rockets.totp = rockets.service("totp", "services.totp.")?;
        Ok(rockets)
    }

    fn service(&self, name: &str, path: &'a str) -> Result<Option<Fields<'a>>, Failure> {
        let Some(services) = self.services else {
            return Ok(None);
        };
        let service = services.document(name)?;
        Ok(service.map(|service| services.within(service, path)))
    }

    /// The key of its factor in base32, where that is enabled.
    fn secret(&self) -> Result<Option<&'a str>, Failure> {
        match self.totp {
            Some(totp) if totp.flag("enabled")? == Some(true) => totp.text("secret"),
            _ => Ok(None),
        }
    }

    fn key(&self, name: &str, base32: &str) -> Result<TotpKey, Failure> {
        let key = TotpKey::from_base32(base32);
        key.ok_or_else(|| {
            let id = self.id().escape_debug().to_string();
            Failure::fault(format!("{USERS}.services.totp.{name} of {id} is no base32"))
        })
    }

    fn id(&self) -> &str {
        self.user.id()
    }

    fn backup_codes(&self) -> Result<Vec<String>, Failure> {
        let codes = self.totp.map(|totp| totp.texts("hashedBackup"));
        let mut codes = codes.transpose()?.unwrap_or_default();
        codes.sort();
        Ok(codes)
    }

    /// A key that Rocket.Chat has shown ends at a moment that nobody knows: here it is over, and
    /// goes with a reset.
    fn pending_key(&self, own: Option<&OwnPending>) -> Result<Option<PendingKey>, Failure> {
        let shown = self.totp.map(|totp| totp.text("tempSecret"));
        let Some(shown) = shown.transpose()?.flatten() else {
            return Ok(None);
        };
        let own = own.filter(|own| own.of == mark_of(shown));
        Ok(Some(PendingKey {
            key: self.key("tempSecret", shown)?,
            expires: own.map_or(Timestamp::from_millis(0), |own| own.until),
        }))
    }

    /// Argon2 where there is that, which is what Rocket.Chat compares then.
    fn password_hash(&self) -> Result<Option<SecretString>, Failure> {
        let Some(password) = self.service("password", "services.password.")? else {
            return Ok(None);
        };
        let hash = match password.text("argon2")? {
            Some(hash) => Some(hash),
            None => password.text("bcrypt")?,
        };
        Ok(hash.map(SecretString::from))
    }

    fn uses_email(&self) -> Result<bool, Failure> {
        let email = self.service("email2fa", "services.email2fa.")?;
        let enabled = email.map(|email| email.flag("enabled"));
        Ok(enabled.transpose()?.flatten().unwrap_or_default())
    }

    /// The last code that it was sent by Rocket.Chat, and where that is.
    fn mailed_code(&self, settings: &Settings) -> Result<Option<(MailedCode, String)>, Failure> {
        const PLACE: &str = "services.emailCode";
        let Some(services) = self.services else {
            return Ok(None);
        };
        let (code, place) = match services.one_or_more("emailCode")? {
            OneOrMore::One(code) => (code, PLACE.to_owned()),
            OneOrMore::More(codes) => {
                let last = codes.len().saturating_sub(1);
                match codes.last() {
                    Some(code) => (*code, format!("{PLACE}.{last}")),
                    None => return Ok(None),
                }
            }
        };
        let fields = services.within(code, "services.emailCode.");
        let (Some(hash), Some(expires)) = (fields.text("code")?, fields.date("expire")?) else {
            return Ok(None);
        };
        let code = MailedCode {
            hash: hash.to_owned(),
            issued: expires.before(settings.email_code_lifetime()),
            expires,
            failures: fields.count("attempts")?,
            mails: 1,
        };
        Ok(Some((code, place)))
    }

    fn emails(&self) -> Result<Vec<Email>, Failure> {
        let mut emails = Vec::new();
        for email in self.user.documents("emails")? {
            let fields = self.user.within(email, "emails.");
            let verified = fields.flag("verified")?.unwrap_or_default();
            if let Some(address) = fields.text("address")? {
                let address = address.to_owned();
                emails.push(Email { address, verified });
            }
        }
        emails.sort_by(|a, b| (!a.verified, &a.address).cmp(&(!b.verified, &b.address)));
        Ok(emails)
    }

    /// A session ends so long after it began; one that does not say when, has ended.
    fn tokens(&self, login_lifetime: Duration) -> Result<Vec<Token>, Failure> {
        let Some(resume) = self.service("resume", "services.resume.")? else {
            return Ok(Vec::new());
        };
        let mut tokens = Vec::new();
        for token in resume.documents("loginTokens")? {
            let fields = resume.within(token, "services.resume.loginTokens.");
            let Some(hash) = fields.text("hashedToken")? else {
                continue;
            };
            let is_personal = fields.text("type")? == Some(PERSONAL_ACCESS_TOKEN);
            let hash = hash.to_owned();
            tokens.push(match is_personal {
                true => Token {
                    hash,
                    expires: None,
                    name: fields.text("name")?.map(str::to_owned),
                    bypass_two_factor: fields.flag("bypassTwoFactor")?.unwrap_or_default(),
                },
                false => Token {
                    hash,
                    expires: Some(match fields.date("when")? {
                        Some(when) => when + login_lifetime,
                        None => Timestamp::from_millis(0),
                    }),
                    name: None,
                    bypass_two_factor: false,
                },
            });
        }
        tokens.sort_by(|a, b| a.hash.cmp(&b.hash));
        Ok(tokens)
    }
}

/// What [`ACCOUNTS`] says of an account.
#[derive(Default)]
struct Own {
    /// Of which factor the next three are, as [`mark_of`] says; none where they are of no factor.
    factor: Option<String>,
    /// The time step of the last code that was accepted here. Rocket.Chat's own log-in neither
    /// knows nor notes it.
    last_step: Option<u64>,
    /// Backup codes that were used here, as Rocket.Chat had hashed them.
    spent: Vec<String>,
    failures: Failures,
    pending: Option<OwnPending>,
    /// The code that it was sent by us; its hash is sealed.
    code: Option<MailedCode>,
}

/// A key that we have shown.
struct OwnPending {
    /// Which, as [`mark_of`] says.
    of: String,
    until: Timestamp,
}

impl Own {
    fn of(seal: &Seal, workspace: &str, own: &Document, id: &str) -> Result<Self, Failure> {
        let fields = Fields::of(own, ACCOUNTS, id);
        let within = |name: &str, path: &'static str| {
            let document = fields.document(name)?;
            Ok::<_, Failure>(document.map(|document| fields.within(document, path)))
        };
        let last_step = fields.number("last_step")?;
        Ok(Self {
            factor: fields.text("factor")?.map(str::to_owned),
            last_step: last_step.map(i64::cast_unsigned),
            spent: fields.texts("spent")?,
            failures: within("failures", "failures.")?
                .map(failures_in)
                .transpose()?
                .unwrap_or_default(),
            pending: match within("pending", "pending.")? {
                Some(pending) => Some(OwnPending {
                    of: pending.needed_text("of")?.to_owned(),
                    until: Timestamp::from_millis(pending.needed_number("until")?),
                }),
                None => None,
            },
            code: match within("code", "code.")? {
                Some(code) => Some(MailedCode {
                    hash: opened_email_code(seal, workspace, id, code.needed_text("hash")?)?,
                    issued: Timestamp::from_millis(code.needed_number("issued")?),
                    expires: Timestamp::from_millis(code.needed_number("expires")?),
                    failures: code.count("failures")?,
                    mails: code.count("mails")?,
                }),
                None => None,
            },
        })
    }
}

/// `{count, locked_until, told}`.
pub(super) fn failures_in(fields: Fields<'_>) -> Result<Failures, Failure> {
    Ok(Failures {
        count: fields.count("count")?,
        locked_until: fields.millis("locked_until")?,
        told: fields.count("told")?,
    })
}
