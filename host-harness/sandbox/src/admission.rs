//! Admission: from a file to a plugin, or to a report that says why not.
//!
//! Each step trusts what the steps before have seen, and the cheap ones come
//! first: size, the pinned digest, the signature; what the file is and how many
//! parts it has; whether it is valid, and every import known, granted and of the
//! contract's type; what it needs. Only then it is compiled, off the request path and
//! within limits, linked with what is granted and nothing else, and one instance is
//! made to see that it can be.
//!
//! The same digest with the same grants is the same [`Plugin`], however many
//! workspaces admit it; it is given up when the last of them lets go of it.

mod anatomy;
mod cache;
mod candidate;
pub mod compiler;
mod functions;
mod key_id;
mod link;
mod probe;
mod problem;
mod queue;
mod report;
mod signature;
mod world;

pub use anatomy::{Needs, Producer};
pub use cache::{CacheError, CodeCache};
pub use candidate::{Candidate, MAX_FILE};
pub use key_id::KeyId;
pub use problem::Problem;
pub use report::{Import, Kind, Report};
pub use signature::{InvalidTrustRoot, TrustRoot};

use crate::digest::Digest;
use crate::grants::Grants;
use crate::plugin::Plugin;
use crate::runtime::{Addresses, Capacity, Runtime};
use crate::sandbox::Sandbox;
use crate::turns::Turns;
use anatomy::Anatomy;
use candidate::kind;
use link::linker;
use probe::probe;
use problem::{causes, quoted};
use queue::Queue;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};
use world::Comparison;

/// How long an admission waits for its turn and the compiler, each of which ends sooner.
/// Ours takes less than a second.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// What an operator asks of a plugin.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The one that it must be; any where there is none.
    pub digest: Option<Digest>,
    /// What it may import.
    pub grants: Grants,
    /// Whose signature it must carry; none is required where this is empty.
    pub trust: Vec<TrustRoot>,
}

/// A plugin was not admitted. Nothing else is changed by that: what was admitted
/// before goes on.
///
/// One line, for the log; the [`Report`] has all that is known.
#[derive(Clone, Debug)]
pub struct Rejected(Box<Report>);

impl Rejected {
    /// What is known of the plugin.
    pub fn report(&self) -> &Report {
        &self.0
    }
}

impl std::error::Error for Rejected {}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = |problem: &Problem| format!("[{}] {problem}", problem.code());
        let problems: Vec<_> = self.0.problems.iter().map(problem).collect();
        f.write_str(&problems.join("; "))
    }
}

/// Why a file is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Unreadable(#[from] io::Error),
    /// It is not admitted.
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

/// The admissions to one engine: what was admitted stays known as long as it is used.
pub struct Admissions {
    runtime: Runtime,
    admitted: Arc<Admitted>,
}

/// What is remembered of admissions.
#[derive(Default)]
struct Admitted {
    plugins: Mutex<HashMap<(Digest, Grants), Weak<Plugin>>>,
    linkers: Mutex<HashMap<Grants, Linker<Sandbox>>>,
    cache: Option<CodeCache>,
    queue: Queue,
}

/// Looks at a plugin without compiling it: all that `policy` and the contract can
/// say against it, and that it needs more than `capacity` gives.
///
/// What is not the file that was pinned, or not signed as required, is not looked
/// into further.
pub fn examine(candidate: &Candidate, policy: &Policy, capacity: &Capacity) -> Report {
    let mut report = first_sight(candidate, capacity);
    if let Err(problem) = inspect(candidate, policy, capacity, &mut report) {
        report.problems.push(problem);
    }
    report
}

/// What is known of a file that nobody has looked into.
fn first_sight(candidate: &Candidate, capacity: &Capacity) -> Report {
    Report {
        digest: (candidate.bytes.len() <= capacity.plugin_bytes).then_some(candidate.digest),
        size: candidate.bytes.len(),
        kind: kind(&candidate.bytes),
        signed_by: None,
        name: None,
        producers: Vec::new(),
        imports: Vec::new(),
        exports: Vec::new(),
        needs: None,
        problems: Vec::new(),
    }
}

impl Admissions {
    /// Admissions to `runtime`.
    pub fn new(runtime: Runtime) -> Self {
        Self {
            runtime,
            admitted: Arc::default(),
        }
    }

    /// The same, with a cache of compiled code.
    #[must_use]
    pub fn with_cache(self, cache: CodeCache) -> Self {
        Self {
            admitted: Arc::new(Admitted {
                cache: Some(cache),
                ..Admitted::default()
            }),
            ..self
        }
    }

