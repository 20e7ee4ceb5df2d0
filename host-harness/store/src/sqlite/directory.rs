//! Accounts, page by page.

use super::read::profile;
use super::{Db, SqlResult, unread};
use crate::directory::{Gathered, MOST_ADDRESSES, addresses_after, leave_out, usernames_after};
use chat_domain::account::Profile;
use chat_domain::directory::{AccountFilter, AccountPage, Place, Search};
use chat_domain::dossier::Subject;
use rusqlite::{Connection, params};

const ALL: &str = "
    SELECT username_key, id FROM user WHERE workspace = ?1 AND username_key > ?2
    ORDER BY username_key LIMIT ?3";

/// In the index alone, which has not the id.
const BY_USERNAME: &str = "
    SELECT username_key,
           (SELECT id FROM user AS found
            WHERE found.workspace = ?1 AND found.username_key = user.username_key)
    FROM user WHERE workspace = ?1 AND username_key > ?2 AND instr(username_key, ?4)
    ORDER BY username_key LIMIT ?3";

/// In the index alone; and whether the account is in no place before that, which its few addresses
/// say and not, by the `+`, all that are before this one.
const BY_ADDRESS: &str = "
    SELECT found.address, found.user,
           NOT instr(username_key, ?4)
           AND NOT EXISTS (SELECT 1 FROM email
                           WHERE email.workspace = ?1 AND email.user = found.user
                             AND +lower(email.address) < found.address
                             AND instr(lower(email.address), ?5))
    FROM (SELECT lower(address) AS address, user FROM email
          WHERE workspace = ?1 AND lower(address) > ?2 AND instr(lower(address), ?5)
          ORDER BY lower(address) LIMIT ?3) AS found
    CROSS JOIN user ON user.workspace = ?1 AND user.id = found.user";

/// Few have a lock.
const BY_LOCK: &str = "
    SELECT username_key, id
    FROM failed_attempt
    CROSS JOIN user ON user.workspace = ?1 AND user.id = failed_attempt.user
    WHERE failed_attempt.workspace = ?1 AND locked_until IS NOT NULL AND username_key > ?2
      AND (?4 IS NULL OR instr(username_key, ?4)
           OR EXISTS (SELECT 1 FROM email
                      WHERE email.workspace = ?1 AND email.user = user.id
                        AND instr(lower(email.address), ?5)))
    ORDER BY username_key LIMIT ?3";

/// As [`Store::accounts`](crate::Store::accounts).
pub(super) fn accounts(
    db: Db<'_>,
    workspace: &str,
    filter: &AccountFilter,
) -> SqlResult<AccountPage> {
    let mut gathered = Gathered::new(filter);
    let search = filter.search.as_ref();
    if let Some(after) = usernames_after(filter) {
        by_username(&db, workspace, filter, after, &mut gathered)?;
    }
    if let Some(search) = search.filter(|_| !filter.lock_noted && gathered.room() > 0) {
        let after = addresses_after(filter);
        by_address(&db, workspace, search, after, &mut gathered)?;
    }
    let (ids, next) = gathered.page();
    let mut profiles: Vec<Profile> = Vec::with_capacity(ids.len());
    for id in ids {
        let subject = Subject::id(&id).as_seen().with_tokens();
        match profile(db, workspace, &subject, None) {
            Ok(found) => profiles.extend(found),
            Err(error) => leave_out(unread(&error).ok_or(error)?),
        }
    }
    Ok(AccountPage { profiles, next })
}

fn by_username(
    db: &Connection,
    workspace: &str,
    filter: &AccountFilter,
    after: &str,
    gathered: &mut Gathered,
) -> SqlResult<()> {
    let search = filter.search.as_ref();
    let username = search.map(|search| &search.username);
    let address = search.map(|search| &search.address);
    let room = gathered.room();
    let mut query = db.prepare_cached(match (filter.lock_noted, search) {
        (true, _) => BY_LOCK,
        (false, Some(_)) => BY_USERNAME,
        (false, None) => ALL,
    })?;
    let mut rows = match (filter.lock_noted, search) {
        (true, _) => query.query(params![workspace, after, room, username, address])?,
        (false, Some(_)) => query.query(params![workspace, after, room, username])?,
        (false, None) => query.query(params![workspace, after, room])?,
    };
    while let Some(row) = rows.next()? {
        gathered.add(Place::Username(row.get(0)?), row.get(1)?);
    }
    Ok(())
}

fn by_address(
    db: &Connection,
    workspace: &str,
    search: &Search,
    after: &str,
    gathered: &mut Gathered,
) -> SqlResult<()> {
    let Search { username, address } = search;
    let mut query = db.prepare_cached(BY_ADDRESS)?;
    let mut rows = query.query(params![workspace, after, MOST_ADDRESSES, username, address])?;
    for looked_at in 1.. {
        let Some(row) = rows.next()?.filter(|_| gathered.room() > 0) else {
            break;
        };
        let place = Place::Address(row.get(0)?);
        if row.get(2)? {
            gathered.add(place.clone(), row.get(1)?);
        }
        if looked_at == MOST_ADDRESSES {
            gathered.stop_at(place);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;
    use crate::seal::Seal;

    /// However many accounts there are, a page is the next entries of an index; what is searched
    /// for is looked for in an index alone.
    #[test]
    fn a_page_is_read_from_an_index() {
        let mut db = Connection::open_in_memory().unwrap();
        schema::migrate(&mut db, &Seal::none()).unwrap();
        let plan = |sql: &str| {
            let mut query = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let (mut steps, mut plan) = (query.raw_query(), String::new());
            while let Some(step) = steps.next().unwrap() {
                plan += &format!("{}\n", step.get::<_, String>(3).unwrap());
            }
            plan
        };
        for (sql, in_order) in [
            (ALL, "SEARCH user USING INDEX sqlite_autoindex_user_2"),
            (
                BY_USERNAME,
                "SEARCH user USING COVERING INDEX sqlite_autoindex_user_2",
            ),
            (
                BY_ADDRESS,
                "SEARCH email USING COVERING INDEX email_by_address",
            ),
        ] {
            let plan = plan(sql);
            assert!(plan.contains(in_order), "{plan}");
            assert!(!plan.contains("B-TREE"), "{plan}");
        }
        let of_one = "SEARCH email USING PRIMARY KEY (workspace=? AND user=?)";
        for sql in [BY_ADDRESS, BY_LOCK] {
            let plan = plan(sql);
            assert!(plan.contains(of_one), "{plan}");
            assert!(plan.contains("SEARCH user USING PRIMARY KEY"), "{plan}");
        }
    }
}
