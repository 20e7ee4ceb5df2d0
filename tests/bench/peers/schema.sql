-- The accounts of one workspace, as a server of its own would keep them. Times
-- are milliseconds of Unix time.

CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE role_permission (
    role       TEXT NOT NULL,
    permission TEXT NOT NULL,
    PRIMARY KEY (role, permission)
) STRICT, WITHOUT ROWID;

CREATE TABLE user (
    id           TEXT PRIMARY KEY,
    username     TEXT NOT NULL,
    -- username in lower case
    username_key TEXT NOT NULL UNIQUE,
    federated    INTEGER NOT NULL DEFAULT 0,
    deactivated  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE user_role (
    user TEXT NOT NULL REFERENCES user,
    role TEXT NOT NULL,
    PRIMARY KEY (user, role)
) STRICT, WITHOUT ROWID;

CREATE TABLE email (
    user     TEXT NOT NULL REFERENCES user,
    address  TEXT NOT NULL UNIQUE,
    verified INTEGER NOT NULL,
    PRIMARY KEY (user, address)
) STRICT, WITHOUT ROWID;

CREATE TABLE login_token (
    user    TEXT NOT NULL REFERENCES user,
    -- standard base64 of the token's SHA-256
    hash    TEXT NOT NULL UNIQUE,
    -- null: a personal access token
    expires INTEGER,
    PRIMARY KEY (user, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE totp (
    user      TEXT PRIMARY KEY REFERENCES user,
    -- base32
    secret    TEXT NOT NULL,
    -- time step of the last accepted code
    last_step INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE backup_code (
    user TEXT NOT NULL REFERENCES totp ON DELETE CASCADE,
    -- lower-case hexadecimal SHA-256
    hash TEXT NOT NULL,
    PRIMARY KEY (user, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE failed_attempt (
    user         TEXT PRIMARY KEY REFERENCES user,
    count        INTEGER NOT NULL,
    locked_until INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    recipient TEXT NOT NULL,
    subject   TEXT NOT NULL,
    body      TEXT NOT NULL,
    queued    INTEGER NOT NULL,
    next_try  INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_by_next_try ON outbox (next_try);

CREATE TABLE audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    action     TEXT NOT NULL,
    caller     TEXT NOT NULL,
    target     TEXT,
    decision   TEXT NOT NULL,
    reason     TEXT
) STRICT;
