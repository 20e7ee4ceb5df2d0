//! Which processor core does what: the servers share one, the load has another.

use crate::Measured;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread; a child inherits its core.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// Two cores of those that this process may use, as far apart as there are:
/// neighbours may be two halves of one.
pub(crate) struct Cores {
    servers: usize,
    load: usize,
}

impl Cores {
    pub(crate) fn choose() -> Measured<Self> {
        let allowed = sched_getaffinity(THIS_THREAD)?;
        let is_allowed = |core: &usize| allowed.is_set(*core).unwrap_or(false);
        let mut cores = (0..CpuSet::count()).filter(is_allowed);
        let servers = cores.next().ok_or("there is no core")?;
        let load = cores.next_back().ok_or("it takes two cores")?;
        Ok(Self { servers, load })
    }

    /// Does `work` on the servers' core: what it starts stays there.
    pub(crate) fn as_server<T>(&self, work: impl FnOnce() -> T) -> Measured<T> {
        pin(self.servers)?;
        let done = work();
        pin(self.load)?;
        Ok(done)
    }
}

fn pin(core: usize) -> nix::Result<()> {
    let mut one = CpuSet::new();
    one.set(core)?;
    sched_setaffinity(THIS_THREAD, &one)
}
