//! The body of a request, and its headers.

use super::answer::Answer;
use super::is_encoded;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use std::time::Duration;
use tokio::time::timeout;

/// Largest body that is read, in bytes: three names fit a hundred times over.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// Longest time in which the body arrives: a code that was right when the headers
/// came must not be kept alive by a body that is held back.
const MAX_BODY_TIME: Duration = Duration::from_secs(5);

/// Longest `x-2fa-code`, `x-2fa-method` or `content-type`, in bytes: a password
/// digest has 64.
const MAX_HEADER: usize = 256;

/// What some programs write before every text (RFC 8259 section 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The body as it came. The error answers the request.
pub(super) async fn read(request: Request) -> Result<Bytes, Answer> {
    if is_encoded(request.headers(), header::CONTENT_ENCODING, "identity") {
        return Err(Answer::unknown_content_encoding());
    }
    match timeout(MAX_BODY_TIME, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let problem = format!("the body is longer than {MAX_BODY} bytes");
            Err(Answer::invalid_params(rejection.status(), &problem))
        }
        Ok(Err(_)) => Err(invalid("the body ended early")),
        Err(_elapsed) => {
            let problem = "the body did not arrive in time";
            Err(Answer::invalid_params(StatusCode::REQUEST_TIMEOUT, problem))
        }
    }
}

/// What the body says: JSON when its text is an object, whatever the content type
/// says, and whatever byte order mark is before it; otherwise a form when the content type says so; an empty one says
/// nothing. The error answers the request.
pub(super) async fn parse<T: DeserializeOwned>(request: Request) -> Result<T, Answer> {
    let [content_type] = headers(request.headers(), [header::CONTENT_TYPE.as_str()])?;
    let body = read(request).await?;
    let object = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&body);
    let is_object = object.trim_ascii_start().starts_with(b"{");
    let is_form = content_type.is_some_and(|content_type| {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    });
    if body.is_empty() {
        serde_json::from_str("{}").map_err(|e| json_problem(&e))
    } else if is_object {
        serde_json::from_slice(object).map_err(|e| json_problem(&e))
    } else if is_form {
        serde_urlencoded::from_bytes(&body)
            .map_err(|_| invalid("a field of the form is unknown, repeated, missing or not UTF-8"))
    } else {
        Err(invalid("the body is not a JSON object"))
    }
}

/// serde's own words for a value of the wrong type quote it: it may be a code or
/// a password.
fn json_problem(error: &serde_json::Error) -> Answer {
    if error.classify() == Category::Data {
        let (line, column) = (error.line(), error.column());
        return invalid(&format!(
            "a key is unknown, repeated or missing, or a value is of the wrong type, \
             at line {line} column {column}"
        ));
    }
    invalid(&error.to_string())
}

/// The answer to a request that is not understood.
pub(super) fn invalid(problem: &str) -> Answer {
    Answer::invalid_params(StatusCode::BAD_REQUEST, problem)
}

/// The texts of headers that are there at most once each. The error answers the
/// request.
pub(super) fn headers<const N: usize>(
    headers: &HeaderMap,
    names: [&str; N],
) -> Result<[Option<String>; N], Answer> {
    let mut texts = [const { None }; N];
    for (text, name) in texts.iter_mut().zip(names) {
        *text = optional(headers, name).map_err(|problem| invalid(&problem))?;
    }
    Ok(texts)
}

fn optional(headers: &HeaderMap, name: &str) -> Result<Option<String>, String> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(format!("the header {name} is repeated"));
    }
    if value.len() > MAX_HEADER {
        return Err(format!(
            "the header {name} is longer than {MAX_HEADER} bytes"
        ));
    }
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(format!("the header {name} is not UTF-8")),
    }
}
