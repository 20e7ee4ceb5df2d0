//! Lists for operators.

use super::read::{moment, profile};
use super::{Db, SqlResult};
use crate::convention::{NEVER, changed_settings, restore};
use chat_domain::account::{EDIT_OTHER_USER_TOTP, Profile};
use chat_domain::attempts::Failures;
use chat_domain::audit::{Action, RecordFilter, RecordPlace, StoredRecord};
use chat_domain::clock_fault::Horizon;
use chat_domain::dossier::{Administrator, Subject};
use chat_domain::operator::{Role, SettingPlace, WorkspaceSummary};
use chat_domain::retention::Oldest;
use chat_domain::settings::Settings;
use chat_domain::time::Timestamp;
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;

/// The workspaces and the settings of each.
pub(super) fn all_settings(db: Db<'_>) -> SqlResult<BTreeMap<String, Settings>> {
    let mut query =
        db.prepare("SELECT id, name, value FROM workspace LEFT JOIN setting ON workspace = id")?;
    let mut rows = query.query([])?;
    let mut all = BTreeMap::<_, Settings>::new();
    while let Some(row) = rows.next()? {
        let workspace: String = row.get(0)?;
        let settings = all.entry(workspace.clone()).or_default();
        if let Some(name) = row.get::<_, Option<String>>(1)? {
            let value: String = row.get(2)?;
            restore(db.seal, settings, &workspace, &name, &value)?;
        }
    }
    Ok(all)
}

/// Whether there is such a workspace.
pub(super) fn exists(db: &Connection, workspace: &str) -> SqlResult<bool> {
    db.prepare_cached("SELECT 1 FROM workspace WHERE id = ?1")?
        .exists([workspace])
}

pub(super) fn workspaces(db: Db<'_>, now: Timestamp) -> SqlResult<Vec<WorkspaceSummary>> {
    let mut query = db.prepare(
        "SELECT id,
                (SELECT count(*) FROM user WHERE workspace = workspace.id),
                (SELECT count(*) FROM user WHERE workspace = workspace.id AND deactivated),
                (SELECT count(*) FROM totp WHERE workspace = workspace.id)
         FROM workspace ORDER BY id",
    )?;
    let settings = all_settings(db)?;
    let workspaces = query.query_map([], |row| {
        let id: String = row.get(0)?;
        let changed = settings.get(&id).map(changed_settings);
        let locked = match settings.get(&id) {
            Some(settings) => locked(&db, &id, settings, now)?,
            None => 0,
        };
        Ok(WorkspaceSummary {
            users: row.get(1)?,
            deactivated: row.get(2)?,
            enrolled: row.get(3)?,
            locked,
            roles: role_names(&db, &id)?,
            changed_settings: changed.unwrap_or_default(),
            id,
        })
    })?;
    workspaces.collect()
}

fn locked(db: &Connection, workspace: &str, settings: &Settings, now: Timestamp) -> SqlResult<u32> {
    let mut query = db.prepare_cached(
        "SELECT count, locked_until, told FROM failed_attempt
         WHERE workspace = ?1 AND locked_until IS NOT NULL",
    )?;
    let failures = query.query_map([workspace], |row| {
        Ok(Failures {
            count: row.get(0)?,
            locked_until: moment(row, 1)?,
            told: row.get(2)?,
        })
    })?;
    let mut locked = 0;
    for failures in failures {
        locked += u32::from(failures?.why_locked(settings, now).is_some());
    }
    Ok(locked)
}

pub(super) fn profiles(db: Db<'_>, workspace: &str) -> SqlResult<Vec<Profile>> {
    let ids: Vec<String> = db
        .prepare("SELECT id FROM user WHERE workspace = ?1 ORDER BY username_key")?
        .query_map([workspace], |row| row.get(0))?
        .collect::<SqlResult<_>>()?;
    let mut profiles = Vec::with_capacity(ids.len());
    for id in ids {
        profiles.extend(profile(db, workspace, &Subject::id(&id).as_seen(), None)?);
    }
    Ok(profiles)
}

pub(super) fn roles(db: &Connection, workspace: &str) -> SqlResult<Vec<Role>> {
    let names = role_names(db, workspace)?;
    let roles = names
        .iter()
        .map(|name| members_and_permissions(db, workspace, name));
    roles.collect()
}

pub(super) fn role_names(db: &Connection, workspace: &str) -> SqlResult<Vec<String>> {
    db.prepare_cached("SELECT name FROM role WHERE workspace = ?1 ORDER BY name")?
        .query_map([workspace], |row| row.get(0))?
        .collect()
}

