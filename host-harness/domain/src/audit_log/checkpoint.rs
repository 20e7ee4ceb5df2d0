//! What is signed of a log: a checkpoint (C2SP tlog-checkpoint) in a signed note (C2SP
//! signed-note), by an Ed25519 key of the workspace's.

use super::check::Past;
use super::{Hash, Secret};
use crate::settings::Settings;
use ed25519_dalek::{Signer as _, SigningKey};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;
use signed_note::{Note, Signer, StandardVerifier, Verifier as _, VerifierList};
use tlog_tiles::Checkpoint;

/// Who has issued a log, where its workspace does not say.
const ISSUER: &str = "host-harness";

/// What names a key has no blanks and no `+` (C2SP signed-note); what is shown has no controls.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// The algorithm Ed25519 in front of a key (C2SP signed-note).
const ED25519: u8 = 1;

/// The name of a workspace's log: that of its issuer and its own.
pub fn origin(settings: &Settings, workspace: &str) -> String {
    let [issuer, workspace] =
        [settings.issuer(ISSUER), workspace].map(|name| utf8_percent_encode(name, ESCAPED));
    format!("{issuer}/{workspace}")
}

/// Why a checkpoint is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It is no signed note.
    #[error("it is no signed checkpoint, or was edited")]
    Malformed,
    /// The key that should have signed it has not.
    #[error("the key of this log has not signed it: it is of another log, or was edited")]
    Unsigned,
    /// The text is no verifier key.
    #[error("a key is NAME+ID+KEY, as `audit checkpoint --key` prints it")]
    MalformedKey,
}

/// What signs checkpoints.
pub struct LogSigner {
    origin: String,
    key: SigningKey,
}

impl Secret {
    /// The signer of the log called `origin`.
    pub fn signer(&self, origin: &str) -> LogSigner {
        LogSigner {
            origin: origin.to_owned(),
            key: SigningKey::from_bytes(self.signing_seed().expose_secret()),
        }
    }

    /// What a checkpoint says that this secret has signed, whatever its log was called then.
    ///
    /// # Errors
    ///
    /// [`Distrust`] where it has not.
    pub fn open(&self, note: &str) -> Result<Past, Distrust> {
        let origin = note.lines().next().unwrap_or_default();
        let key = self.signer(origin).verifier_key();
        let key = VerifierKey::parse(&key).map_err(|_| Distrust::Malformed)?;
        Ok(key.open(note)?.past)
    }
}

impl LogSigner {
    /// The key that verifies, as C2SP signed-note writes it (vkey).
    pub fn verifier_key(&self) -> String {
        signed_note::new_ed25519_verifier_key(&self.origin, &self.key.verifying_key())
    }

    /// A signed checkpoint of a tree.
    ///
    /// # Errors
    ///
    /// [`Distrust::Malformed`] where the origin can name no log.
    pub fn sign(&self, size: u64, root: Hash) -> Result<String, Distrust> {
        self.sign_with(size, root, "")
    }

    /// With lines of its own, each of which ends with a newline.
    pub(super) fn sign_with(
        &self,
        size: u64,
        root: Hash,
        extension: &str,
    ) -> Result<String, Distrust> {
        let text = Checkpoint::new(&self.origin, size, root, extension);
        let text = text.map_err(|_| Distrust::Malformed)?.to_bytes();
        let mut note = Note::new(&text, &[]).map_err(|_| Distrust::Malformed)?;
        note.add_sigs(&[self]).map_err(|_| Distrust::Malformed)?;
        String::from_utf8(note.to_bytes()).map_err(|_| Distrust::Malformed)
    }
}

impl Signer for LogSigner {
    fn name(&self) -> &str {
        &self.origin
    }

    fn key_id(&self) -> u32 {
        let key = self.key.verifying_key();
        let key: Vec<u8> = [ED25519].into_iter().chain(key.to_bytes()).collect();
        signed_note::key_id(&self.origin, &key)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ed25519_dalek::SignatureError> {
        Ok(self.key.try_sign(message)?.to_vec())
    }
}

/// What verifies checkpoints of one log.
pub struct VerifierKey(StandardVerifier);

/// A checkpoint that its log has signed.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedCheckpoint {
    /// What the log was.
    pub past: Past,
    /// Lines beside that; each ends with a newline.
    pub extension: String,
}

impl VerifierKey {
    /// # Errors
    ///
    /// [`Distrust::MalformedKey`].
    pub fn parse(text: &str) -> Result<Self, Distrust> {
        let verifier = StandardVerifier::new(text).map_err(|_| Distrust::MalformedKey)?;
        Ok(Self(verifier))
    }

    /// The name of the log that it is of.
    pub fn origin(&self) -> &str {
        self.0.name()
    }

    /// What the note says, if it is a checkpoint of this log which this key has signed. Others
    /// may have signed it, too.
    ///
    /// # Errors
    ///
    /// [`Distrust::Malformed`] or [`Distrust::Unsigned`].
    pub fn open(&self, note: &str) -> Result<SignedCheckpoint, Distrust> {
        let note = Note::from_bytes(note.as_bytes()).map_err(|_| Distrust::Malformed)?;
        let known = VerifierList::new(vec![Box::new(self.0.clone())]);
        note.verify(&known).map_err(|_| Distrust::Unsigned)?;
        let checkpoint = Checkpoint::from_bytes(note.text()).map_err(|_| Distrust::Malformed)?;
        if checkpoint.origin() != self.origin() {
            return Err(Distrust::Unsigned);
        }
        Ok(SignedCheckpoint {
            past: Past {
                size: checkpoint.size(),
                root: *checkpoint.hash(),
            },
            extension: checkpoint.extension().to_owned(),
        })
    }
}
