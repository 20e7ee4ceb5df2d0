//! Which web pages may call (the CORS protocol of the Fetch standard).
//!
//! By hand, since the answer depends on the workspace, and what is no preflight
//! must still be refused as any other method.

use super::rate_limit;
use super::{REQUEST_ID, Site};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Methods of all routes.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");

/// What Rocket.Chat's clients send, the second factor included.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Origin, X-Requested-With, Content-Type, Accept, X-User-Id, X-Auth-Token, x-2fa-code, x-2fa-method",
);

/// How long a browser may remember a preflight's answer, in seconds: a page that
/// is no longer allowed is noticed within ten minutes.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// What a page may read of an answer, besides its body.
const RESPONSE_HEADERS: [HeaderName; 5] = [
    REQUEST_ID,
    rate_limit::LIMIT,
    rate_limit::REMAINING,
    rate_limit::RESET,
    header::RETRY_AFTER,
];

/// Answers preflights of allowed origins, and lets their pages read the answers. What
/// is no preflight is served first, which reads the settings that are needed here.
pub(super) async fn allow(site: &Site, request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else {
        return next.run(request).await;
    };
    let is_preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match is_preflight {
        true if is_allowed(site, &origin).await => preflight(),
        _ => next.run(request).await,
    };
    if is_allowed(site, &origin).await {
        expose(response.headers_mut(), origin);
    }
    response
}

fn expose(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    for name in RESPONSE_HEADERS {
        headers.append(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from(name),
        );
    }
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Whether the workspace allows pages of this origin; not where the store cannot tell.
async fn is_allowed(site: &Site, origin: &HeaderValue) -> bool {
    site.settings().await.is_ok_and(|settings| {
        let mut allowed = settings.cors_origins.split_ascii_whitespace();
        allowed.any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes())
    })
}
