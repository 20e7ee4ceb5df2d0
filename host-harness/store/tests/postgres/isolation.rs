//! Row-level security: whatever a statement of a workspace says, it touches that one.

use crate::suite::new_data;
use chat_testing::Data;
use chat_testing::ask::Ask as _;
use chat_testing::postgres::connect;

/// Tables with a workspace: `workspace` itself has it as its id.
const TABLES: &str = "
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relnamespace = current_schema()::REGNAMESPACE AND relkind = 'r'
      AND (attname = 'workspace' OR (relname = 'workspace' AND attname = 'id'))";

/// Where every table has rows of both workspaces.
async fn full() -> Data {
    let data = new_data().await;
    for workspace in ["acme", "globex"] {
        data.edit(&format!(
            "INSERT INTO setting VALUES ('{workspace}', 'totp-window', '2');
             INSERT INTO fixed_setting VALUES ('{workspace}', 'totp-window', 'line 1');
             INSERT INTO failed_attempt VALUES ('{workspace}', 'alice', 1, NULL, 0);
             INSERT INTO pending_totp VALUES ('{workspace}', 'alice', 'AA', 1);
             INSERT INTO email_code VALUES ('{workspace}', 'alice', 'h', 1, 0, 0, 1);
             INSERT INTO outbox (workspace, message_id, recipient, subject, body, queued, expires,
                                 holds_code, next_try)
             VALUES ('{workspace}', '{workspace}', 'a', 's', 'b', 0, 1, FALSE, 0)"
        ));
        let record = crate::suite::audit_log::record_in(workspace, 0);
        data.store.record(record).await.unwrap();
    }
    data
}

/// Each table and its column of the workspace.
async fn tables(data: &Data) -> Vec<[String; 2]> {
    let client = connect(data.database().url()).await.unwrap();
    let columns = format!(
        "SELECT quote_ident(relname), CASE WHEN relname = 'workspace' THEN 'id' ELSE attname END
         {TABLES} ORDER BY relname"
    );
    let rows = client.query(&columns, &[]).await.unwrap();
    let tables: Vec<_> = rows.iter().map(|row| [row.get(0), row.get(1)]).collect();
    assert!(tables.len() >= 15, "{tables:?}");
    tables
}

/// In a transaction of the role, in this workspace.
fn within(workspace: &str, sql: &str) -> String {
    format!(
        "BEGIN; SET LOCAL ROLE chat_workspace;
         SET LOCAL chat.workspace = '{workspace}'; {sql}; COMMIT"
    )
}

#[tokio::test]
async fn every_table_with_a_workspace_is_held_to_it() {
    let data = new_data().await;
    let all = data
        .database()
        .numbers(&format!("SELECT count(*) {TABLES}"));
    let held = data.database().numbers(&format!(
        "SELECT count(*) {TABLES} AND relrowsecurity
           AND EXISTS (SELECT 1 FROM pg_policy WHERE polrelid = pg_class.oid)"
    ));
    assert_eq!(all, held);
}

#[tokio::test]
async fn a_statement_without_a_condition_sees_and_changes_one_workspace() {
    let data = full().await;
    let before = data.dump();
    for [table, column] in tables(&data).await {
        let client = connect(data.database().url()).await.unwrap();
        client
            .batch_execute(
                "BEGIN; SET LOCAL ROLE chat_workspace; SET LOCAL chat.workspace = 'acme'",
            )
            .await
            .unwrap();
        let seen = format!("SELECT DISTINCT {column} FROM {table}");
        let seen = client.query(&seen, &[]).await.unwrap();
        let seen: Vec<String> = seen.iter().map(|row| row.get(0)).collect();
        assert_eq!(seen, ["acme"], "{table}");
        client
            .batch_execute("SET LOCAL chat.workspace = ''")
            .await
            .unwrap();
        let seen = client.query(&format!("SELECT FROM {table}"), &[]).await;
        assert_eq!(seen.unwrap().len(), 0, "{table}");
    }
    // All rows of all tables, those first that others refer to.
    let mut left: Vec<_> = tables(&data).await;
    while !left.is_empty() {
        let deleted = left.len();
        left.retain(|[table, _]| {
            let delete = within("acme", &format!("DELETE FROM {table}"));
            data.database().try_to_edit(&delete).is_err()
        });
        assert!(left.len() < deleted, "{left:?}");
    }
    let changes = before.changes(&data.dump());
    assert!(changes.contains("- workspace: id=acme"), "{changes}");
    assert_eq!(changes.matches("globex").count(), 0, "{changes}");
}

#[tokio::test]
async fn no_row_is_made_or_moved_into_another_workspace() {
    let data = full().await;
    let before = data.dump();
    for (sql, problem) in [
        (
            "INSERT INTO setting VALUES ('globex', 'login-days', '1')",
            "new row violates row-level security policy for table \"setting\"",
        ),
        (
            "INSERT INTO workspace VALUES ('initech')",
            "new row violates row-level security policy for table \"workspace\"",
        ),
        (
            "UPDATE setting SET workspace = 'globex', name = 'login-days'",
            "new row violates row-level security policy for table \"setting\"",
        ),
        (
            "SELECT * FROM commit_mark",
            "permission denied for table commit_mark",
        ),
        (
            "DELETE FROM commit_mark",
            "permission denied for table commit_mark",
        ),
        (
            "UPDATE chat_store SET version = 0",
            "permission denied for table chat_store",
        ),
        (
            "UPDATE probe SET at = 0",
            "permission denied for table probe",
        ),
        ("DROP TABLE setting", "must be owner of table setting"),
        ("TRUNCATE setting", "permission denied for table setting"),
    ] {
        let refused = data.database().try_to_edit(&within("acme", sql));
        assert_eq!(refused.unwrap_err(), problem);
    }
    assert_eq!(before.changes(&data.dump()), "");
}

/// It looks past the policy, for its index.
#[tokio::test]
async fn an_address_is_looked_up_in_one_workspace_and_by_nobody_else() {
    let data = full().await;
    let client = connect(data.database().url()).await.unwrap();
    let find = "SELECT account_of_address('alice@acme.example'), account_of_address('gina@globex.example')";
    for (workspace, expected) in [
        ("acme", [false, false]),
        ("globex", [false, true]),
        ("", [false; 2]),
    ] {
        client
            .batch_execute(&format!(
                "BEGIN; SET LOCAL ROLE chat_workspace; SET LOCAL chat.workspace = '{workspace}'"
            ))
            .await
            .unwrap();
        let found = client.query_one(find, &[]).await.unwrap();
        let found: [Option<String>; 2] = [found.get(0), found.get(1)];
        assert_eq!(found.map(|id| id.is_some()), expected, "{workspace}");
        client.batch_execute("COMMIT").await.unwrap();
    }
    let url = data.database().superusers_url();
    let client = connect(url).await.unwrap();
    client
        .batch_execute("BEGIN; CREATE ROLE stranger; SET LOCAL ROLE stranger")
        .await
        .unwrap();
    let refused = client.query_one(find, &[]).await.unwrap_err();
    let refused = refused.as_db_error().unwrap().message();
    assert_eq!(refused, "permission denied for function account_of_address");
}
