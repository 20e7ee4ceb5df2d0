//! Lists for operators.

use super::failure::Failure;
use super::query::{Query, Value, count, count_if_any, get, list, moment, moment_if_any, query};
use super::read::restore_in;
use crate::convention::{NEVER, changed_settings};
use crate::seal::Seal;
use chat_domain::attempts::Failures;
use chat_domain::audit::{Action, RecordFilter, RecordPlace, StoredRecord};
use chat_domain::clock_fault::Horizon;
use chat_domain::operator::WorkspaceSummary;
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use std::collections::BTreeMap;
use tokio_postgres::Row;

/// The settings of each workspace, as [`all_settings_in`] reads them.
pub(super) const ALL_SETTINGS: &str = "
    SELECT id, name, value FROM workspace LEFT JOIN setting ON setting.workspace = workspace.id";

/// Those of each workspace, sorted by name.
pub(super) const ALL_FIXED_SETTINGS: &str =
    "SELECT workspace, name, place FROM fixed_setting ORDER BY name";

const WORKSPACES: &str = r#"
    SELECT id,
           (SELECT count(*) FROM "user" WHERE workspace = workspace.id),
           (SELECT count(*) FROM "user" WHERE workspace = workspace.id AND deactivated),
           (SELECT count(*) FROM totp WHERE workspace = workspace.id),
           ARRAY(SELECT name FROM role WHERE workspace = workspace.id ORDER BY name)
    FROM workspace ORDER BY id"#;

const LOCKS: &str = "
    SELECT workspace, count, locked_until, told FROM failed_attempt
    WHERE locked_until IS NOT NULL";

/// A record as [`record_in`] reads it, and the accounts beside it; a condition follows.
macro_rules! records_where {
    ($($condition:literal),+) => {
        concat!(
            r#"SELECT audit.workspace, at, request_id, action, caller, callers.username, target,
                      targets.username, decision, reason, address, agent, proof, told, calls,
                      idx
               FROM audit
               LEFT JOIN "user" callers
                      ON callers.workspace = audit.workspace AND callers.id = caller
               LEFT JOIN "user" targets
                      ON targets.workspace = audit.workspace AND targets.id = target
               WHERE "#,
            $($condition),+
        )
    };
}
pub(super) use records_where;

/// Records that a filter finds, of those for which this holds: a plan is made for a statement before
/// it is known what else it is given.
macro_rules! records {
    ($condition:literal) => {
        records_where!(
            "audit.workspace = $1 AND ",
            $condition,
            " AND at >= $2 AND ($3::TEXT IS NULL OR caller = $3)
               AND ($4::TEXT IS NULL OR target = $4) AND ($5::TEXT IS NULL OR action = $5)
               AND ($6::TEXT IS NULL OR request_id = $6) AND at <= $8 AND (at < $8 OR idx < $9)
             ORDER BY at DESC, audit.id DESC LIMIT $7"
        )
    };
}

const RECORDS: &str = records!("TRUE");
const RECORDS_BY: &str = records!("caller = $3");
const RECORDS_OF: &str = records!("target = $4");
const RECORDS_ABOUT: &str = records!("action = $5");

const CLOCK_FAULTS: &str = "
    SELECT (SELECT count(*) FROM failed_attempt WHERE locked_until > $1)
         + (SELECT count(*) FROM email_code WHERE issued > $2)
         + (SELECT count(*) FROM outbox WHERE next_try > $3 AND next_try < $4)
         + (SELECT count(*) FROM pending_totp WHERE expires > $5)
         + (SELECT count(*) FROM totp WHERE last_step > $6)";

/// What [`workspaces_in`] reads.
pub(super) fn workspaces() -> Vec<Query> {
    vec![query!(WORKSPACES), query!(ALL_SETTINGS), query!(LOCKS)]
}

