//! Which collector is sent traces, and how: the configuration's, or what the variables say that
//! OpenTelemetry's specification of OTLP exporters names. Those with `TRACES_` come first.

use super::StartError;
use crate::config;
use axum::http::{HeaderName, HeaderValue};
use chat_domain::mail_server::is_this_machine;
use plugin_sandbox::regular_file;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;
use url::Url;

/// How long one delivery may take with its retries, below which a collector that
/// only stumbles loses nothing.
const DELIVERY_LIMIT: Duration = Duration::from_secs(5);

/// How long it may be said to take, in milliseconds: spans wait meanwhile, and are lost where they
/// are too many.
const TIMEOUTS: RangeInclusive<u64> = 1..=60_000;

/// Where OTLP over HTTP takes traces.
const PATH: &str = "v1/traces";

/// Largest file of authorities, in bytes: a system's own has a quarter of a million.
const MAX_AUTHORITIES: u64 = 4 << 20;

/// What is not followed; silence about it would be a trap.
const NOT_FOLLOWED: [&str; 2] = ["CLIENT_CERTIFICATE", "CLIENT_KEY"];

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Protobuf over HTTP/1.
    Http,
    Grpc,
}

impl Protocol {
    /// As the variable calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http/protobuf",
            Self::Grpc => "grpc",
        }
    }
}

/// A collector.
#[derive(Debug)]
pub(super) struct Collector {
    /// Whole: of OTLP over HTTP with the path.
    pub(super) url: Url,
    pub(super) protocol: Protocol,
    /// For a delivery with its retries.
    pub(super) timeout: Duration,
    /// Whose certificates are trusted, in PEM; none for the system's.
    pub(super) authorities: Option<Authorities>,
}

/// Certificates of authorities.
#[derive(Debug)]
pub(super) struct Authorities {
    pub(super) pem: Vec<u8>,
    pub(super) roots: RootCertStore,
}

impl Collector {
    /// The one at `configured`, or else where the variables say; none where neither names one.
    ///
    /// # Errors
    ///
    /// When a variable has a value that cannot be followed.
    pub(super) fn of(
        configured: Option<&Url>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Self>, StartError> {
        let variables = Variables(variable);
        let protocol = variables.protocol()?;
        let Some(url) = variables.url(configured, protocol)? else {
            return Ok(None);
        };
        for name in NOT_FOLLOWED {
            if let Some(found) = variables.get(name)? {
                return Err(found.is_wrong("no certificate of a client is sent"));
            }
        }
        variables.require_no_compression()?;
        variables.require_headers(&url)?;
        Ok(Some(Self {
            timeout: variables.timeout()?,
            authorities: match url.scheme() {
                "https" => variables.authorities()?,
                _ => None,
            },
            url,
            protocol,
        }))
    }
}

/// The environment.
struct Variables<F>(F);

/// A variable that is there and not empty.
struct Found {
    name: String,
    value: String,
}

impl Found {
    /// The value may be a secret: it is not told.
    fn is_wrong(&self, problem: impl Into<String>) -> StartError {
        StartError::Variable {
            name: self.name.clone(),
            problem: problem.into(),
        }
    }
}

impl<F: Fn(&str) -> Option<OsString>> Variables<F> {
    /// The variable of traces, or of all signals.
    fn get(&self, name: &str) -> Result<Option<Found>, StartError> {
        match self.of_traces(name)? {
            None => self.at(format!("OTEL_EXPORTER_OTLP_{name}")),
            found => Ok(found),
        }
    }

    fn of_traces(&self, name: &str) -> Result<Option<Found>, StartError> {
        self.at(format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
    }

    fn at(&self, name: String) -> Result<Option<Found>, StartError> {
        let value = (self.0)(&name).filter(|value| !value.is_empty());
        match value.map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(Found { name, value })),
            Some(Err(_)) => Err(StartError::Variable {
                name,
                problem: "it is not UTF-8".to_owned(),
            }),
        }
    }

