//! Certificates for servers on this machine.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// An authority's certificate, `ca.pem`, and a server's for 127.0.0.1 by it, `cert.pem`, with its
/// key, `key.pem`.
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// New ones, which nobody trusts.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let server = server.signed_by(&key, &issuer).unwrap();
        for (name, content) in [
            ("ca.pem", ca_pem),
            ("cert.pem", server.pem()),
            ("key.pem", key.serialize_pem()),
        ] {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        Self { folder }
    }

    /// Where the one of this name is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

/// A certificate that vouches for itself, in PEM.
pub struct SelfSigned {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl SelfSigned {
    /// A new one for a server of this name or address.
    pub fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    /// Writes both into a folder, under these names.
    pub fn write(&self, folder: &Path, certificate: &str, key: &str) {
        std::fs::write(folder.join(certificate), &self.certificate).unwrap();
        std::fs::write(folder.join(key), &self.key).unwrap();
    }
}
