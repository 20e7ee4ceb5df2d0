//! Why a plugin is not admitted.

use super::key_id::KeyId;
use crate::digest::Digest;
use crate::grants::Capability;
use serde::{Serialize, Serializer};

/// Characters of a name or a text that come from a plugin, in a report.
const MAX_QUOTED: usize = 200;

/// How alike two names must be for one to be shown as the nearest of the other,
/// from 0 to 1.
const LIKENESS: f64 = 0.5;

/// One reason why a plugin is not admitted. The texts say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file is larger than any plugin of this host.
    #[error("it is larger than {limit} bytes, which is `plugin-bytes` of [host]")]
    TooLarge {
        /// Bytes in the largest plugin.
        limit: usize,
    },
    /// The file is not the one that the operator chose.
    #[error("its digest is {found}, and {pinned} is pinned: pin the new one if you know it")]
    DigestMismatch {
        /// What the configuration says.
        pinned: Digest,
        /// The file's.
        found: Digest,
    },
    /// Signatures are required, and there is none.
    #[error(
        "it is not signed, and trust roots are configured: put the signature beside it, \
         `minisign -Sm PLUGIN` makes PLUGIN.minisig"
    )]
    NotSigned,
    /// It is signed with a key that is no trust root.
    #[error("it is signed with the key {key}, which is no trust root")]
    UntrustedKey {
        /// The key that the signature names.
        key: KeyId,
    },
    /// The signature is not one of this file.
    #[error("its signature is not right: {reason}")]
    BadSignature {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It is not WebAssembly.
    #[error("it is not WebAssembly, or only its text: a plugin is a binary component")]
    NotWebAssembly,
    /// It is a core module.
    #[error("it is a core module, not a component: `host-harness componentize` makes one of it")]
    CoreModule,
    /// It is code that somebody compiled for a machine.
    #[error("it is compiled code, which the host makes itself: give it the component")]
    Precompiled,
    /// Its bytes break the rules of the format, or use what this host turns off.
    #[error("it is not a valid component: {reason}")]
    Invalid {
        /// The first rule that is broken, and where.
        reason: String,
    },
    /// It has more parts than any plugin needs, which cost time to look at.
    #[error("it has {found} {what}, and at most {limit} are allowed")]
    TooComplex {
        /// Which parts.
        what: &'static str,
        /// How many, or more.
        found: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// It imports what this host does not have.
    #[error(
        "it imports `{import}`, which this host does not offer{}",
        hint(nearest)
    )]
    UnknownImport {
        /// What it imports.
        import: String,
        /// What it may have meant.
        nearest: Option<String>,
    },
    /// It imports an item that the interface does not have.
    #[error(
        "it imports `{item}` of {interface}, which has no such item{}",
        hint(nearest)
    )]
    UnknownItem {
        /// The interface.
        interface: String,
        /// What it does not have.
        item: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// It imports what was not granted.
    #[error("it needs `{capability}`, which is not granted: grant it, or use another plugin")]
    NotGranted {
        /// What it imports.
        capability: Capability,
    },
    /// An item is not of the type that the contract gives it.
    #[error("{item} is not that of the contract: {difference}")]
    Mismatch {
        /// What.
        item: String,
        /// How it differs.
        difference: String,
    },
    /// It does not export what the host calls.
    #[error("it does not export {export}, which this host calls")]
    MissingExport {
        /// What the host calls.
        export: String,
    },
    /// It asks for more than the host gives to a call.
    #[error("it needs {needed} {what}, and a call gets at most {limit}")]
    NeedsTooMuch {
        /// What of.
        what: &'static str,
        /// How much, at least.
        needed: u64,
        /// How much there is.
        limit: u64,
    },
    /// It cannot be compiled.
    #[error("it cannot be compiled: {reason}")]
    CompileFailed {
        /// Why not.
        reason: String,
    },
    /// To compile it takes more than a compiler gets.
    #[error("to compile it takes more than {limit}, which is what any plugin gets")]
    CompileTooCostly {
        /// How much of what.
        limit: String,
    },
    /// It is not compiled, for which the plugin cannot be blamed.
    #[error("the host cannot start its compiler: {reason}")]
    NoCompiler {
        /// Why not.
        reason: String,
    },
    /// An instance could not be made of it.
    #[error("an instance of it cannot be made: {reason}")]
    ProbeFailed {
        /// Why not.
        reason: String,
    },
}

impl Problem {
    /// A stable name for scripts and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::DigestMismatch { .. } => "digest-mismatch",
            Self::NotSigned => "not-signed",
            Self::UntrustedKey { .. } => "untrusted-key",
            Self::BadSignature { .. } => "bad-signature",
            Self::NotWebAssembly => "not-webassembly",
            Self::CoreModule => "core-module",
            Self::Precompiled => "precompiled",
            Self::Invalid { .. } => "invalid",
            Self::TooComplex { .. } => "too-complex",
            Self::UnknownImport { .. } => "unknown-import",
            Self::UnknownItem { .. } => "unknown-item",
            Self::NotGranted { .. } => "not-granted",
            Self::Mismatch { .. } => "mismatch",
            Self::MissingExport { .. } => "missing-export",
            Self::NeedsTooMuch { .. } => "needs-too-much",
            Self::CompileFailed { .. } => "compile-failed",
            Self::CompileTooCostly { .. } => "compile-too-costly",
            Self::NoCompiler { .. } => "no-compiler",
            Self::ProbeFailed { .. } => "probe-failed",
        }
    }
}

/// The code, and the text for people.
impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Coded {
            code: &'static str,
            text: String,
        }
        let text = self.to_string();
        let code = self.code();
        Coded { code, text }.serialize(serializer)
    }
}

/// A text that comes from a plugin: cut, and without what moves a cursor.
pub(super) fn quoted(text: &str) -> String {
    text.escape_debug().take(MAX_QUOTED).collect()
}

/// The first line of each cause of an error: the others are hexadecimal dumps.
pub(super) fn causes<'a, E: std::fmt::Display + ?Sized + 'a>(
    chain: impl Iterator<Item = &'a E>,
) -> String {
    let causes = chain.map(|cause| {
        let text = cause.to_string();
        quoted(text.lines().next().unwrap_or_default())
    });
    causes.collect::<Vec<_>>().join(": ")
}

/// The candidate that is most like `name`.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let name: String = name.chars().take(MAX_QUOTED).collect();
    let likeness = |candidate: &&str| strsim::normalized_levenshtein(&name, candidate);
    candidates
        .into_iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .filter(|best| likeness(best) >= LIKENESS)
        .map(str::to_owned)
}

fn hint(nearest: &Option<String>) -> String {
    match nearest {
        Some(name) => format!("; the nearest that there is: `{name}`"),
        None => String::new(),
    }
}
