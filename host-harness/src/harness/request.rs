//! What clients send, and what comes back.

use super::Error;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;

/// A request that is being put together.
#[must_use = "it is made by `send`"]
pub struct Request(reqwest::RequestBuilder);

impl Request {
    pub(super) fn new(request: reqwest::RequestBuilder) -> Self {
        Self(request)
    }

    /// With this header, also beside one of the same name.
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        Self(self.0.header(name, value.as_ref()))
    }

    /// With this second factor, as `x-2fa-code`.
    pub fn code(self, code: impl AsRef<[u8]>) -> Self {
        self.header("x-2fa-code", code)
    }

    /// With this body, and a content type that says that it is JSON.
    pub fn json(self, body: &str) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    /// With this body and no content type.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self(self.0.body(body.into()))
    }

    /// Sends the request and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`Error::Request`].
    pub async fn send(self) -> Result<Answer, Error> {
        let response = self.0.send().await?;
        Ok(Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.text().await?,
        })
    }
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as text.
    pub body: String,
}

impl Answer {
    /// Status and body, to compare as one: `200 {"success":true}`.
    pub fn text(&self) -> String {
        format!("{} {}", self.status.as_u16(), self.body)
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}
