//! Who is at the other end.

use axum::extract::{ConnectInfo, Request};
use ipnet::IpNet;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

/// The header in which a proxy says whom it speaks for: each adds the address at
/// its own other end.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Peers that are warned of: more are an attack, or strangers who send the header for fun.
const MAX_DOUBTED: usize = 1000;

/// The address of the client: that of the socket, or, as far as the addresses
/// nearer to the server are those of trusted proxies, the one that they tell.
pub(super) fn of(trusted_proxies: &[IpNet], request: &Request) -> IpAddr {
    behind(trusted_proxies, socket(request), forwarded(request)).0
}

fn forwarded(request: &Request) -> impl DoubleEndedIterator<Item = &str> {
    let values = request.headers().get_all(FORWARDED_FOR).iter();
    values.map(|value| value.to_str().unwrap_or_default())
}

/// The peers whose header was passed over: an operator hears once of each.
#[derive(Default)]
pub(super) struct Doubts(Mutex<HashSet<IpAddr>>);

/// Why a header was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    Undeclared,
    Unreadable,
}

impl Doubts {
    /// Warns of the peer of this request, where its header is passed over.
    pub(super) fn note(&self, trusted_proxies: &[IpNet], request: &Request) {
        let peer = socket(request).to_canonical();
        let (_, doubt) = behind(trusted_proxies, peer, forwarded(request));
        match doubt.filter(|_| self.is_new(peer)) {
            Some(Doubt::Undeclared) => tracing::warn!(
                %peer,
                "X-Forwarded-For of a peer that is no trusted proxy is passed over: all its clients \
                 count as one address. If it is your proxy, `serve --trusted-proxy {peer}`, or \
                 trusted-proxies in the configuration, makes it believed"
            ),
            Some(Doubt::Unreadable) => tracing::warn!(
                %peer,
                "X-Forwarded-For of a trusted proxy cannot be read and is passed over: its clients \
                 count as one address. Each proxy is to add an IP address, with or without a port"
            ),
            None => (),
        }
    }

    fn is_new(&self, peer: IpAddr) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < MAX_DOUBTED && known.insert(peer)
    }
}

/// Whether the other end of the socket is a trusted proxy.
pub(super) fn is_trusted_proxy(trusted_proxies: &[IpNet], request: &Request) -> bool {
    trusts(trusted_proxies, socket(request))
}

fn socket(request: &Request) -> IpAddr {
    let socket = request.extensions().get::<ConnectInfo<SocketAddr>>();
    socket.map_or(IpAddr::from(Ipv4Addr::UNSPECIFIED), |info| info.0.ip())
}

/// Bits that an IPv4 address has before it where it is written as one of IPv6 (RFC 4291
/// section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// A network of IPv4 may be written as one of IPv6, too; one that holds all of those is none.
fn trusts(trusted_proxies: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    let has = |network: &IpNet| match (network, address) {
        (IpNet::V6(network), IpAddr::V4(address)) => {
            network.prefix_len() >= MAPPED_BITS && network.contains(&address.to_ipv6_mapped())
        }
        _ => network.contains(&address),
    };
    trusted_proxies.iter().any(has)
}

/// The client, and why an operator may have wanted more of the header to be believed.
fn behind<'a>(
    trusted_proxies: &[IpNet],
    socket: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
) -> (IpAddr, Option<Doubt>) {
    let mut client = socket;
    for told in forwarded.rev().flat_map(|list| list.rsplit(',')) {
        if !trusts(trusted_proxies, client) {
            // What a client says of itself is nobody's mistake.
            return (client, (client == socket).then_some(Doubt::Undeclared));
        }
        match address(told.trim()) {
            Some(address) => client = address,
            None => return (client, Some(Doubt::Unreadable)),
        }
    }
    (client, None)
}

/// An address as proxies write it: some add the port, and some put IPv6 in brackets.
fn address(told: &str) -> Option<IpAddr> {
    let bare = told.parse().ok();
    let with_port = || told.parse().map(|socket: SocketAddr| socket.ip()).ok();
    let bracketed = || told.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare.or_else(with_port).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last proxy adds the last address; only what trusted ones add counts.
    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let proxies: Vec<IpNet> = ["10.0.0.0/8", "2001:db8::/32", "::ffff:172.16.0.0/108"]
            .map(|network| network.parse().unwrap())
            .into();
        for (socket, forwarded, client) in [
            ("192.0.2.1", vec![], "192.0.2.1"),
            ("192.0.2.1", vec!["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec!["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.0.0.1", vec!["198.51.100.7"], "198.51.100.7"),
            ("172.16.0.1", vec!["198.51.100.7"], "198.51.100.7"),
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
            ("10.0.0.1", vec!["198.51.100.7:51234"], "198.51.100.7"),
            ("10.0.0.1", vec!["[2620:0:2d0::7]:443"], "2620:0:2d0::7"),
            ("10.0.0.1", vec!["[2620:0:2d0::7]"], "2620:0:2d0::7"),
            (
                "10.0.0.1",
                vec!["198.51.100.7:51234, 10.0.0.2:80"],
                "198.51.100.7",
            ),
            ("10.0.0.1", vec!["198.51.100.7:x"], "10.0.0.1"),
            ("10.0.0.1", vec!["[198.51.100.7"], "10.0.0.1"),
            ("10.0.0.1", vec![""], "10.0.0.1"),
        ] {
            let forwarded_by = forwarded.iter().copied();
            let (found, _) = behind(&proxies, socket.parse().unwrap(), forwarded_by);
            assert_eq!(
                found,
                client.parse::<IpAddr>().unwrap(),
                "{socket} {forwarded:?}"
            );
        }
        let proxy: IpAddr = "10.0.0.1".parse().unwrap();
        let all_of_ipv6 = ["::/0".parse().unwrap()];
        assert!(!trusts(&all_of_ipv6, proxy));
        let alone = behind(&[], proxy, ["198.51.100.7"].into_iter());
        assert_eq!(alone, (proxy, Some(Doubt::Undeclared)));
    }

    #[test]
    fn a_header_that_is_passed_over_is_doubted_unless_a_client_wrote_it() {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        for (socket, forwarded, doubt) in [
            ("192.0.2.1", "198.51.100.7", Some(Doubt::Undeclared)),
            ("10.0.0.1", "unknown", Some(Doubt::Unreadable)),
            ("10.0.0.1", "198.51.100.7, _hidden", Some(Doubt::Unreadable)),
            ("10.0.0.1", "198.51.100.7", None),
            ("10.0.0.1", "nonsense, 198.51.100.7", None),
            ("10.0.0.1", "198.51.100.7, 10.0.0.2", None),
        ] {
            let forwarded = [forwarded].into_iter();
            let (_, found) = behind(&proxies, socket.parse().unwrap(), forwarded);
            assert_eq!(found, doubt, "{socket}");
        }
    }

    #[test]
    fn each_peer_is_told_of_once_and_not_too_many() {
        let doubts = Doubts::default();
        let peer = |n: u32| IpAddr::from(Ipv4Addr::from_bits(n));
        assert!(doubts.is_new(peer(1)));
        assert!(!doubts.is_new(peer(1)));
        let told = (0..10_000).filter(|n| doubts.is_new(peer(*n))).count();
        assert_eq!(told, MAX_DOUBTED - 1);
    }
}