pub(super) fn workspaces_in(
    found: &[Vec<Row>],
    seal: &Seal,
    now: Timestamp,
) -> Result<Vec<WorkspaceSummary>, Failure> {
    let [workspaces, settings, locks] = found else {
        return Ok(Vec::new());
    };
    let settings = all_settings_in(settings, seal)?;
    let locked = locked_in(locks, &settings, now)?;
    let summary = |row: &Row| {
        let id: String = get(row, 0)?;
        let changed = settings.get(&id).map(changed_settings);
        Ok(WorkspaceSummary {
            users: count(row, 1)?,
            deactivated: count(row, 2)?,
            enrolled: count(row, 3)?,
            locked: locked.get(&id).copied().unwrap_or_default(),
            roles: list(row, 4)?,
            changed_settings: changed.unwrap_or_default(),
            id,
        })
    };
    workspaces.iter().map(summary).collect()
}

/// How many accounts of each workspace are locked.
fn locked_in(
    locks: &[Row],
    settings: &BTreeMap<String, Settings>,
    now: Timestamp,
) -> Result<BTreeMap<String, u32>, Failure> {
    let mut locked = BTreeMap::new();
    for row in locks {
        let workspace: String = get(row, 0)?;
        let failures = failures_in(row, 1)?;
        if let Some(settings) = settings.get(&workspace)
            && failures.why_locked(settings, now).is_some()
        {
            *locked.entry(workspace).or_default() += 1;
        }
    }
    Ok(locked)
}

/// `count, locked_until, told`, from this column on.
pub(super) fn failures_in(row: &Row, column: usize) -> Result<Failures, Failure> {
    Ok(Failures {
        count: count(row, column)?,
        locked_until: moment_if_any(row, column + 1)?,
        told: count(row, column + 2)?,
    })
}

pub(super) fn all_settings_in(
    rows: &[Row],
    seal: &Seal,
) -> Result<BTreeMap<String, Settings>, Failure> {
    let mut all = BTreeMap::<_, Settings>::new();
    for row in rows {
        let workspace: String = get(row, 0)?;
        let settings = all.entry(workspace.clone()).or_default();
        restore_in(seal, &workspace, row, 1, settings)?;
    }
    Ok(all)
}

pub(super) fn record_in(row: &Row) -> Result<StoredRecord, Failure> {
    Ok(StoredRecord {
        workspace: get(row, 0)?,
        at: moment(row, 1)?,
        request_id: get(row, 2)?,
        action: get(row, 3)?,
        caller: get(row, 4)?,
        caller_name: get(row, 5)?,
        target: get(row, 6)?,
        target_name: get(row, 7)?,
        decision: get(row, 8)?,
        reason: get(row, 9)?,
        address: get(row, 10)?,
        agent: get(row, 11)?,
        proof: get(row, 12)?,
        told: count_if_any(row, 13)?,
        calls: count(row, 14)?,
        index: get::<i64>(row, 15)?.try_into().ok(),
    })
}

/// Newest first.
pub(super) fn records(workspace: &str, filter: &RecordFilter) -> Query {
    let RecordFilter {
        caller,
        target,
        action,
        since,
        before,
        request_id,
        most,
    } = filter;
    let before = before.unwrap_or(RecordPlace::END);
    // Of a target there are fewest, and by a caller fewer than about an action.
    let records = match (target, caller, action) {
        (Some(_), _, _) => RECORDS_OF,
        (None, Some(_), _) => RECORDS_BY,
        (None, None, Some(_)) => RECORDS_ABOUT,
        (None, None, None) => RECORDS,
    };
    query!(
        records,
        Value::key(workspace),
        since.map_or(0, Timestamp::millis),
        caller,
        target,
        action.map(Action::name),
        request_id,
        *most,
        before.at,
        before.index,
    )
}

pub(super) fn clock_faults(horizon: Horizon) -> Query {
    query!(
        CLOCK_FAULTS,
        horizon.lock,
        horizon.code,
        horizon.mail,
        NEVER,
        horizon.pending_key,
        horizon.step,
    )
}