    fn protocol(&self) -> Result<Protocol, StartError> {
        let Some(found) = self.get("PROTOCOL")? else {
            return Ok(Protocol::Http);
        };
        match found.value.as_str() {
            "grpc" => Ok(Protocol::Grpc),
            "http/protobuf" => Ok(Protocol::Http),
            _ => Err(found.is_wrong("it is grpc or http/protobuf")),
        }
    }

    /// Of OTLP over HTTP, a path is added to what is for all signals, and to an address in the
    /// configuration that has none.
    fn url(&self, configured: Option<&Url>, protocol: Protocol) -> Result<Option<Url>, StartError> {
        let (found, is_base) = match self.of_traces("ENDPOINT")? {
            Some(found) => (Some(found), false),
            None => (self.get("ENDPOINT")?, true),
        };
        let (mut url, is_base) = match (configured, &found) {
            (Some(url), _) => (url.clone(), url.path() == "/"),
            (None, Some(found)) => {
                let url = config::collector(&found.value);
                (url.map_err(|problem| found.is_wrong(problem))?, is_base)
            }
            (None, None) => return Ok(None),
        };
        match protocol {
            Protocol::Http if is_base => {
                let base = url.path().trim_end_matches('/');
                let path = format!("{base}/{PATH}");
                url.set_path(&path);
            }
            Protocol::Grpc if url.path() != "/" => return Err(StartError::PathOfGrpc(url)),
            Protocol::Http | Protocol::Grpc => (),
        }
        Ok(Some(url))
    }

    fn timeout(&self) -> Result<Duration, StartError> {
        let Some(found) = self.get("TIMEOUT")? else {
            return Ok(DELIVERY_LIMIT);
        };
        let millis = found.value.parse().ok();
        let millis = millis.filter(|millis| TIMEOUTS.contains(millis));
        millis.map(Duration::from_millis).ok_or_else(|| {
            let (least, most) = (TIMEOUTS.start(), TIMEOUTS.end());
            found.is_wrong(format!("it is a whole number, {least} to {most} ms"))
        })
    }

    fn require_no_compression(&self) -> Result<(), StartError> {
        match self.get("COMPRESSION")? {
            Some(found) if found.value != "none" => {
                Err(found.is_wrong("it is none: nothing is compressed"))
            }
            _ => Ok(()),
        }
    }

    /// The exporter reads them itself, and passes over in silence what is none.
    fn require_headers(&self, url: &Url) -> Result<(), StartError> {
        let Some(found) = self.get("HEADERS")? else {
            return Ok(());
        };
        let host = url.host_str().unwrap_or_default();
        if url.scheme() == "http" && !is_this_machine(host.trim_matches(['[', ']'])) {
            return Err(found.is_wrong(
                "they may be a secret, and are sent to another machine over https alone",
            ));
        }
        let is_header = |text: &str| {
            let (name, value) = text.split_once('=')?;
            HeaderName::try_from(name.trim()).ok()?;
            HeaderValue::try_from(decoded(value.trim())?).ok()
        };
        let headers = found.value.split_terminator(',');
        let wrong = headers.map(is_header).position(|header| header.is_none());
        wrong.map_or(Ok(()), |place| {
            let number = place + 1;
            Err(found.is_wrong(format!(
                "header {number} is not name=value, with other characters than letters and digits \
                 as %20 and the like"
            )))
        })
    }

    fn authorities(&self) -> Result<Option<Authorities>, StartError> {
        let Some(found) = self.get("CERTIFICATE")? else {
            return Ok(None);
        };
        let path = &found.value;
        let pem = regular_file::read(Path::new(path), MAX_AUTHORITIES + 1)
            .map_err(|error| found.is_wrong(format!("cannot read {path}: {error}")))?;
        if pem.len() as u64 > MAX_AUTHORITIES {
            let problem = format!("{path} is larger than {MAX_AUTHORITIES} bytes");
            return Err(found.is_wrong(problem));
        }
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let mut roots = RootCertStore::empty();
        let trusted = roots.add_parsable_certificates(certificates.unwrap_or_default());
        match trusted {
            (1.., 0) => Ok(Some(Authorities { pem, roots })),
            _ => Err(found.is_wrong(format!("{path} does not hold certificates in PEM alone"))),
        }
    }
}