pub(super) fn administrators(db: &Connection, workspace: &str) -> SqlResult<Vec<Administrator>> {
    let mut query = db.prepare_cached(
        "SELECT user.id, role FROM user JOIN user_role ON user_role.workspace = user.workspace
                AND user_role.user = user.id JOIN role_permission USING (workspace, role)
         WHERE user.workspace = ?1 AND permission = ?2 AND NOT deactivated AND NOT federated",
    )?;
    let administrators = query.query_map([workspace, EDIT_OTHER_USER_TOTP], |row| {
        Ok(Administrator {
            user: row.get(0)?,
            role: row.get(1)?,
        })
    })?;
    administrators.collect()
}

/// None where the workspace has no such role.
pub(super) fn role(db: &Connection, workspace: &str, name: &str) -> SqlResult<Option<Role>> {
    let exists = db
        .prepare_cached("SELECT 1 FROM role WHERE workspace = ?1 AND name = ?2")?
        .exists([workspace, name])?;
    match exists {
        true => members_and_permissions(db, workspace, name).map(Some),
        false => Ok(None),
    }
}

fn members_and_permissions(db: &Connection, workspace: &str, name: &str) -> SqlResult<Role> {
    let texts = |sql: &str| {
        db.prepare_cached(sql)?
            .query_map([workspace, name], |row| row.get(0))?
            .collect::<SqlResult<_>>()
    };
    Ok(Role {
        name: name.to_owned(),
        permissions: texts(
            "SELECT permission FROM role_permission
             WHERE workspace = ?1 AND role = ?2 ORDER BY permission",
        )?,
        members: texts(
            "SELECT username FROM user_role
             JOIN user ON user.workspace = user_role.workspace AND user.id = user_role.user
             WHERE user_role.workspace = ?1 AND role = ?2 ORDER BY username_key",
        )?,
    })
}

pub(super) fn fixed_settings(db: &Connection, workspace: &str) -> SqlResult<Vec<SettingPlace>> {
    db.prepare_cached("SELECT name, place FROM fixed_setting WHERE workspace = ?1 ORDER BY name")?
        .query_map([workspace], |row| {
            Ok(SettingPlace {
                name: row.get(0)?,
                place: row.get(1)?,
            })
        })?
        .collect()
}

/// Those of each workspace, sorted by name.
pub(super) fn all_fixed_settings(db: &Connection) -> SqlResult<Vec<(String, SettingPlace)>> {
    db.prepare("SELECT workspace, name, place FROM fixed_setting ORDER BY name")?
        .query_map([], |row| {
            let (name, place) = (row.get(1)?, row.get(2)?);
            Ok((row.get(0)?, SettingPlace { name, place }))
        })?
        .collect()
}

pub(super) fn oldest(db: &Connection, workspace: &str) -> SqlResult<Oldest> {
    let [record, dead_letter, session_end] = db
        .prepare_cached(
            "SELECT (SELECT min(at) FROM audit WHERE workspace = ?1),
                    (SELECT min(queued) FROM outbox WHERE workspace = ?1 AND next_try = ?2),
                    (SELECT min(expires) FROM login_token WHERE workspace = ?1)",
        )?
        .query_row(params![workspace, NEVER], |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?])
        })?
        .map(|millis: Option<i64>| millis.map(Timestamp::from_millis));
    Ok(Oldest {
        record,
        dead_letter,
        session_end,
    })
}

/// What [`record_in`] reads.
pub(super) const RECORD: &str =
    "audit.workspace, at, request_id, action, caller, callers.username, target,
    targets.username, decision, reason, address, agent, proof, told, calls, idx";

/// The accounts of a record beside it.
pub(super) const WITH_NAMES: &str =
    "LEFT JOIN user callers ON callers.workspace = audit.workspace AND callers.id = caller
     LEFT JOIN user targets ON targets.workspace = audit.workspace AND targets.id = target";

pub(super) fn record_in(row: &Row<'_>) -> SqlResult<StoredRecord> {
    Ok(StoredRecord {
        workspace: row.get(0)?,
        at: Timestamp::from_millis(row.get(1)?),
        request_id: row.get(2)?,
        action: row.get(3)?,
        caller: row.get(4)?,
        caller_name: row.get(5)?,
        target: row.get(6)?,
        target_name: row.get(7)?,
        decision: row.get(8)?,
        reason: row.get(9)?,
        address: row.get(10)?,
        agent: row.get(11)?,
        proof: row.get(12)?,
        told: row.get(13)?,
        calls: row.get(14)?,
        index: row.get::<_, i64>(15)?.try_into().ok(),
    })
}

