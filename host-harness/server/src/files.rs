//! How many files the process may have open.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// Files that it may have open at most, which [`raised`] gives it.
pub(crate) fn most() -> usize {
    let limits = getrlimit(Resource::RLIMIT_NOFILE);
    limits.map_or(0, |(_, hard)| number(hard))
}

/// Files that it may have open, once its limit is raised as far as `wanted` and it may.
pub(crate) fn raised(wanted: usize) -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 0;
    };
    let raised = (wanted as rlim_t).min(hard).max(soft);
    let is_raised = setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok();
    number(if is_raised { raised } else { soft })
}

fn number(files: rlim_t) -> usize {
    files.try_into().unwrap_or(usize::MAX)
}
