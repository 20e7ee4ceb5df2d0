//! A URL of a database: what PostgreSQL's own client takes, as far as the one here does.

use super::failure::{Failure, Kind};
use deadpool_postgres::{ConfigConnectImpl, Connect, Manager, ManagerConfig};
use futures_util::future::BoxFuture;
use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long one address has to answer, before the next is tried: a few trips around the earth.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(700);

/// How long one of several servers has for all that makes a connection, before the next is asked:
/// two that say nothing leave time for the third within a call.
const HOST_TIMEOUT: Duration = Duration::from_millis(900);

const _: () = assert!(2 * HOST_TIMEOUT.as_millis() < super::database::PATIENCE.as_millis());

/// How long the network may take none of what was sent, before the connection counts as lost.
const UNACKNOWLEDGED: Duration = Duration::from_secs(3);

/// How long a connection says nothing before it is asked whether it is alive, how often it is
/// asked again, and after how long each: a server that has gone is noticed within 20 s by who
/// asks nothing.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(11);
const KEEPALIVE_RETRIES: u32 = 3;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// How long the server waits for a row that another keeps, before who wants it is told: longer
/// than a host that has stalled can keep it ([`IDLE_IN_TRANSACTION`]).
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long a host may say nothing within a transaction: it answers within a millisecond, and
/// keeps a workspace from all others meanwhile.
pub(super) const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(1);

/// How long a statement may take that nothing else bounds, such as an operator's copy of a store. One
/// that writes for a request, or lists, has less (`STATEMENT_IN_WRITE`, `STATEMENT_IN_LIST`).
pub(super) const STATEMENT: Duration = Duration::from_secs(30);

type Connected = (Client, JoinHandle<()>);

/// What a database is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// It is read and written, by the server that writes.
    Write,
    /// It is looked at, by any.
    Look,
}

/// Where the database is, and how it is spoken to. A parameter that its URL names has the value
/// that the URL gives.
///
/// # Errors
///
/// When it is no such URL, or no certificate can be read.
pub(super) fn manager(url: &str, access: Access) -> Result<Manager, Failure> {
    let (url, parameters) = split(url);
    let hosts = each_host(url, &parameters).into_iter();
    let configs: Result<Vec<_>, _> = hosts.map(|url| config(&url, &parameters, access)).collect();
    let all = config(url, &parameters, access)?;
    let is_remote = !all.get_hostaddrs().is_empty()
        || all
            .get_hosts()
            .iter()
            .any(|host| matches!(host, Host::Tcp(_)));
    let one: Box<dyn Connect> = if !is_remote || all.get_ssl_mode() == SslMode::Disable {
        Box::new(ConfigConnectImpl { tls: NoTls })
    } else {
        let certificate = said(&parameters, "sslrootcert");
        let certificate = certificate.map(|path| percent_decode_str(path).decode_utf8_lossy());
        let tls = MakeRustlsConnect::new(tls(certificate.as_deref())?);
        Box::new(ConfigConnectImpl { tls })
    };
    let connect = EachHost {
        configs: configs?,
        first: AtomicUsize::default(),
        one,
    };
    Ok(Manager::from_connect(
        all,
        connect,
        ManagerConfig::default(),
    ))
}

/// Asks the servers one after the other, and first the one that answered last. One that takes
/// connections and then says nothing keeps nobody from the next, as it would the client by itself.
struct EachHost {
    configs: Vec<Config>,
    first: AtomicUsize,
    one: Box<dyn Connect>,
}

impl Connect for EachHost {
    fn connect(&self, all: &Config) -> BoxFuture<'_, Result<Connected, tokio_postgres::Error>> {
        let whichever = self.one.connect(all);
        Box::pin(async move {
            let mut configs: Vec<_> = self.configs.iter().enumerate().collect();
            configs.rotate_left(self.first.load(Ordering::Relaxed));
            for (number, config) in configs {
                let connected = timeout(HOST_TIMEOUT, self.one.connect(config)).await;
                if let Ok(Ok(connected)) = connected {
                    self.first.store(number, Ordering::Relaxed);
                    return Ok(connected);
                }
            }
            whichever.await
        })
    }
}

