//! Who makes a request: read from the store once, for everything that the request is
//! decided by before something is changed.

use super::answer::Answer;
use super::{Site, only};
use axum::Extension;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chat_domain::account::Account;
use chat_domain::standing::Standing;
use chat_domain::time::Timestamp;
use chat_domain::token;
use chat_store::StoreError;
use secrecy::SecretString;
use std::sync::Arc;

/// What the headers `X-User-Id` and `X-Auth-Token` claim.
pub(super) struct Credentials {
    /// An account's id.
    pub(super) user: String,
    /// As [`token::hash`] writes it.
    pub(super) token_hash: String,
}

impl Credentials {
    /// Each header must be there exactly once.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let user = only(headers, "x-user-id")?;
        let token = only(headers, "x-auth-token")?;
        Some(Self {
            user: user.to_owned(),
            token_hash: token::hash(&SecretString::from(token)),
        })
    }

    /// The caller, where the claim holds.
    pub(super) async fn prove(
        &self,
        site: &Site,
        now: Timestamp,
    ) -> Result<Option<Standing>, StoreError> {
        let question = Standing::question(&site.workspace.id, &self.user, &self.token_hash);
        let dossier = site.store.read(&question).await?;
        let standing = Standing::of(&dossier, now);
        site.note(dossier.settings)?;
        Ok(standing)
    }

    /// The same, with the account as its holder sees it.
    async fn prove_with_account(
        &self,
        site: &Site,
        now: Timestamp,
    ) -> Result<Option<(Standing, Account)>, StoreError> {
        let (workspace, user) = (site.workspace.id.as_str(), self.user.as_str());
        let question = Standing::question_with_account(workspace, user, &self.token_hash);
        let mut dossier = site.store.read(&question).await?;
        let standing = Standing::of(&dossier, now);
        site.note(dossier.settings.take())?;
        let profile = dossier.accounts.pop().flatten();
        Ok(standing.zip(profile).map(|(standing, profile)| {
            let account = Account::of(profile, &standing.settings, now);
            (standing, account)
        }))
    }
}

/// Passes a request on if its caller is logged in, as a [`Standing`] and an
/// [`Account`].
pub(super) async fn require_login(
    Extension(site): Extension<Site>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(credentials) = Credentials::of(request.headers()) else {
        return Answer::not_logged_in().into_response();
    };
    let proved = credentials.prove_with_account(&site, site.clock.now());
    let answer = match proved.await {
        Ok(Some((standing, account))) => {
            request.extensions_mut().insert(Arc::new(standing));
            request.extensions_mut().insert(account);
            return next.run(request).await;
        }
        Ok(None) => Answer::not_logged_in(),
        Err(error) => Answer::store_failed(error),
    };
    answer.into_response()
}