/// What `%` and two hexadecimal digits stand for, too; none where it is not so.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----
MIIBfDCCASOgAwIBAgIUQ9PLpHfeoPqJ3uFYr7w0sS1E7QwwCgYIKoZIzj0EAwIw
-----END CERTIFICATE-----
";

    fn of(
        configured: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Result<Option<Collector>, String> {
        let configured = configured.map(|url| url.parse().unwrap());
        let variable = |name: &str| {
            let mut found = variables.iter().filter(|(known, _)| {
                name == *known || name.strip_prefix("OTEL_EXPORTER_OTLP_") == Some(known)
            });
            found.next().map(|(_, value)| OsString::from(value))
        };
        Collector::of(configured.as_ref(), variable).map_err(|error| error.to_string())
    }

    fn url(configured: Option<&str>, variables: &[(&str, &str)]) -> String {
        let collector = of(configured, variables).unwrap();
        collector.map_or("none".to_owned(), |collector| collector.url.to_string())
    }

    /// As the specification of OTLP exporters says.
    #[test]
    fn the_configuration_comes_first_and_then_the_variable_of_traces() {
        let for_all = ("ENDPOINT", "http://all:1/base/");
        let for_traces = ("TRACES_ENDPOINT", "https://traces:2/taken/here");
        assert_eq!(url(None, &[]), "none");
        assert_eq!(url(None, &[("ENDPOINT", "")]), "none");
        assert_eq!(url(None, &[for_all]), "http://all:1/base/v1/traces");
        assert_eq!(
            url(None, &[for_all, for_traces]),
            "https://traces:2/taken/here"
        );
        assert_eq!(url(None, &[("TRACES_ENDPOINT", "http://a")]), "http://a/");
        let configured = Some("https://configured:3");
        assert_eq!(
            url(configured, &[for_all, for_traces]),
            "https://configured:3/v1/traces"
        );
        assert_eq!(url(Some("http://c/path"), &[]), "http://c/path");
    }

    #[test]
    fn grpc_is_spoken_where_a_variable_says_so() {
        let collector = |variables: &[_]| of(Some("http://a:4317"), variables).unwrap().unwrap();
        let default = collector(&[]);
        assert_eq!(default.protocol, Protocol::Http);
        assert_eq!(default.timeout, DELIVERY_LIMIT);
        let grpc = collector(&[("PROTOCOL", "grpc"), ("TIMEOUT", "60000")]);
        assert_eq!(grpc.protocol, Protocol::Grpc);
        assert_eq!(grpc.url.as_str(), "http://a:4317/");
        assert_eq!(grpc.timeout, Duration::from_secs(60));
        let traces = ("TRACES_PROTOCOL", "http/protobuf");
        let http = collector(&[("PROTOCOL", "grpc"), traces]);
        assert_eq!(http.protocol, Protocol::Http);
    }

    #[test]
    fn what_cannot_be_followed_is_refused_by_the_name_of_the_variable() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            path.into_os_string().into_string().unwrap()
        };
        let (key, broken) = (file("key", "no certificate"), file("broken", AUTHORITY));
        let large = file("large", "");
        let sparse = fs::File::options().write(true).open(&large).unwrap();
        sparse.set_len(MAX_AUTHORITIES + 1).unwrap();
        let address = "it is an address such as https://collector.example:4318, without log-in or \
                       query";
        let header = |number| {
            format!(
                "header {number} is not name=value, with other characters than letters and digits \
                 as %20 and the like"
            )
        };
        for (name, value, problem) in [
            ("ENDPOINT", "collector:4317", address),
            ("TRACES_ENDPOINT", "https://ada:s3cret@collector", address),
            ("ENDPOINT", "http://collector?token=s3cret", address),
            ("PROTOCOL", "http/json", "it is grpc or http/protobuf"),
            ("TRACES_PROTOCOL", "GRPC", "it is grpc or http/protobuf"),
            ("TIMEOUT", "0", "it is a whole number, 1 to 60000 ms"),
            ("TIMEOUT", "60001", "it is a whole number, 1 to 60000 ms"),
            (
                "TRACES_TIMEOUT",
                "5s",
                "it is a whole number, 1 to 60000 ms",
            ),
            ("COMPRESSION", "gzip", "it is none: nothing is compressed"),
            (
                "CLIENT_KEY",
                "key.pem",
                "no certificate of a client is sent",
            ),
            ("HEADERS", "s3cret", &header(1)),
            ("HEADERS", "a=1,b b=s3cret", &header(2)),
            ("HEADERS", "a=1,", ""),
            ("TRACES_HEADERS", "a=1,b=2,c=s3cret%2", &header(3)),
            ("HEADERS", "a=s3cret%0A", &header(1)),
            ("HEADERS", "authorization=Basic%20YTpi, b=%E2%82%AC", ""),
            (
                "CERTIFICATE",
                "/nowhere",
                "cannot read /nowhere: No such file or directory (os error 2)",
            ),
            (
                "CERTIFICATE",
                "/dev/null",
                "cannot read /dev/null: it is no regular file",
            ),
            (
                "CERTIFICATE",
                &large,
                &format!("{large} is larger than 4194304 bytes"),
            ),
            (
                "CERTIFICATE",
                &key,
                &format!("{key} does not hold certificates in PEM alone"),
            ),
            (
                "CERTIFICATE",
                &broken,
                &format!("{broken} does not hold certificates in PEM alone"),
            ),
        ] {
            let variables = [("TRACES_ENDPOINT", "https://a"), (name, value)];
            let from = usize::from(name.ends_with("ENDPOINT"));
            let said = of(None, variables.get(from..).unwrap()).map(drop);
            let expected = match problem {
                "" => Ok(()),
                problem => Err(format!("OTEL_EXPORTER_OTLP_{name}: {problem}")),
            };
            assert_eq!(said, expected, "{value}");
        }
    }

    /// Whoever is on the way would have them.
    #[test]
    fn headers_leave_the_machine_by_tls_alone() {
        let headers = ("HEADERS", "authorization=Bearer%20s3cret");
        for url in [
            "https://collector.example",
            "http://localhost:4318",
            "http://127.0.0.2",
            "http://[::1]:4318",
        ] {
            assert!(of(Some(url), &[headers]).unwrap().is_some(), "{url}");
        }
        for url in [
            "http://collector.example",
            "http://10.0.0.1:4318",
            "http://[2001:db8::1]",
            "http://localhost.example",
        ] {
            let refused = of(Some(url), &[headers]).unwrap_err();
            assert_eq!(
                refused,
                "OTEL_EXPORTER_OTLP_HEADERS: they may be a secret, and are sent to another machine \
                 over https alone",
                "{url}"
            );
            assert!(of(Some(url), &[]).unwrap().is_some(), "{url}");
        }
    }

    #[test]
    fn without_a_collector_no_variable_but_its_protocol_matters() {
        let nothing = of(None, &[("TIMEOUT", "soon"), ("HEADERS", "none")]);
        assert!(nothing.unwrap().is_none());
    }

    #[test]
    fn grpc_has_no_path() {
        let variables = [
            ("PROTOCOL", "grpc"),
            ("ENDPOINT", "http://a:4317/v1/traces"),
        ];
        assert_eq!(
            of(None, &variables).unwrap_err(),
            "gRPC has no path: the collector http://a:4317/v1/traces is named without one"
        );
    }
}