/// The URL, once for each of its hosts, where it has several.
fn each_host(url: &str, parameters: &[(&str, &str)]) -> Vec<String> {
    let is_parameter = ["host", "hostaddr", "port"].map(|name| said(parameters, name).is_some());
    let begin = url.rfind('@').map(|at| at + 1);
    let begin = begin.or_else(|| Some(url.find("://")? + 3));
    let Some((before, rest)) = begin.and_then(|begin| url.split_at_checked(begin)) else {
        return Vec::new();
    };
    let (hosts, database) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if is_parameter.contains(&true) || !hosts.contains(',') {
        return Vec::new();
    }
    let hosts = hosts.split(',');
    hosts
        .map(|host| format!("{before}{host}{database}"))
        .collect()
}

fn said<'a>(parameters: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    let mut parameters = parameters.iter();
    parameters.find_map(|(said, value)| (*said == name).then_some(*value))
}

fn config(url: &str, parameters: &[(&str, &str)], access: Access) -> Result<Config, Failure> {
    let said = |name: &str| said(parameters, name);
    let mut config: Config = clean(url, parameters).parse().map_err(Failure::from)?;
    if said("connect_timeout").is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if said("tcp_user_timeout").is_none() {
        config.tcp_user_timeout(UNACKNOWLEDGED);
    }
    if said("keepalives_idle").is_none() {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if said("keepalives_retries").is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    if said("keepalives_interval").is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if said("target_session_attrs").is_none() && access == Access::Write {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    if config.get_application_name().is_none() {
        config.application_name("chat-store");
    }
    config.options(options(config.get_options()));
    Ok(config)
}

/// What a connection begins with, and what the URL says after it: the last counts. What is
/// acknowledged is durable whatever the server's usual setting.
fn options(of_url: Option<&str>) -> String {
    format!(
        "-c synchronous_commit=on -c statement_timeout={} -c lock_timeout={} \
         -c idle_in_transaction_session_timeout={} {}",
        STATEMENT.as_millis(),
        LOCK_TIMEOUT.as_millis(),
        IDLE_IN_TRANSACTION.as_millis(),
        of_url.unwrap_or_default()
    )
}

/// The URL and its parameters. A `?` in a password that is not written `%3F` is none of theirs.
fn split(url: &str) -> (&str, Vec<(&str, &str)>) {
    let login = url.rfind('@').unwrap_or_default();
    let begin = url.get(login..).and_then(|rest| rest.find('?'));
    let Some((before, parameters)) = begin.and_then(|begin| {
        let (before, parameters) = url.split_at_checked(login + begin)?;
        Some((before, parameters.strip_prefix('?')?))
    }) else {
        return (url, Vec::new());
    };
    let parameters = parameters.split('&');
    let parameters = parameters.filter_map(|parameter| parameter.split_once('='));
    (before, parameters.collect())
}

/// As the client takes it. It knows no modes but `disable`, `prefer` and `require`, and no file
/// of certificates.
fn clean(url: &str, parameters: &[(&str, &str)]) -> String {
    let known = parameters.iter().filter(|(name, _)| *name != "sslrootcert");
    let known = known.map(|(name, value)| match (*name, *value) {
        ("sslmode", "verify-ca" | "verify-full") => "sslmode=require".to_owned(),
        ("sslmode", "allow") => "sslmode=prefer".to_owned(),
        (name, value) => format!("{name}={value}"),
    });
    let known: Vec<_> = known.collect();
    format!("{url}?{}", known.join("&"))
}

/// Whoever encrypts also verifies the server's certificate and its name, by the certificates in
/// the file at the path or else by the system's.
fn tls(certificate: Option<&str>) -> Result<ClientConfig, Failure> {
    let fault = |problem: String| Failure::new(Kind::Fault, problem);
    let mut roots = RootCertStore::empty();
    match certificate {
        Some(path) => {
            let problem = |error| fault(format!("sslrootcert {path}: {error}"));
            let certificates = CertificateDer::pem_file_iter(path).map_err(problem)?;
            for certificate in certificates {
                let added = roots.add(certificate.map_err(problem)?);
                added.map_err(|error| fault(format!("sslrootcert {path}: {error}")))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(url: &str) -> String {
        let (url, parameters) = split(url);
        clean(url, &parameters)
    }

    #[test]
    fn what_the_client_does_not_know_is_translated() {
        for (url, expected) in [
            ("postgres://a@b/c", "postgres://a@b/c?"),
            (
                "postgres://a:p?w@b,d:1/c?sslmode=verify-full&sslrootcert=%2Fx&connect_timeout=3",
                "postgres://a:p?w@b,d:1/c?sslmode=require&connect_timeout=3",
            ),
            (
                "postgres://b/c?sslmode=allow",
                "postgres://b/c?sslmode=prefer",
            ),
            (
                "postgres://b/c?sslmode=disable",
                "postgres://b/c?sslmode=disable",
            ),
        ] {
            assert_eq!(cleaned(url), expected);
        }
    }

    #[test]
    fn each_host_is_asked_by_itself() {
        let hosts = |url: &str| {
            let (url, parameters) = split(url);
            each_host(url, &parameters)
        };
        assert_eq!(
            hosts("postgres://chat:a,b/c@one:1,two,[::1]:3/chat?sslmode=disable"),
            [
                "postgres://chat:a,b/c@one:1/chat",
                "postgres://chat:a,b/c@two/chat",
                "postgres://chat:a,b/c@[::1]:3/chat",
            ]
        );
        assert_eq!(
            hosts("postgres://one,two"),
            ["postgres://one", "postgres://two"]
        );
        for url in ["postgres://one/a,b", "postgres:///chat?host=one,two", ""] {
            assert_eq!(hosts(url), Vec::<String>::new(), "{url}");
        }
    }

    #[test]
    fn a_url_that_says_nothing_asks_for_who_writes() {
        let shown = |url: &str| format!("{:?}", manager(url, Access::Write).unwrap());
        let usual = shown("postgres://chat:secret@one,two/chat?sslmode=disable");
        assert!(
            usual.contains("ReadWrite") && usual.contains("lock_timeout=1500"),
            "{usual}"
        );
        assert!(!usual.contains("secret"), "{usual}");
        let any = shown(
            "postgres://one/chat?sslmode=disable&target_session_attrs=any&connect_timeout=9\
             &options=-c%20lock_timeout%3D7",
        );
        assert!(!any.contains("ReadWrite") && any.contains("9s"), "{any}");
        assert!(
            any.contains("lock_timeout=1500") && any.contains("-c lock_timeout=7"),
            "{any}"
        );
    }

    #[test]
    fn a_url_that_is_none_is_named_without_its_password() {
        for url in [
            "postgres://chat:secret@one/chat?unknown=1",
            "postgres://chat:secret@one:port/chat",
            "mysql://chat:secret@one/chat",
        ] {
            let problem = manager(url, Access::Look).err().unwrap();
            let problem = crate::StoreError::from(problem).to_string();
            assert!(!problem.contains("secret"), "{problem}");
            assert!(problem.contains("invalid connection string"), "{problem}");
        }
    }

    #[test]
    fn a_file_of_certificates_that_is_not_there_is_named() {
        let url = "postgres://one/chat?sslmode=verify-full&sslrootcert=%2Fnone.pem";
        let problem =
            crate::StoreError::from(manager(url, Access::Look).err().unwrap()).to_string();
        assert!(problem.contains("sslrootcert /none.pem"), "{problem}");
    }
}