    /// The engine.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Admits a plugin, or finds it among those that are.
    ///
    /// # Errors
    ///
    /// With all [`Problem`]s that could be found.
    pub async fn admit(
        &self,
        candidate: &Candidate,
        policy: &Policy,
    ) -> Result<Arc<Plugin>, Rejected> {
        if let Some(plugin) = self.admitted.living(candidate, policy) {
            return Ok(plugin);
        }
        let admission = self.admission(candidate, policy);
        let work = tokio::task::spawn_blocking(move || admission.run());
        let problem = match tokio::time::timeout(MAX_WAIT, work).await {
            Ok(Ok(admitted)) => return admitted,
            Ok(Err(_panic)) => "the compiler panicked",
            Err(_elapsed) => "it takes too long",
        };
        // Not looked into here: that may be what takes so long.
        let mut report = first_sight(candidate, &self.runtime.capacity);
        report.problems.push(Problem::CompileFailed {
            reason: problem.to_owned(),
        });
        Err(Rejected(Box::new(report)))
    }

    /// The same in this thread, which it blocks for as long as compiling takes.
    ///
    /// # Errors
    ///
    /// As [`Admissions::admit`].
    pub fn admit_here(
        &self,
        candidate: &Candidate,
        policy: &Policy,
    ) -> Result<Arc<Plugin>, Rejected> {
        self.admission(candidate, policy).run()
    }

    /// Admits the component in the file at `path` with every grant, whoever made
    /// it; it may take a second.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(&self, path: &Path) -> Result<Arc<Plugin>, LoadError> {
        let policy = Policy {
            grants: Grants::all(),
            ..Policy::default()
        };
        let candidate = Candidate::read(path)?;
        Ok(self.admit_here(&candidate, &policy)?)
    }

    fn admission(&self, candidate: &Candidate, policy: &Policy) -> Admission {
        Admission {
            engine: self.runtime.engine.clone(),
            addresses: self.runtime.addresses,
            capacity: self.runtime.capacity,
            turns: self.runtime.turns.clone(),
            admitted: self.admitted.clone(),
            candidate: candidate.clone(),
            policy: policy.clone(),
        }
    }
}

/// One admission, which blocks its thread.
struct Admission {
    engine: Engine,
    addresses: Addresses,
    capacity: Capacity,
    turns: Arc<Turns>,
    admitted: Arc<Admitted>,
    candidate: Candidate,
    policy: Policy,
}

impl Admission {
    fn run(self) -> Result<Arc<Plugin>, Rejected> {
        let _turn = self.admitted.queue.turn(self.candidate.digest);
        if let Some(plugin) = self.admitted.living(&self.candidate, &self.policy) {
            return Ok(plugin);
        }
        let mut report = examine(&self.candidate, &self.policy, &self.capacity);
        if report.admissible() {
            match self.link() {
                Ok(plugin) => return Ok(self.publish(plugin)),
                Err(problem) => report.problems.push(problem),
            }
        }
        Err(Rejected(Box::new(report)))
    }

    fn link(&self) -> Result<Plugin, Problem> {
        let digest = self.candidate.digest;
        let component = match self.admitted.compiled(digest) {
            Some(component) => component,
            None => self.compile()?,
        };
        self.hold_to_ceiling(&component)?;
        probe(&self.engine, &component, &self.capacity.ceiling)?;
        let linked = self
            .admitted
            .linker(&self.engine, &self.policy.grants)
            .and_then(|linker| Plugin::linked(&linker, &component, digest, &self.turns));
        linked.map_err(failed)
    }

    fn compile(&self) -> Result<Component, Problem> {
        let Candidate { bytes, digest, .. } = &self.candidate;
        let cache = self.admitted.cache.as_ref();
        let component = match cache.and_then(|cache| cache.load(&self.engine, digest)) {
            Some(component) => component,
            None => {
                let code = compiler::compile(&self.engine, self.addresses, bytes)?;
                if let Some(cache) = cache {
                    cache.store(&self.engine, digest, &code);
                }
                // SAFETY: it comes from the compiler, in this process or in one that this
                // process started, over a pipe that nobody else has.
                unsafe { Component::deserialize(&self.engine, &code) }.map_err(failed)?
            }
        };
        // Now rather than in the first call.
        component.initialize_copy_on_write_image().map_err(failed)?;
        Ok(component)
    }

