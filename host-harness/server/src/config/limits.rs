//! The limits of a call, as the file writes them.

use super::reader::{Entry, Reader};
use plugin_sandbox::limits::Limits;
use std::ops::RangeInclusive;
use std::time::Duration;

/// One of [`Limits`].
pub(super) struct Limit {
    pub(super) name: &'static str,
    /// What the number counts.
    unit: &'static str,
    range: RangeInclusive<u64>,
    get: fn(&Limits) -> u64,
    set: fn(&mut Limits, u64),
}

/// All of them; each is a key of every table of limits.
pub(super) const LIMITS: [Limit; 9] = [
    Limit {
        name: "wall-milliseconds",
        unit: "ms",
        range: 10..=600_000,
        get: |limits| milliseconds(limits.wall_time),
        set: |limits, value| limits.wall_time = Duration::from_millis(value),
    },
    Limit {
        name: "cpu-milliseconds",
        unit: "ms",
        range: 10..=60_000,
        get: |limits| milliseconds(limits.cpu_time),
        set: |limits, value| limits.cpu_time = Duration::from_millis(value),
    },
    Limit {
        name: "host-call-milliseconds",
        unit: "ms",
        range: 10..=600_000,
        get: |limits| milliseconds(limits.host_call_time),
        set: |limits, value| limits.host_call_time = Duration::from_millis(value),
    },
    Limit {
        name: "host-calls",
        unit: "calls",
        range: 1..=10_000,
        get: |limits| limits.host_calls.into(),
        set: |limits, value| limits.host_calls = value.try_into().unwrap_or(u32::MAX),
    },
    Limit {
        name: "bytes-in",
        unit: "bytes",
        range: 65_536..=16_777_216,
        get: |limits| limits.bytes_in as u64,
        set: |limits, value| limits.bytes_in = size(value),
    },
    Limit {
        name: "bytes-out",
        unit: "bytes",
        // Less, and a client that names a member at length would make a plugin fail.
        range: 131_072..=16_777_216,
        get: |limits| limits.bytes_out as u64,
        set: |limits, value| limits.bytes_out = size(value),
    },
    Limit {
        name: "memory-bytes",
        unit: "bytes",
        // Less, and a client that sends a long body would make a plugin fail.
        range: 1_048_576..=1_073_741_824,
        get: |limits| limits.memory as u64,
        set: |limits, value| limits.memory = size(value),
    },
    Limit {
        name: "table-elements",
        unit: "elements",
        range: 1..=10_000_000,
        get: |limits| limits.table_elements as u64,
        set: |limits, value| limits.table_elements = size(value),
    },
    Limit {
        name: "calls",
        unit: "calls",
        range: 1..=4096,
        get: |limits| limits.calls as u64,
        set: |limits, value| limits.calls = size(value),
    },
];

/// What a workspace has when the file says nothing: the usual, but no more than
/// the ceiling. To raise the ceiling gives more to nobody who does not ask.
pub(super) fn usual_under(ceiling: &Limits) -> Limits {
    let mut limits = Limits::default();
    for limit in &LIMITS {
        let least = (limit.get)(&limits).min((limit.get)(ceiling));
        (limit.set)(&mut limits, least);
    }
    limits
}

/// Reads a table of limits over `limits`, each of which stays under `ceiling`.
pub(super) fn read(
    entry: &Entry<'_>,
    reader: &mut Reader<'_>,
    limits: &mut Limits,
    ceiling: Option<&Limits>,
) {
    for entry in reader.entries(entry) {
        let Some(limit) = LIMITS.iter().find(|limit| limit.name == entry.name()) else {
            reader.unknown(&entry, LIMITS.iter().map(|limit| limit.name));
            continue;
        };
        let mut value = (limit.get)(limits);
        reader.number(&entry, &mut value, &limit.range, limit.unit);
        let most = ceiling.map_or(u64::MAX, limit.get);
        if value > most {
            let unit = limit.unit;
            let what =
                format!("{value} {unit} is over the ceiling of [host.limits], {most} {unit}");
            reader.refuse(&entry, &what);
            continue;
        }
        (limit.set)(limits, value);
    }
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

fn size(number: u64) -> usize {
    number.try_into().unwrap_or(usize::MAX)
}
