//! Web pages: a browser on the machine reaches the loopback address, and sends
//! there what any page tells it to.

use super::problem;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::net::{IpAddr, SocketAddr};

/// Passes a request on unless a page could have made it.
pub(super) async fn refuse(request: Request, next: Next) -> Response {
    match page(request.headers()) {
        None => next.run(request).await,
        Some(text) => problem(StatusCode::FORBIDDEN, text),
    }
}

/// How a request shows that a page made it. A browser gives every request that
/// could change something an `Origin` (Fetch standard, "append a request Origin
/// header"), and one to a name that was made to mean this machine (DNS
/// rebinding) keeps the name in `Host`.
fn page(headers: &HeaderMap) -> Option<&'static str> {
    if headers.contains_key(header::ORIGIN) {
        return Some("web pages may not use this listener");
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next().map(|host| host.to_str()), hosts.next()) {
        (Some(Ok(host)), None) if is_address(host) => None,
        _ => Some("the Host header must be localhost or an IP address"),
    }
}

/// What no DNS server can make mean something else.
fn is_address(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok()
        || host.parse::<SocketAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn refused(headers: &[(HeaderName, &'static str)]) -> bool {
        let headers = headers.iter().cloned();
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        page(&map).is_some()
    }

    #[test]
    fn programs_are_served_and_pages_are_not() {
        for host in [
            "127.0.0.1:9464",
            "127.0.0.1",
            "[::1]:9464",
            "[::1]",
            "localhost:9464",
            "LOCALHOST",
        ] {
            let host = (header::HOST, host);
            assert!(!refused(std::slice::from_ref(&host)), "{host:?}");
            for origin in ["http://evil.example", "http://127.0.0.1:9464", "null"] {
                let origin = (header::ORIGIN, origin);
                assert!(refused(&[host.clone(), origin]), "{host:?}");
            }
        }
        for host in [
            "evil.example:9464",
            "127.0.0.1.evil.example",
            "localhost.evil.example:9464",
            "",
        ] {
            assert!(refused(&[(header::HOST, host)]), "{host}");
        }
        assert!(refused(&[]));
        let twice = [(header::HOST, "localhost"), (header::HOST, "evil.example")];
        assert!(refused(&twice));
    }
}
