-- Version 1. Times are milliseconds of Unix time.

CREATE TABLE workspace (
    id                     TEXT PRIMARY KEY,
    two_factor_enabled     INTEGER NOT NULL,
    totp_enabled           INTEGER NOT NULL,
    totp_window            INTEGER NOT NULL CHECK (totp_window BETWEEN 0 AND 10),
    password_fallback      INTEGER NOT NULL,
    missing_factor_allowed INTEGER NOT NULL,
    bypass_token_allowed   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE role_permission (
    workspace  TEXT NOT NULL REFERENCES workspace,
    role       TEXT NOT NULL,
    permission TEXT NOT NULL,
    PRIMARY KEY (workspace, role, permission)
) STRICT, WITHOUT ROWID;

CREATE TABLE user (
    workspace     TEXT NOT NULL REFERENCES workspace,
    id            TEXT NOT NULL,
    username      TEXT NOT NULL,
    -- username in lower case
    username_key  TEXT NOT NULL,
    password_hash TEXT,
    federated     INTEGER NOT NULL,
    deactivated   INTEGER NOT NULL,
    PRIMARY KEY (workspace, id),
    UNIQUE (workspace, username_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE user_role (
    workspace TEXT NOT NULL,
    user      TEXT NOT NULL,
    role      TEXT NOT NULL,
    PRIMARY KEY (workspace, user, role),
    FOREIGN KEY (workspace, user) REFERENCES user
) STRICT, WITHOUT ROWID;

CREATE TABLE email (
    workspace TEXT NOT NULL,
    user      TEXT NOT NULL,
    address   TEXT NOT NULL,
    verified  INTEGER NOT NULL,
    PRIMARY KEY (workspace, user, address),
    FOREIGN KEY (workspace, user) REFERENCES user
) STRICT, WITHOUT ROWID;

CREATE TABLE login_token (
    workspace         TEXT NOT NULL,
    user              TEXT NOT NULL,
    -- standard base64 of the token's SHA-256
    hash              TEXT NOT NULL,
    -- null: a personal access token
    expires           INTEGER,
    bypass_two_factor INTEGER NOT NULL,
    PRIMARY KEY (workspace, user, hash),
    FOREIGN KEY (workspace, user) REFERENCES user
) STRICT, WITHOUT ROWID;

CREATE TABLE totp (
    workspace TEXT NOT NULL,
    user      TEXT NOT NULL,
    key       BLOB NOT NULL,
    -- time step of the last accepted code: it belongs to the key and goes with it
    last_step INTEGER,
    PRIMARY KEY (workspace, user),
    FOREIGN KEY (workspace, user) REFERENCES user
) STRICT, WITHOUT ROWID;

CREATE TABLE backup_code (
    workspace TEXT NOT NULL,
    user      TEXT NOT NULL,
    -- lower-case hexadecimal SHA-256
    hash      TEXT NOT NULL,
    PRIMARY KEY (workspace, user, hash),
    FOREIGN KEY (workspace, user) REFERENCES totp ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Failed attempts in a row at any second factor of an account.
CREATE TABLE failed_attempt (
    workspace    TEXT NOT NULL,
    user         TEXT NOT NULL,
    count        INTEGER NOT NULL,
    locked_until INTEGER,
    PRIMARY KEY (workspace, user),
    FOREIGN KEY (workspace, user) REFERENCES user
) STRICT, WITHOUT ROWID;

-- Mail that waits to be sent.
CREATE TABLE outbox (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace TEXT NOT NULL REFERENCES workspace,
    recipient TEXT NOT NULL,
    subject   TEXT NOT NULL,
    body      TEXT NOT NULL,
    queued    INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace  TEXT NOT NULL REFERENCES workspace,
    at         INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    caller     TEXT NOT NULL,
    target     TEXT,
    decision   TEXT NOT NULL,
    reason     TEXT
) STRICT;
