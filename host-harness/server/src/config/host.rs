//! The keys of `[host]` and `[plugins]`.

use super::Host;
use super::limits;
use super::reader::{Key, path};
use ipnet::IpNet;
use plugin_sandbox::admission::{InvalidTrustRoot, MAX_FILE, TrustRoot};
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use url::Url;

pub(super) const KEYS: [Key<Host>; 11] = [
    Key {
        name: "listen",
        read: |host, entry, reader| reader.text(entry, &mut host.listen, address),
    },
    Key {
        name: "admin-listen",
        read: |host, entry, reader| {
            let public = host.listen;
            reader.text(entry, &mut host.admin_listen, |text| {
                admin_address(address(text)?, public).map(Some)
            });
        },
    },
    Key {
        name: "trusted-proxies",
        read: |host, entry, reader| reader.texts(entry, &mut host.trusted_proxies, network),
    },
    Key {
        name: "cache",
        read: |host, entry, reader| {
            let folder = reader.folder();
            reader.text(entry, &mut host.cache, |text| path(folder, text).map(Some));
        },
    },
    Key {
        name: "key-file",
        read: |host, entry, reader| {
            let folder = reader.folder();
            reader.text(entry, &mut host.key_file, |text| {
                path(folder, text).map(Some)
            });
        },
    },
    Key {
        name: "trust",
        read: |host, entry, reader| reader.texts(entry, &mut host.trust, public_key),
    },
    Key {
        name: "plugin-bytes",
        read: |host, entry, reader| {
            let range = 65_536..=MAX_FILE as u64;
            reader.number(entry, &mut host.capacity.plugin_bytes, &range, "bytes");
        },
    },
    Key {
        name: "calls",
        read: |host, entry, reader| {
            reader.number(entry, &mut host.capacity.calls, &(1..=4096), "calls");
        },
    },
    Key {
        name: "waiting",
        read: |host, entry, reader| {
            reader.number(entry, &mut host.capacity.waiting, &(0..=100_000), "calls");
        },
    },
    Key {
        name: "otlp",
        read: |host, entry, reader| {
            reader.text(entry, &mut host.otlp, |text| collector(text).map(Some));
        },
    },
    Key {
        name: "limits",
        read: |host, entry, reader| limits::read(entry, reader, &mut host.capacity.ceiling, None),
    },
];

pub(super) const PLUGIN_KEYS: [Key<Vec<PathBuf>>; 1] = [Key {
    name: "files",
    read: |files, entry, reader| {
        let folder = reader.folder();
        reader.texts(entry, files, |text| path(folder, text));
    },
}];

fn address(text: &str) -> Result<SocketAddr, String> {
    let invalid = |_| "it is an address and port such as 127.0.0.1:3000".to_owned();
    text.parse().map_err(invalid)
}

/// An address for the admin listener: whoever reaches that is believed.
///
/// # Errors
///
/// Other machines reach it, or it is `public`; in words for the user.
pub fn admin_address(admin: SocketAddr, public: SocketAddr) -> Result<SocketAddr, String> {
    if !admin.ip().is_loopback() {
        return Err(
            "it has no log-in: only an address of this machine, such as 127.0.0.1:3001, is taken"
                .to_owned(),
        );
    }
    let taken = public.ip() == admin.ip() || public.ip().is_unspecified();
    if taken && public.port() == admin.port() && admin.port() != 0 {
        return Err(format!("listen, {public}, takes this port already"));
    }
    Ok(admin)
}

/// A network, or one address.
///
/// # Errors
///
/// When it is neither, in words for the user.
pub fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse().or_else(|_| address());
    network.map_err(|_| "it is a list of networks such as 10.0.0.0/8".to_owned())
}

fn public_key(text: &str) -> Result<TrustRoot, String> {
    let invalid = |_: InvalidTrustRoot| {
        "it is a list of minisign public keys, each 56 characters that begin with RWQ".to_owned()
    };
    text.parse().map_err(invalid)
}

/// The address of a collector.
///
/// # Errors
///
/// When it is none, in words for the user; they hold nothing of it.
pub(crate) fn collector(text: &str) -> Result<Url, String> {
    let invalid = || {
        "it is an address such as https://collector.example:4318, without log-in or query"
            .to_owned()
    };
    let url = Url::parse(text).map_err(|_| invalid())?;
    let is_bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && is_bare {
        return Ok(url);
    }
    Err(invalid())
}
