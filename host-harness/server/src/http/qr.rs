//! `POST second-factor.qr`: a key for an authenticator app, as a QR code that no third party draws.

use super::answer::{self, Answer, Success};
use super::body;
use super::openapi::Refusals;
use axum::extract::Request;
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What every address of a TOTP key begins with (the format of Google Authenticator's keys).
const SCHEME: &str = "otpauth://totp/";

/// Longest address, in bytes: one of a key with issuer and username, escaped, has half of that,
/// and a code of more is hard to read for a camera.
const LONGEST_URL: usize = 1024;

/// What is drawn.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Drawn {
    /// An address that begins with `otpauth://totp/`, of at most 1,024 bytes.
    url: String,
}

/// A picture.
#[derive(Serialize, ToSchema)]
pub(super) struct Picture {
    /// An SVG element, black on white.
    svg: String,
}

/// Draw a key as a QR code
///
/// The `url` of `users.enableTotp`, for the app to scan. Nothing of it is kept or logged.
#[utoipa::path(
    post,
    path = "/api/v1/second-factor.qr",
    tag = "TOTP",
    security(("userId" = [], "authToken" = [])),
    request_body = Drawn,
    responses(
        (status = 200, description = "The QR code", body = Success<Picture>),
        Refusals,
    ),
)]
pub(super) async fn draw(request: Request) -> answer::Result {
    let Drawn { url } = body::parse(request).await?;
    if url.len() > LONGEST_URL || !url.starts_with(SCHEME) || !url.bytes().all(is_of_a_url) {
        let problem =
            format!("url: it begins with {SCHEME}, is a URL, and has at most {LONGEST_URL} bytes");
        return Err(body::invalid(&problem));
    }
    let code = QrCode::with_error_correction_level(url, EcLevel::L);
    let code = code.map_err(|_| body::invalid("url: it does not fit into a QR code"))?;
    let drawn = code.render::<svg::Color<'_>>().build();
    // Without the declaration before it, which is for files.
    let svg = drawn.find("<svg").and_then(|start| drawn.get(start..));
    Ok(Answer::success(Picture {
        svg: svg.unwrap_or_default().to_owned(),
    }))
}

/// What a URL is written with (RFC 3986): anything else is escaped.
fn is_of_a_url(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{'..=b'}')
}
