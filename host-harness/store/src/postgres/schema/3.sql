-- What SQLite's store has at its version 3: the same tables and columns in the same order, so
-- that rows can be copied from one store into another. Times are milliseconds of Unix time, and
-- texts are compared byte by byte.

CREATE TABLE workspace (
    id TEXT COLLATE "C" PRIMARY KEY
);

-- What differs from the default, by the name that operators know.
CREATE TABLE setting (
    workspace TEXT COLLATE "C" NOT NULL REFERENCES workspace,
    name      TEXT COLLATE "C" NOT NULL,
    value     TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace, name)
);

-- A role may grant nothing, or have no members.
CREATE TABLE role (
    workspace TEXT COLLATE "C" NOT NULL REFERENCES workspace,
    name      TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace, name)
);

CREATE TABLE role_permission (
    workspace  TEXT COLLATE "C" NOT NULL,
    role       TEXT COLLATE "C" NOT NULL,
    permission TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace, role, permission),
    FOREIGN KEY (workspace, role) REFERENCES role
);

CREATE TABLE "user" (
    workspace           TEXT COLLATE "C" NOT NULL REFERENCES workspace,
    id                  TEXT COLLATE "C" NOT NULL,
    username            TEXT COLLATE "C" NOT NULL,
    -- NFKC, case folded
    username_key        TEXT COLLATE "C" NOT NULL,
    password_hash       TEXT COLLATE "C",
    federated           BOOLEAN NOT NULL,
    deactivated         BOOLEAN NOT NULL,
    -- the holder has opted in to codes by e-mail
    email_two_factor    BOOLEAN NOT NULL DEFAULT FALSE,
    -- what usernames have in common that people cannot tell apart
    skeleton            TEXT COLLATE "C" NOT NULL DEFAULT '',
    skeleton_as_written TEXT COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (workspace, id),
    UNIQUE (workspace, username_key)
);
CREATE INDEX user_by_skeleton ON "user" (workspace, skeleton);
CREATE INDEX user_by_skeleton_as_written ON "user" (workspace, skeleton_as_written);

CREATE TABLE user_role (
    workspace TEXT COLLATE "C" NOT NULL,
    "user"    TEXT COLLATE "C" NOT NULL,
    role      TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace, "user", role),
    FOREIGN KEY (workspace, "user") REFERENCES "user",
    FOREIGN KEY (workspace, role) REFERENCES role
);

CREATE TABLE email (
    workspace TEXT COLLATE "C" NOT NULL,
    "user"    TEXT COLLATE "C" NOT NULL,
    address   TEXT COLLATE "C" NOT NULL,
    verified  BOOLEAN NOT NULL,
    PRIMARY KEY (workspace, "user", address),
    FOREIGN KEY (workspace, "user") REFERENCES "user"
);
-- People log in by their address, so it names one account.
CREATE UNIQUE INDEX email_by_address ON email (workspace, lower(address));

CREATE TABLE login_token (
    workspace         TEXT COLLATE "C" NOT NULL,
    "user"            TEXT COLLATE "C" NOT NULL,
    -- standard base64 of the token's SHA-256
    hash              TEXT COLLATE "C" NOT NULL,
    -- null: a personal access token
    expires           BIGINT,
    bypass_two_factor BOOLEAN NOT NULL,
    -- of a personal access token; null for a session
    name              TEXT COLLATE "C",
    PRIMARY KEY (workspace, "user", hash),
    FOREIGN KEY (workspace, "user") REFERENCES "user"
);
CREATE UNIQUE INDEX login_token_by_hash ON login_token (workspace, hash);
CREATE UNIQUE INDEX login_token_by_name ON login_token (workspace, "user", name);

CREATE TABLE totp (
    workspace TEXT COLLATE "C" NOT NULL,
    "user"    TEXT COLLATE "C" NOT NULL,
    key       BYTEA NOT NULL,
    -- time step of the last accepted code: it belongs to the key and goes with it
    last_step BIGINT,
    PRIMARY KEY (workspace, "user"),
    FOREIGN KEY (workspace, "user") REFERENCES "user"
);

CREATE TABLE backup_code (
    workspace TEXT COLLATE "C" NOT NULL,
    "user"    TEXT COLLATE "C" NOT NULL,
    -- lower-case hexadecimal SHA-256
    hash      TEXT COLLATE "C" NOT NULL,
    -- a used one is kept as long as the others: it is known again
    spent     BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (workspace, "user", hash),
    FOREIGN KEY (workspace, "user") REFERENCES totp ON DELETE CASCADE
);

-- A key that was shown and not yet proved.
CREATE TABLE pending_totp (
    workspace TEXT COLLATE "C" NOT NULL,
    "user"    TEXT COLLATE "C" NOT NULL,
    key       BYTEA NOT NULL,
    expires   BIGINT NOT NULL,
    PRIMARY KEY (workspace, "user"),
    FOREIGN KEY (workspace, "user") REFERENCES "user"
);

