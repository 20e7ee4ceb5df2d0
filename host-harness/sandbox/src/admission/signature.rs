//! Detached ed25519 signatures in the format of minisign, and who is trusted.

use super::key_id::KeyId;
use super::problem::Problem;
use minisign_verify::{Error, PublicKey, Signature};
use std::str::FromStr;

/// A public key whose signatures are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRoot {
    id: KeyId,
    key: PublicKey,
}

/// A text is no public key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a trust root is the second line of a public key of minisign, which begins with `RW`")]
pub struct InvalidTrustRoot;

impl FromStr for TrustRoot {
    type Err = InvalidTrustRoot;

    fn from_str(text: &str) -> Result<Self, InvalidTrustRoot> {
        let key = PublicKey::from_base64(text).map_err(|_| InvalidTrustRoot)?;
        let id = KeyId::of(text).ok_or(InvalidTrustRoot)?;
        Ok(Self { id, key })
    }
}

/// Who signed `bytes`, as far as `roots` can tell: the signature is required and
/// looked at where there is any.
///
/// # Errors
///
/// [`Problem::NotSigned`], [`Problem::UntrustedKey`], [`Problem::BadSignature`].
pub(super) fn verify(
    bytes: &[u8],
    signature: Option<&str>,
    roots: &[TrustRoot],
) -> Result<Option<KeyId>, Problem> {
    if roots.is_empty() {
        return Ok(None);
    }
    let text = signature.ok_or(Problem::NotSigned)?;
    let bad = |reason| Problem::BadSignature { reason };
    let unreadable = || bad("it is not in the format of minisign");
    let signature = Signature::decode(text).map_err(|_| unreadable())?;
    let key = text.lines().nth(1).and_then(KeyId::of);
    let key = key.ok_or_else(unreadable)?;
    // Two keys may have the same identity, which anybody can choose.
    let mut problem = Problem::UntrustedKey { key };
    for root in roots.iter().filter(|root| root.id == key) {
        problem = match root.key.verify(bytes, &signature, false) {
            Ok(()) => return Ok(Some(key)),
            Err(Error::UnexpectedAlgorithm) => bad("it is of the legacy kind; sign again"),
            Err(_) => bad("the file or the signature was changed"),
        };
    }
    Err(problem)
}
