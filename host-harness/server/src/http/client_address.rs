//! Who is at the other end.

use axum::extract::{ConnectInfo, Request};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The header in which a proxy says whom it speaks for: each adds the address at
/// its own other end.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of the client: that of the socket, or, as far as the addresses
/// nearer to the server are those of trusted proxies, the one that they tell.
pub(super) fn of(trusted_proxies: &[IpNet], request: &Request) -> IpAddr {
    let forwarded = request.headers().get_all(FORWARDED_FOR);
    let forwarded = forwarded
        .iter()
        .map(|value| value.to_str().unwrap_or_default());
    behind(trusted_proxies, socket(request), forwarded)
}

/// Whether the other end of the socket is a trusted proxy.
pub(super) fn is_trusted_proxy(trusted_proxies: &[IpNet], request: &Request) -> bool {
    trusts(trusted_proxies, socket(request))
}

fn socket(request: &Request) -> IpAddr {
    let socket = request.extensions().get::<ConnectInfo<SocketAddr>>();
    socket.map_or(IpAddr::from(Ipv4Addr::UNSPECIFIED), |info| info.0.ip())
}

fn trusts(trusted_proxies: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    trusted_proxies
        .iter()
        .any(|network| network.contains(&address))
}

fn behind<'a>(
    trusted_proxies: &[IpNet],
    socket: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
) -> IpAddr {
    let mut client = socket;
    for told in forwarded.rev().flat_map(|list| list.rsplit(',')) {
        match told.trim().parse() {
            Ok(address) if trusts(trusted_proxies, client) => client = address,
            _ => break,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last proxy adds the last address; only what trusted ones add counts.
    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let proxies: Vec<IpNet> = ["10.0.0.0/8", "2001:db8::/32"]
            .map(|network| network.parse().unwrap())
            .into();
        for (socket, forwarded, client) in [
            ("192.0.2.1", vec![], "192.0.2.1"),
            ("192.0.2.1", vec!["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec!["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.0.0.1", vec!["198.51.100.7"], "198.51.100.7"),
            ("2001:db8::1", vec!["198.51.100.7"], "198.51.100.7"),
            (
                "10.0.0.1",
                vec!["203.0.113.9, 198.51.100.7"],
                "198.51.100.7",
            ),
            (
                "10.0.0.1",
                vec!["203.0.113.9", "198.51.100.7"],
                "198.51.100.7",
            ),
            ("10.0.0.1", vec!["198.51.100.7,10.0.0.2"], "198.51.100.7"),
            (
                "10.0.0.1",
                vec!["198.51.100.7", "10.0.0.2,10.0.0.3"],
                "198.51.100.7",
            ),
            ("10.0.0.1", vec!["10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", vec!["198.51.100.7, unknown"], "10.0.0.1"),
            ("10.0.0.1", vec!["198.51.100.7:443"], "10.0.0.1"),
            ("10.0.0.1", vec![""], "10.0.0.1"),
        ] {
            let found = behind(&proxies, socket.parse().unwrap(), forwarded.iter().copied());
            assert_eq!(
                found,
                client.parse::<IpAddr>().unwrap(),
                "{socket} {forwarded:?}"
            );
        }
        let alone = behind(
            &[],
            "10.0.0.1".parse().unwrap(),
            ["198.51.100.7"].into_iter(),
        );
        assert_eq!(alone, "10.0.0.1".parse::<IpAddr>().unwrap());
    }
}
