//! What every route takes and answers, as OpenAPI 3.1, and a page to browse it.
//!
//! It is generated from the types that serve the routes; the plugin's answers
//! have the shapes of the host's own.

use super::answer::{NotLoggedIn, Refused};
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::Response;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::ServerBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::{IntoParams, IntoResponses, Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

/// Where the document is.
const DOCUMENT: &str = "/api/openapi.json";

/// Where the page is.
const PAGE: &str = "/api/docs";

/// The page runs no script, and reads nothing, that is not the server's own.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);

/// The document, before the routes add themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "reset-totp host",
        description = "The part of a chat server around `users.resetTOTP`: whoever has lost the \
                       phone with the second factor is helped by an administrator, and nobody else \
                       is. Every answer carries `X-Request-Id`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact(),
    ),
    components(schemas(NotLoggedIn, Refused)),
    modifiers(&Logins),
)]
pub(super) struct Api;

/// The two headers that prove a login.
struct Logins;

impl Modify for Logins {
    fn modify(&self, document: &mut Document) {
        document.servers = Some(vec![ServerBuilder::new().url("/").build()]);
        let components = document.components.get_or_insert_default();
        for (name, header) in [("userId", "X-User-Id"), ("authToken", "X-Auth-Token")] {
            let key = ApiKey::Header(ApiKeyValue::new(header));
            components.add_security_scheme(name, SecurityScheme::ApiKey(key));
        }
    }
}

/// How a request carries a second factor.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes what the handlers read by name")]
pub(super) struct SecondFactorHeaders {
    /// Six digits of the authenticator app or of an e-mail (`123456`, `123 456` or
    /// `123-456`), eight characters of a backup code, or the password's SHA-256 in
    /// lower-case hexadecimal.
    #[param(rename = "x-2fa-code", nullable = false)]
    code: Option<String>,
    /// `totp` or `email`, where the caller has both.
    #[param(rename = "x-2fa-method", nullable = false)]
    method: Option<String>,
}

/// How every route that needs a login may refuse.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it describes answers that are made elsewhere")]
pub(super) enum Refusals {
    /// Refused: `errorType` says why
    #[response(status = 400)]
    Refused(Refused),
    /// Not logged in
    #[response(status = 401)]
    NotLoggedIn(NotLoggedIn),
    /// The body did not arrive in time
    #[response(status = 408)]
    Late(Refused),
    /// The body is too long
    #[response(status = 413)]
    TooLong(Refused),
    /// The body has a content encoding
    #[response(status = 415)]
    Encoded(Refused),
    /// Too many calls from the client's address
    #[response(status = 429)]
    TooManyCalls(Refused),
    /// The host failed
    #[response(status = 500)]
    Failed(Refused),
    /// The request has another transfer encoding than chunked
    #[response(status = 501)]
    Transferred(Refused),
    /// The store cannot be had, and `Retry-After` says when to try again; or it was lost meanwhile,
    /// and nobody knows whether it was done (`host-outcome-unknown`)
    #[response(status = 503)]
    Unavailable(Refused),
}

/// The document and the page, as routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(document: Document) -> Router<S> {
    let page = SwaggerUi::new(PAGE)
        .config(Config::default().validator_url("none"))
        .url(DOCUMENT, document);
    Router::from(page).layer(map_response(async |mut response: Response| {
        let policy = (header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
        response.headers_mut().extend([policy]);
        response
    }))
}
