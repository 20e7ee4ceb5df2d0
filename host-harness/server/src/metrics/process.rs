//! What the operating system knows of the process, under the names that every
//! Prometheus client gives it.

use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fs;

/// What of it can be read now: Linux tells it.
pub(super) fn registry() -> Registry {
    let mut registry = Registry::with_prefix("process");
    if let Some(bytes) = resident_memory() {
        registry.register_with_unit(
            "resident_memory",
            "Memory of the process that is in use",
            Unit::Bytes,
            ConstGauge::new(bytes),
        );
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        // The listing itself holds one.
        let open = files.count().saturating_sub(1);
        registry.register(
            "open_fds",
            "Files and connections that are open",
            ConstGauge::new(open),
        );
    }
    registry
}

/// In bytes; the kernel writes `VmRSS:     1234 kB`.
fn resident_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_memory() {
        let bytes = resident_memory().unwrap();
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }
}