    /// What the file declares was held to the ceiling before; this counts how often
    /// each part of it is instantiated.
    fn hold_to_ceiling(&self, component: &Component) -> Result<(), Problem> {
        let Some(required) = component.resources_required() else {
            return Err(Problem::CompileFailed {
                reason: "it takes modules from outside".to_owned(),
            });
        };
        let needs = Needs {
            memories: required.num_memories as usize,
            tables: required.num_tables as usize,
            ..Needs::default()
        };
        let mut exceeding = needs.exceeding(&self.capacity.ceiling).into_iter();
        exceeding.next().map_or(Ok(()), Err)
    }

    fn publish(&self, plugin: Plugin) -> Arc<Plugin> {
        let key = (plugin.digest, self.policy.grants.clone());
        let plugin = Arc::new(plugin);
        let mut plugins = self.admitted.plugins();
        plugins.retain(|_, plugin| plugin.strong_count() > 0);
        plugins.insert(key, Arc::downgrade(&plugin));
        plugin
    }
}

impl Admitted {
    /// The plugin, where it is admitted already and `policy` lets it be.
    fn living(&self, candidate: &Candidate, policy: &Policy) -> Option<Arc<Plugin>> {
        let key = (candidate.digest, policy.grants.clone());
        let plugin = self.plugins().get(&key)?.upgrade()?;
        vouched(candidate, policy).ok()?;
        Some(plugin)
    }

    /// The code of a living plugin: it does not depend on grants.
    fn compiled(&self, digest: Digest) -> Option<Component> {
        let plugins = self.plugins();
        let mut same = plugins.iter().filter(|((known, _), _)| *known == digest);
        let plugin = same.find_map(|(_, plugin)| plugin.upgrade())?;
        Some(plugin.component.instance_pre().component().clone())
    }

    fn linker(&self, engine: &Engine, grants: &Grants) -> wasmtime::Result<Linker<Sandbox>> {
        let mut linkers = self.linkers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(linker) = linkers.get(grants) {
            return Ok(linker.clone());
        }
        let linker = linker(engine, grants)?;
        linkers.insert(grants.clone(), linker.clone());
        Ok(linker)
    }

    fn plugins(&self) -> std::sync::MutexGuard<'_, HashMap<(Digest, Grants), Weak<Plugin>>> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills `report` in. An error ends it, problems that are in it do not.
fn inspect(
    candidate: &Candidate,
    policy: &Policy,
    capacity: &Capacity,
    report: &mut Report,
) -> Result<(), Problem> {
    let limit = capacity.plugin_bytes;
    if candidate.bytes.len() > limit {
        return Err(Problem::TooLarge { limit });
    }
    report.signed_by = vouched(candidate, policy)?;
    match report.kind {
        Kind::Component => {}
        Kind::CoreModule => return Err(Problem::CoreModule),
        Kind::Precompiled => return Err(Problem::Precompiled),
        Kind::Other => return Err(Problem::NotWebAssembly),
    }
    let anatomy = Anatomy::of(&candidate.bytes)?;
    let comparison = Comparison::new(&candidate.bytes).map_err(|error| Problem::Invalid {
        reason: quoted(&error.to_string()),
    })?;
    let imports = anatomy.imports.iter().map(|name| {
        let answer = comparison.import(name, &policy.grants);
        Import::new(name, answer.capability, answer.problems)
    });
    report.imports = imports.collect();
    report.name = anatomy.name;
    report.producers = anatomy.producers;
    report.exports = anatomy.exports;
    report.needs = Some(anatomy.needs);
    let imports = report.imports.iter().flat_map(|import| &import.problems);
    report.problems = imports.cloned().collect();
    report.problems.extend(comparison.exports());
    report
        .problems
        .extend(anatomy.needs.exceeding(&capacity.ceiling));
    Ok(())
}

/// Whether this is the file that the operator chose, and who signed it.
fn vouched(candidate: &Candidate, policy: &Policy) -> Result<Option<KeyId>, Problem> {
    let found = candidate.digest;
    match policy.digest {
        Some(pinned) if pinned != found => {
            return Err(Problem::DigestMismatch { pinned, found });
        }
        _ => {}
    }
    let signature = candidate.signature.as_deref();
    signature::verify(&candidate.bytes, signature, &policy.trust)
}

fn failed(error: wasmtime::Error) -> Problem {
    Problem::CompileFailed {
        reason: causes(error.chain()),
    }
}
