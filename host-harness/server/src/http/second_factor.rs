//! The second factor on the host's own routes: which applies, the code that was
//! entered, and how to ask for one.

use super::Site;
use super::answer::{Answer, Details};
use super::body;
use axum::http::HeaderMap;
use chat_domain::account::{Method, Methods};
use chat_domain::attempts::{Attempt, BeginEmailAttempt, BeginPasswordAttempt};
use chat_domain::mailed_code::{EmailCode, SendEmailCode};
use chat_domain::member::{Code, Denial};
use chat_domain::password::is_digest;
use chat_domain::proof::Compared;
use chat_domain::time::Timestamp;
use chat_domain::totp;
use chat_store::StoreError;
use plugin_sandbox::comparisons::SECOND_FACTORS;
use secrecy::{ExposeSecret, SecretString};

/// How a request carries a second factor.
pub(super) struct CodeHeaders {
    /// `x-2fa-code`; none where it is blank.
    code: Option<String>,
    /// `x-2fa-method`
    method: Option<String>,
}

impl CodeHeaders {
    /// The error answers the request.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Answer> {
        let [code, method] = body::headers(headers, ["x-2fa-code", "x-2fa-method"])?;
        Ok(Self {
            code: code.filter(|code| !is_blank(code)),
            method,
        })
    }

    /// The code may come in the body, too.
    pub(super) fn or_in_body(mut self, code: Option<String>) -> Self {
        self.code = code.filter(|code| !is_blank(code)).or(self.code);
        self
    }
}

fn is_blank(code: &str) -> bool {
    code.trim().is_empty()
}

/// The second factor of one request.
pub(super) struct SecondFactor {
    /// The account's id.
    user: String,
    username: String,
    /// What the account may choose from; the password is no choice.
    available: Vec<Method>,
    /// The method that applies; none where the account has none.
    method: Option<Method>,
    /// What the account can prove itself by.
    methods: Methods,
    /// What was entered; none where nothing was.
    entered: Option<SecretString>,
}

impl SecondFactor {
    /// Chooses the method that the request's header names, if the account `user`
    /// has it, otherwise TOTP before e-mail.
    pub(super) fn choose(
        user: &str,
        username: &str,
        methods: Methods,
        CodeHeaders { code, method }: CodeHeaders,
    ) -> Self {
        let is_choice = |method: &Method| *method != Method::Password;
        let available: Vec<_> = methods.preferred().filter(is_choice).collect();
        let asked_for = available
            .iter()
            .find(|available| Some(available.name()) == method.as_deref());
        let method = asked_for.or(available.first()).copied();
        Self {
            user: user.to_owned(),
            username: username.to_owned(),
            available,
            method,
            methods,
            entered: code.map(SecretString::from),
        }
    }

    /// With the password, where the account has nothing else.
    pub(super) fn or_password(mut self) -> Self {
        let password = self.methods.password.then_some(Method::Password);
        self.method = self.method.or(password);
        self
    }

    /// What was entered, as the store takes it. A password, or a code by e-mail, is compared
    /// here, and counted before that, unless it has not the form of one. The error answers the
    /// request.
    pub(super) async fn code(&self, site: &Site, now: Timestamp) -> Result<Option<Code>, Answer> {
        let (Some(method), Some(entered)) = (self.method, self.entered.clone()) else {
            return Ok(None);
        };
        Ok(match method {
            Method::Totp => Some(Code::Totp(entered)),
            Method::Email => self.email_code(site, totp::entered(&entered), now).await?,
            Method::Password if !is_digest(totp::entered(&entered).expose_secret()) => {
                Some(Code::Password(Err(Denial::WrongCode)))
            }
            Method::Password => {
                let place = SECOND_FACTORS.place(&site.workspace.id)?;
                let attempt = site.store.decide(BeginPasswordAttempt {
                    workspace: site.workspace.id.clone(),
                    user: self.user.clone(),
                    now,
                });
                match attempt.await? {
                    Attempt::Begun(hash) => {
                        let compared = place.matches(totp::entered(&entered), hash);
                        Some(Code::Password(right(compared.await)))
                    }
                    Attempt::Locked(lock) => Some(Code::Password(Err(Denial::Locked(lock)))),
                    Attempt::Unavailable => None,
                }
            }
        })
    }

