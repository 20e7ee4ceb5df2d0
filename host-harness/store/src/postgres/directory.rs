//! Accounts, page by page.

use super::failure::Failure;
use super::query::{Query, Value, get, query};
use crate::directory::{Gathered, MOST_ADDRESSES};
use chat_domain::directory::{AccountFilter, Place, Search};
use tokio_postgres::Row;

/// Those that hold what is searched for, $4, where that is something.
const BY_USERNAME: &str = r#"
    SELECT username_key, id FROM "user"
    WHERE workspace = $1 AND username_key > $2
      AND ($4::TEXT IS NULL OR strpos(username_key, $4) > 0)
    ORDER BY username_key LIMIT $3"#;

/// And whether the account is in no place before that.
const BY_ADDRESS: &str = r#"
    SELECT found.address, found."user",
           strpos(username_key, $4) = 0
           AND NOT EXISTS (SELECT 1 FROM email
                           WHERE email.workspace = $1 AND email."user" = found."user"
                             AND lower(email.address) < found.address
                             AND strpos(lower(email.address), $5) > 0)
    FROM (SELECT lower(address) AS address, "user" FROM email
          WHERE workspace = $1 AND lower(address) > $2 AND strpos(lower(address), $5) > 0
          ORDER BY lower(address) LIMIT $3) AS found
    JOIN "user" ON "user".workspace = $1 AND "user".id = found."user"
    ORDER BY found.address"#;

/// Few have a lock.
const BY_LOCK: &str = r#"
    SELECT username_key, id
    FROM failed_attempt
    JOIN "user" ON "user".workspace = $1 AND "user".id = failed_attempt."user"
    WHERE failed_attempt.workspace = $1 AND locked_until IS NOT NULL AND username_key > $2
      AND ($4::TEXT IS NULL OR strpos(username_key, $4) > 0
           OR EXISTS (SELECT 1 FROM email
                      WHERE email.workspace = $1 AND email."user" = "user".id
                        AND strpos(lower(email.address), $5) > 0))
    ORDER BY username_key LIMIT $3"#;

pub(super) fn by_username(
    workspace: &str,
    filter: &AccountFilter,
    after: &str,
    room: u32,
) -> Query {
    let search = filter.search.as_ref();
    let username = search.map(|search| search.username.as_str());
    let address = search.map(|search| search.address.as_str());
    let workspace = Value::key(workspace);
    match filter.lock_noted {
        true => query!(BY_LOCK, workspace, after, room, username, address),
        false => query!(BY_USERNAME, workspace, after, room, username),
    }
}

pub(super) fn usernames_in(rows: &[Row], gathered: &mut Gathered) -> Result<(), Failure> {
    for row in rows {
        gathered.add(Place::Username(get(row, 0)?), get(row, 1)?);
    }
    Ok(())
}

pub(super) fn by_address(workspace: &str, search: &Search, after: &str) -> Query {
    let Search { username, address } = search;
    query!(
        BY_ADDRESS,
        Value::key(workspace),
        after,
        MOST_ADDRESSES,
        username,
        address,
    )
}

pub(super) fn addresses_in(rows: &[Row], gathered: &mut Gathered) -> Result<(), Failure> {
    for (looked_at, row) in (1..).zip(rows) {
        if gathered.room() == 0 {
            break;
        }
        let place = Place::Address(get(row, 0)?);
        if get(row, 2)? {
            gathered.add(place.clone(), get(row, 1)?);
        }
        if looked_at == MOST_ADDRESSES {
            gathered.stop_at(place);
        }
    }
    Ok(())
}
