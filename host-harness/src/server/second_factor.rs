//! The second factor on the host's own routes: which applies, the code that was
//! entered, and how to ask for one.

use super::App;
use super::answer::{Answer, Details};
use super::body;
use crate::clock::Timestamp;
use crate::password::{self, Lane};
use crate::store::{Attempt, Code, Denial, EmailCode, Methods, Selector, StoreError};
use crate::totp;
use axum::http::HeaderMap;
use secrecy::SecretString;

/// A kind of second factor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Totp,
    Email,
    Password,
}

impl Method {
    /// The name by which clients know it.
    fn name(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Email => "email",
            Self::Password => "password",
        }
    }
}

/// The second factor of one request.
pub(super) struct SecondFactor {
    user: String,
    /// What the account may choose from; the password is no choice.
    available: Vec<Method>,
    /// The method that applies; none where the account has none.
    method: Option<Method>,
    /// What was entered; none where nothing was.
    entered: Option<SecretString>,
}

impl SecondFactor {
    /// Chooses the method that the request's header names, if the account has
    /// it, otherwise the first in the order TOTP, e-mail, password. The code is
    /// `in_body`, or that of the header. The error answers the request.
    pub(super) async fn choose(
        app: &App,
        user: &str,
        headers: &HeaderMap,
        in_body: Option<String>,
        password_counts: bool,
    ) -> Result<Self, Answer> {
        let [code, asked_for] = body::headers(headers, ["x-2fa-code", "x-2fa-method"])?;
        let methods = app.store.methods(&app.workspace, user).await?;
        let available = available(methods);
        let asked_for = available
            .iter()
            .find(|method| Some(method.name()) == asked_for.as_deref());
        let password = (password_counts && methods.password).then_some(Method::Password);
        let entered = in_body.or(code).filter(|code| !code.is_empty());
        Ok(Self {
            user: user.to_owned(),
            method: asked_for.or(available.first()).copied().or(password),
            available,
            entered: entered.map(SecretString::from),
        })
    }

    /// What was entered, as the store takes it. A password is compared here, and
    /// counted before that.
    pub(super) async fn code(
        &self,
        app: &App,
        now: Timestamp,
    ) -> Result<Result<Option<Code>, Denial>, StoreError> {
        let (Some(method), Some(entered)) = (self.method, self.entered.clone()) else {
            return Ok(Ok(None));
        };
        Ok(Ok(Some(match method {
            Method::Totp => Code::Totp(entered),
            Method::Email => Code::Email(entered),
            Method::Password => {
                let attempt = app
                    .store
                    .begin_password_attempt(&app.workspace, &self.user, now)
                    .await?;
                let hash = match attempt {
                    Attempt::Begun(hash) => hash,
                    Attempt::Locked => return Ok(Err(Denial::Locked)),
                    Attempt::Unavailable => return Ok(Ok(None)),
                };
                let right = password::matches(Lane::SecondFactor, entered, hash.clone()).await;
                Code::Password((right == Ok(true)).then_some(hash))
            }
        })))
    }

    /// What a client needs to know after `denial`. Where a code by e-mail is
    /// asked for, it is sent.
    ///
    /// # Errors
    ///
    /// When the store failed.
    pub(super) async fn details(
        &self,
        app: &App,
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
            let sent = app
                .store
                .send_email_code(&app.workspace, &self.user, totp::email_code(), now)
                .await?;
            match sent {
                EmailCode::Sent { .. } => details.code_generated = Some(true),
                EmailCode::Live { expires } => details.code_expires = Some(expires.to_javascript()),
                EmailCode::Locked => return Ok((Denial::Locked, details)),
                EmailCode::Unavailable => (),
            }
            let user = Selector::Id(self.user.clone());
            let user = app.store.find_user(&app.workspace, user).await?;
            details.email_or_username = user.map(|user| user.username);
        }
        details.available_methods = Some(self.available.iter().map(|m| m.name()).collect());
        Ok((denial, details))
    }
}

fn available(methods: Methods) -> Vec<Method> {
    let totp = methods.totp.then_some(Method::Totp);
    let email = methods.email.then_some(Method::Email);
    totp.into_iter().chain(email).collect()
}

/// The words for a denial about the second factor.
pub(super) fn message(denial: Denial) -> &'static str {
    match denial {
        Denial::NotAuthenticated => "You must be logged in to do this.",
        Denial::CodeRequired => "TOTP Required",
        Denial::WrongCode | Denial::Replayed => "TOTP Invalid",
        Denial::Locked => "TOTP Maximun Failed Attempts Reached",
        Denial::NotEnrolled | Denial::NotEnabled => "Two factor authentication is not enabled",
        Denial::AlreadyEnrolled => "Two factor authentication is already enabled",
    }
}