-- The code that an account was sent, until it is used or another is sent.
CREATE TABLE email_code (
    workspace TEXT COLLATE "C" NOT NULL,
    "user"    TEXT COLLATE "C" NOT NULL,
    -- lower-case hexadecimal SHA-256
    hash      TEXT COLLATE "C" NOT NULL,
    expires   BIGINT NOT NULL,
    failures  BIGINT NOT NULL,
    -- when it was sent, and how many mails brought it or may still do so
    issued    BIGINT NOT NULL DEFAULT 0,
    mails     BIGINT NOT NULL DEFAULT 1,
    PRIMARY KEY (workspace, "user"),
    FOREIGN KEY (workspace, "user") REFERENCES "user"
);

-- Failed attempts in a row at any second factor of an account.
CREATE TABLE failed_attempt (
    workspace    TEXT COLLATE "C" NOT NULL,
    "user"       TEXT COLLATE "C" NOT NULL,
    count        BIGINT NOT NULL,
    locked_until BIGINT,
    -- how many they were when the holder was told; 0: not yet
    told         BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace, "user"),
    FOREIGN KEY (workspace, "user") REFERENCES "user"
);

-- Mail that waits to be sent; what was sent is gone.
CREATE TABLE outbox (
    id           BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    workspace    TEXT COLLATE "C" NOT NULL REFERENCES workspace,
    -- the left part of the Message-ID, the same at every try
    message_id   TEXT COLLATE "C" NOT NULL UNIQUE,
    recipient    TEXT COLLATE "C" NOT NULL,
    subject      TEXT COLLATE "C" NOT NULL,
    body         TEXT COLLATE "C" NOT NULL,
    queued       BIGINT NOT NULL,
    -- when it becomes a dead letter, which is kept but not tried again
    expires      BIGINT NOT NULL,
    -- the body holds a code: of no use, and removed, once it has expired
    holds_code   BOOLEAN NOT NULL,
    tries        BIGINT NOT NULL DEFAULT 0,
    -- somebody is sending it, and has until next_try
    claimed      BOOLEAN NOT NULL DEFAULT FALSE,
    -- the largest integer for a dead letter
    next_try     BIGINT NOT NULL,
    last_problem TEXT COLLATE "C",
    -- the account that it is for; null where that is not known
    "user"       TEXT COLLATE "C",
    -- tries after which it may have arrived
    doubtful     BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX outbox_by_next_try ON outbox (next_try);
CREATE INDEX outbox_by_workspace ON outbox (workspace);

CREATE TABLE audit (
    id         BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    workspace  TEXT COLLATE "C" NOT NULL REFERENCES workspace,
    at         BIGINT NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    caller     TEXT COLLATE "C" NOT NULL,
    target     TEXT COLLATE "C",
    decision   TEXT COLLATE "C" NOT NULL,
    reason     TEXT COLLATE "C",
    -- what the decision was about
    action     TEXT COLLATE "C" NOT NULL DEFAULT 'reset-totp',
    -- where the request came from, by what a second factor was proved, to how many addresses a
    -- notice goes (null: there is nothing to tell), and how many requests were decided so
    address    TEXT COLLATE "C",
    agent      TEXT COLLATE "C",
    proof      TEXT COLLATE "C",
    told       BIGINT,
    calls      BIGINT NOT NULL DEFAULT 1
);
CREATE INDEX audit_by_time ON audit (workspace, at);

-- Settings whose values a configuration says, and where.
CREATE TABLE fixed_setting (
    workspace TEXT COLLATE "C" NOT NULL REFERENCES workspace,
    name      TEXT COLLATE "C" NOT NULL,
    place     TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace, name)
);

-- One row, written to see whether anything can be.
CREATE TABLE probe (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    at BIGINT NOT NULL
);

-- One row a transaction that was committed, or that can be no more: what became of one whose
-- answer was lost. Of the server's clock.
CREATE TABLE commit_mark (
    id        BYTEA PRIMARY KEY,
    at        BIGINT NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT,
    committed BOOLEAN NOT NULL
);
CREATE INDEX commit_mark_by_time ON commit_mark (at);
GRANT INSERT ON commit_mark TO chat_workspace;

-- Row-level security keeps an index on an expression from being used (`lower` may leak, for all
-- that the planner knows): so this looks past it, and no further than the workspace.
CREATE FUNCTION account_of_address(wanted TEXT) RETURNS TEXT
LANGUAGE SQL STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    SELECT "user" FROM email
    WHERE workspace = current_setting('chat.workspace', TRUE) AND lower(address) = wanted
$$;
REVOKE EXECUTE ON FUNCTION account_of_address FROM PUBLIC;
GRANT EXECUTE ON FUNCTION account_of_address TO chat_workspace;