pub(super) fn records(
    db: &Connection,
    workspace: &str,
    filter: &RecordFilter,
) -> SqlResult<Vec<StoredRecord>> {
    let mut query = db.prepare(&select_records(filter))?;
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
    let since = since.map_or(0, Timestamp::millis);
    let action = action.map(Action::name);
    let records = query.query_map(
        params![
            workspace,
            since,
            caller,
            target,
            action,
            request_id,
            most,
            before.at.millis(),
            before.index
        ],
        record_in,
    )?;
    let mut records: Vec<_> = records.collect::<SqlResult<_>>()?;
    records.reverse();
    Ok(records)
}

/// Only what is asked for is a condition: an index does not serve one that may be none. Of a target
/// there are fewest records, and by a caller fewer than about an action.
fn select_records(filter: &RecordFilter) -> String {
    let index = match (&filter.target, &filter.caller, &filter.action) {
        (Some(_), _, _) => "audit_by_target",
        (None, Some(_), _) => "audit_by_caller",
        (None, None, Some(_)) => "audit_by_action",
        (None, None, None) => "audit_by_time",
    };
    let conditions = [
        (filter.caller.is_some(), "AND caller = ?3"),
        (filter.target.is_some(), "AND target = ?4"),
        (filter.action.is_some(), "AND action = ?5"),
        (filter.request_id.is_some(), "AND request_id = ?6"),
    ];
    let asked = conditions.into_iter().filter(|(is_asked, _)| *is_asked);
    let asked: Vec<_> = asked.map(|(_, condition)| condition).collect();
    let asked = asked.join(" ");
    format!(
        "SELECT {RECORD} FROM audit INDEXED BY {index} {WITH_NAMES}
         WHERE audit.workspace = ?1 AND at >= ?2 {asked} AND at <= ?8 AND (at < ?8 OR idx < ?9)
         ORDER BY at DESC, audit.id DESC LIMIT ?7"
    )
}

pub(super) fn clock_faults(db: &Connection, horizon: Horizon) -> SqlResult<u32> {
    db.prepare(
        "SELECT (SELECT count(*) FROM failed_attempt WHERE locked_until > ?1)
              + (SELECT count(*) FROM email_code WHERE issued > ?2)
              + (SELECT count(*) FROM outbox WHERE next_try > ?3 AND next_try < ?4)
              + (SELECT count(*) FROM pending_totp WHERE expires > ?5)
              + (SELECT count(*) FROM totp WHERE last_step > ?6)",
    )?
    .query_row(
        [
            horizon.lock.millis(),
            horizon.code.millis(),
            horizon.mail.millis(),
            NEVER,
            horizon.pending_key.millis(),
            horizon.step.cast_signed(),
        ],
        |row| row.get(0),
    )
}

#[cfg(test)]
mod tests {
    use super::super::schema::MIGRATIONS;
    use super::*;

    #[test]
    fn records_are_found_by_an_index_and_in_its_order() {
        let db = Connection::open_in_memory().unwrap();
        for script in MIGRATIONS {
            db.execute_batch(script).unwrap();
        }
        let all = RecordFilter::default();
        let alice = || Some("alice".to_owned());
        for (filter, index) in [
            (all.clone(), "audit_by_time (workspace=? AND at>? AND at<?)"),
            (
                RecordFilter {
                    caller: alice(),
                    ..all.clone()
                },
                "audit_by_caller (workspace=? AND caller=? AND at>? AND at<?)",
            ),
            (
                RecordFilter {
                    target: alice(),
                    ..all.clone()
                },
                "audit_by_target (workspace=? AND target=? AND at>? AND at<?)",
            ),
            (
                RecordFilter {
                    action: Some(Action::Unlock),
                    ..all.clone()
                },
                "audit_by_action (workspace=? AND action=? AND at>? AND at<?)",
            ),
        ] {
            let explain = format!("EXPLAIN QUERY PLAN {}", select_records(&filter));
            let mut plan = db.prepare(&explain).unwrap();
            let nothing = [rusqlite::types::Null; 9];
            let plan = plan.query_map(nothing, |row| row.get(3)).unwrap();
            let plan: Vec<String> = plan.map(Result::unwrap).collect();
            assert_eq!(plan[0], format!("SEARCH audit USING INDEX {index}"));
            assert!(!plan.iter().any(|step| step.contains("B-TREE")), "{plan:?}");
        }
    }
}
