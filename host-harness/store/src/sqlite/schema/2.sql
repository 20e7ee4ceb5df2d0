-- Version 2: settings by name, log-in, enrolment, e-mail codes, delivery of mail.

-- What differs from the default, by the name that operators know.
CREATE TABLE setting (
    workspace TEXT NOT NULL REFERENCES workspace,
    name      TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (workspace, name)
) STRICT, WITHOUT ROWID;

INSERT INTO setting SELECT id, 'two-factor-enabled', 'false' FROM workspace WHERE NOT two_factor_enabled;
INSERT INTO setting SELECT id, 'totp-enabled', 'false' FROM workspace WHERE NOT totp_enabled;
INSERT INTO setting SELECT id, 'totp-window', totp_window FROM workspace WHERE totp_window <> 1;
INSERT INTO setting SELECT id, 'password-fallback', 'false' FROM workspace WHERE NOT password_fallback;
INSERT INTO setting SELECT id, 'missing-factor-allowed', 'true' FROM workspace WHERE missing_factor_allowed;
INSERT INTO setting SELECT id, 'bypass-token-allowed', 'true' FROM workspace WHERE bypass_token_allowed;

ALTER TABLE workspace DROP COLUMN two_factor_enabled;
ALTER TABLE workspace DROP COLUMN totp_enabled;
ALTER TABLE workspace DROP COLUMN totp_window;
ALTER TABLE workspace DROP COLUMN password_fallback;
ALTER TABLE workspace DROP COLUMN missing_factor_allowed;
ALTER TABLE workspace DROP COLUMN bypass_token_allowed;

-- A role may grant nothing, or have no members.
CREATE TABLE role (
    workspace TEXT NOT NULL REFERENCES workspace,
    name      TEXT NOT NULL,
    PRIMARY KEY (workspace, name)
) STRICT, WITHOUT ROWID;
INSERT INTO role
SELECT workspace, role FROM role_permission UNION SELECT workspace, role FROM user_role;

ALTER TABLE role_permission RENAME TO role_permission_1;
CREATE TABLE role_permission (
    workspace  TEXT NOT NULL,
    role       TEXT NOT NULL,
    permission TEXT NOT NULL,
    PRIMARY KEY (workspace, role, permission),
    FOREIGN KEY (workspace, role) REFERENCES role
) STRICT, WITHOUT ROWID;
INSERT INTO role_permission SELECT workspace, role, permission FROM role_permission_1;
DROP TABLE role_permission_1;

ALTER TABLE user_role RENAME TO user_role_1;
CREATE TABLE user_role (
    workspace TEXT NOT NULL,
    user      TEXT NOT NULL,
    role      TEXT NOT NULL,
    PRIMARY KEY (workspace, user, role),
    FOREIGN KEY (workspace, user) REFERENCES user,
    FOREIGN KEY (workspace, role) REFERENCES role
) STRICT, WITHOUT ROWID;
INSERT INTO user_role SELECT workspace, user, role FROM user_role_1;
DROP TABLE user_role_1;

-- The holder has opted in to codes by e-mail.
ALTER TABLE user ADD COLUMN email_two_factor INTEGER NOT NULL DEFAULT 0;

-- People log in by their address, so it names one account.
CREATE UNIQUE INDEX email_by_address ON email (workspace, lower(address));

-- The name of a personal access token; null for a session.
ALTER TABLE login_token ADD COLUMN name TEXT;
CREATE UNIQUE INDEX login_token_by_hash ON login_token (workspace, hash);
CREATE UNIQUE INDEX login_token_by_name ON login_token (workspace, user, name);

-- A key that was shown and not yet proved.
CREATE TABLE pending_totp (
    workspace TEXT NOT NULL,
    user      TEXT NOT NULL,
    key       BLOB NOT NULL,
    expires   INTEGER NOT NULL,
    PRIMARY KEY (workspace, user),
    FOREIGN KEY (workspace, user) REFERENCES user
) STRICT, WITHOUT ROWID;

-- The code that an account was sent, until it is used or another is sent.
CREATE TABLE email_code (
    workspace TEXT NOT NULL,
    user      TEXT NOT NULL,
    -- lower-case hexadecimal SHA-256
    hash      TEXT NOT NULL,
    expires   INTEGER NOT NULL,
    failures  INTEGER NOT NULL,
    PRIMARY KEY (workspace, user),
    FOREIGN KEY (workspace, user) REFERENCES user
) STRICT, WITHOUT ROWID;

-- Mail that waits to be sent; what was sent is gone.
ALTER TABLE outbox RENAME TO outbox_1;
CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace    TEXT NOT NULL REFERENCES workspace,
    -- the left part of the Message-ID, the same at every try
    message_id   TEXT NOT NULL UNIQUE,
    recipient    TEXT NOT NULL,
    subject      TEXT NOT NULL,
    body         TEXT NOT NULL,
    queued       INTEGER NOT NULL,
    -- when it becomes a dead letter, which is kept but not tried again
    expires      INTEGER NOT NULL,
    -- the body holds a code: of no use, and removed, once it has expired
    holds_code   INTEGER NOT NULL,
    tries        INTEGER NOT NULL DEFAULT 0,
    -- somebody is sending it, and has until next_try
    claimed      INTEGER NOT NULL DEFAULT 0,
    -- the largest integer for a dead letter
    next_try     INTEGER NOT NULL,
    last_problem TEXT
) STRICT;
INSERT INTO outbox (id, workspace, message_id, recipient, subject, body, queued, expires, holds_code, next_try)
SELECT id, workspace, lower(hex(randomblob(16))), recipient, subject, body, queued, unixepoch() * 1000 + 259200000, 0, queued
FROM outbox_1;
DROP TABLE outbox_1;
CREATE INDEX outbox_by_next_try ON outbox (next_try);

-- What the decision was about.
ALTER TABLE audit ADD COLUMN action TEXT NOT NULL DEFAULT 'reset-totp';
