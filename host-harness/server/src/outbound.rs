//! One request by HTTP/1 to another server, over TLS where its URL says so.

use axum::body::Bytes;
use axum::http::uri::Scheme;
use axum::http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// The certificates that the system trusts.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// TLS with servers that these certificates vouch for.
///
/// # Errors
///
/// When the provider of cryptography has no version of TLS.
pub(crate) fn tls(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(
        config.with_root_certificates(roots).with_no_client_auth(),
    ))
}

/// Sends `request` to where its absolute URI says, over a connection of its own, and reads an
/// answer of `most` bytes at most. A redirect, which would take what it bears elsewhere, is an
/// answer like another. The caller limits the time.
///
/// # Errors
///
/// When there is no connection, no TLS or no whole answer.
pub(crate) async fn send(
    mut request: Request<Bytes>,
    tls: &Arc<ClientConfig>,
    most: usize,
) -> Result<Response<Bytes>, Error> {
    let uri = std::mem::take(request.uri_mut());
    *request.uri_mut() = Uri::from(uri.path_and_query().cloned().ok_or("it has no path")?);
    let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
    let host = uri.host().ok_or("it has no host")?;
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let named = HeaderValue::try_from(format!("{host}:{port}"))?;
    request.headers_mut().insert(header::HOST, named);
    let request = request.map(Full::new);
    let name = host.trim_matches(['[', ']']).to_owned();
    let stream = TcpStream::connect((name.as_str(), port)).await?;
    match is_tls {
        true => {
            let tls = TlsConnector::from(tls.clone());
            let stream = tls.connect(ServerName::try_from(name)?, stream).await?;
            exchange(stream, request, most).await
        }
        false => exchange(stream, request, most).await,
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Response<Bytes>, Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with what sends.
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, most).collect().await?;
    Ok(Response::from_parts(head, body.to_bytes()))
}
