//! What is known of a plugin before it runs: for people by `Display`, for scripts
//! by serde.

use super::anatomy::{Needs, Producer};
use super::key_id::KeyId;
use super::problem::{Problem, quoted};
use crate::digest::Digest;
use crate::grants::Capability;
use serde::Serialize;
use std::fmt;

/// What no plugin can do, whatever is granted: there is no import for it.
const NEVER: [&str; 6] = [
    "open a file, use the network, start a program, or read arguments or environment variables",
    "get randomness, measure time, or keep anything from one call to the next",
    "see a token, a cookie, or another header of the request",
    "reach another workspace, or act for anybody but the caller of the request",
    "read the secret, the codes or the password of another member",
    "remove another member's factor without the caller's permission, a notice and a record; \
     or any without a right and unused code of the caller, unless the settings excuse the \
     caller from one; or two in one call",
];

/// What every plugin is given: the arguments of the export.
const GIVEN: &str = "the caller's id and whether the caller's token excuses from a code; of the \
                     request its body, its content type and its x-2fa headers. It writes the \
                     answer to the caller";

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A component, as a plugin is.
    Component,
    /// A core module.
    CoreModule,
    /// Compiled code.
    Precompiled,
    /// Something else.
    Other,
}

/// What is known of a plugin, and what speaks against it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The SHA-256 of its bytes; none of a file that is too large.
    pub digest: Option<Digest>,
    /// Its size in bytes; at least, where it is too large.
    pub size: usize,
    /// What it is.
    pub kind: Kind,
    /// The trusted key that signed it; none where no signature is required.
    pub signed_by: Option<KeyId>,
    /// What it calls itself.
    pub name: Option<String>,
    /// What made it, as it says.
    pub producers: Vec<Producer>,
    /// What it asks for.
    pub imports: Vec<Import>,
    /// What it offers.
    pub exports: Vec<String>,
    /// What an instance takes; none of what was not looked into.
    pub needs: Option<Needs>,
    /// Why it is not admitted; nothing when it may be.
    pub problems: Vec<Problem>,
}

/// One import, and the host's answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Import {
    /// As the component writes it.
    pub name: String,
    /// Which interface of the contract it is; none where it is no such.
    pub capability: Option<Capability>,
    /// What it lets the plugin do.
    pub allows: Option<&'static str>,
    /// What is wrong with it; nothing where it is granted.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Whether nothing speaks against the plugin.
    pub fn admissible(&self) -> bool {
        self.problems.is_empty()
    }

    fn imports(&self, capability: Capability) -> bool {
        let mut imports = self.imports.iter();
        imports.any(|import| import.capability == Some(capability))
    }
}

impl Import {
    pub(super) fn new(name: &str, capability: Option<Capability>, problems: Vec<Problem>) -> Self {
        Self {
            name: quoted(name),
            capability,
            allows: capability.map(Capability::allows),
            problems,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_identity(f)?;
        if self.needs.is_some() {
            self.write_powers(f)?;
        }
        if self.admissible() {
            return write!(f, "\nIt is admissible.");
        }
        write!(f, "\nIt is not admissible:")?;
        for problem in &self.problems {
            write!(f, "\n  [{}] {problem}", problem.code())?;
        }
        Ok(())
    }
}

impl Report {
    fn write_identity(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Component => "a component",
            Kind::CoreModule => "a core module",
            Kind::Precompiled => "compiled code",
            Kind::Other => "not WebAssembly",
        };
        match self.digest {
            Some(digest) => writeln!(f, "digest     {digest}")?,
            None => return Ok(()),
        }
        writeln!(f, "size       {} bytes, {kind}", self.size)?;
        if let Some(key) = self.signed_by {
            writeln!(f, "signed by  {key}")?;
        }
        if let Some(name) = &self.name {
            writeln!(f, "name       {name}")?;
        }
        if !self.producers.is_empty() {
            let tool = |producer: &Producer| format!("{} {}", producer.name, producer.version);
            let tools: Vec<_> = self.producers.iter().map(tool).collect();
            writeln!(f, "made by    {}", tools.join(", "))?;
        }
        if !self.exports.is_empty() {
            writeln!(f, "exports    {}", self.exports.join(", "))?;
        }
        let Some(needs) = &self.needs else {
            return Ok(());
        };
        let growth = match needs.max_memory {
            Some(most) if most == needs.memory => ", no more".to_owned(),
            Some(most) => format!(", {} KiB at most", most / 1024),
            None => ", and may ask for more".to_owned(),
        };
        writeln!(
            f,
            "needs      {} KiB of memory{growth}; memories: {}, tables: {} of {} elements, \
             core instances: {}",
            needs.memory / 1024,
            needs.memories,
            needs.tables,
            needs.table_elements,
            needs.core_instances
        )
    }

    fn write_powers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nIt asks for {} imports:", self.imports.len())?;
        for import in &self.imports {
            let verdict = match import.problems.first() {
                None => "granted",
                Some(problem) => problem.code(),
            };
            writeln!(f, "  {} ({verdict})", import.name)?;
            if let Some(allows) = import.allows {
                writeln!(f, "      it may {allows}")?;
            }
        }
        writeln!(f, "\nIt is given:\n  {GIVEN}")?;
        writeln!(f, "\nIt cannot:")?;
        for capability in Capability::ALL {
            if !self.imports(capability) {
                writeln!(f, "  {}", capability.forbids())?;
            }
        }
        NEVER.iter().try_for_each(|power| writeln!(f, "  {power}"))
    }
}