    async fn email_code(
        &self,
        site: &Site,
        code: SecretString,
        now: Timestamp,
    ) -> Result<Option<Code>, Answer> {
        if !totp::is_six_digits(&code) {
            return Ok(Some(Code::Email(Err(Denial::WrongCode))));
        }
        let workspace = &site.workspace.id;
        let place = SECOND_FACTORS.place_for_code(workspace, self.methods)?;
        let attempt = site.store.decide(BeginEmailAttempt {
            workspace: workspace.clone(),
            user: self.user.clone(),
            now,
        });
        Ok(match attempt.await? {
            Attempt::Begun(hash) => {
                let compared = SECOND_FACTORS.compare_code(workspace, place, code, hash);
                Some(Code::Email(right(compared.await)))
            }
            Attempt::Locked(lock) => Some(Code::Email(Err(Denial::Locked(lock)))),
            Attempt::Unavailable => None,
        })
    }

    /// What a client needs to know after `denial`. Where a code by e-mail is
    /// asked for, it is sent.
    ///
    /// # Errors
    ///
    /// When the store failed.
    pub(super) async fn details(
        &self,
        site: &Site,
        denial: Denial,
        now: Timestamp,
    ) -> Result<(Denial, Details), StoreError> {
        let method = self.method.unwrap_or(Method::Totp);
        let mut details = Details {
            method: Some(method.name()),
            code_generated: Some(false),
            ..Details::default()
        };
        if denial != Denial::CodeRequired {
            return Ok((denial, details));
        }
        if method == Method::Email {
            let sent = site.store.decide(SendEmailCode {
                workspace: site.workspace.id.clone(),
                user: self.user.clone(),
                code: totp::email_code(&mut rand::rng()),
                now,
            });
            match sent.await? {
                EmailCode::Sent { .. } => details.code_generated = Some(true),
                EmailCode::Live { expires } => details.code_expires = Some(expires.to_javascript()),
                EmailCode::Locked(lock) => return Ok((Denial::Locked(lock), details)),
                EmailCode::Unavailable => (),
            }
            details.email_or_username = Some(self.username.clone());
        }
        details.available_methods = Some(self.available.iter().map(|m| m.name()).collect());
        Ok((denial, details))
    }
}

/// The hash of what is right.
fn right(compared: Compared) -> Result<SecretString, Denial> {
    match compared {
        Compared::Right(hash) => Ok(hash),
        Compared::Wrong => Err(Denial::WrongCode),
        Compared::Not => Err(Denial::NotCompared),
    }
}

/// The words for a denial about the second factor.
pub(super) fn message(denial: Denial) -> &'static str {
    match denial {
        Denial::NotAuthenticated => "You must be logged in to do this.",
        Denial::CodeRequired => "TOTP Required",
        Denial::WrongCode | Denial::Replayed => "TOTP Invalid",
        Denial::NotCompared => "The server is busy",
        // As Rocket.Chat spells it.
        Denial::Locked(_) => "TOTP Maximun Failed Attempts Reached",
        Denial::NotEnrolled | Denial::NotEnabled => "Two factor authentication is not enabled",
        Denial::AlreadyEnrolled => "Two factor authentication is already enabled",
        Denial::Federated => "Federated Users cant have TOTP",
        Denial::NotPermitted => "Not allowed",
        Denial::UnknownTarget => {
            // As users.resetTOTP says it, which takes a username, too.
            r#"The required "userId" or "username" param provided does not match any users"#
        }
        Denial::GuessedOut => {
            "The second factor was guessed at too often: it must be reset, not unlocked"
        }
    }
}
