-- Version 4: what is secret can be sealed: it is text then, as it is in base32 where it is a key and not sealed.

-- One row where it is.
CREATE TABLE sealing (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    -- of the key under which everything was sealed last
    key_id      TEXT NOT NULL,
    -- a text that everybody knows, sealed under that key
    check_value TEXT NOT NULL
) STRICT;

-- The keys are base32 by now, in blobs. The tables that refer to others go first: what refers to a table goes with it.
CREATE TABLE totp_4 (
    workspace TEXT NOT NULL,
    user      TEXT NOT NULL,
    key       TEXT NOT NULL,
    -- time step of the last accepted code: it belongs to the key and goes with it
    last_step INTEGER,
    PRIMARY KEY (workspace, user),
    FOREIGN KEY (workspace, user) REFERENCES user
) STRICT, WITHOUT ROWID;
INSERT INTO totp_4 SELECT workspace, user, CAST(key AS TEXT), last_step FROM totp;

CREATE TABLE backup_code_4 (
    workspace TEXT NOT NULL,
    user      TEXT NOT NULL,
    -- lower-case hexadecimal SHA-256, or that sealed
    hash      TEXT NOT NULL,
    -- a used one is kept as long as the others: it is known again
    spent     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace, user, hash),
    FOREIGN KEY (workspace, user) REFERENCES totp_4 ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
INSERT INTO backup_code_4 SELECT workspace, user, hash, spent FROM backup_code;

DROP TABLE backup_code;
DROP TABLE totp;
ALTER TABLE totp_4 RENAME TO totp;
ALTER TABLE backup_code_4 RENAME TO backup_code;

CREATE TABLE pending_totp_4 (
    workspace TEXT NOT NULL,
    user      TEXT NOT NULL,
    key       TEXT NOT NULL,
    expires   INTEGER NOT NULL,
    PRIMARY KEY (workspace, user),
    FOREIGN KEY (workspace, user) REFERENCES user
) STRICT, WITHOUT ROWID;
INSERT INTO pending_totp_4 SELECT workspace, user, CAST(key AS TEXT), expires FROM pending_totp;
DROP TABLE pending_totp;
ALTER TABLE pending_totp_4 RENAME TO pending_totp;
