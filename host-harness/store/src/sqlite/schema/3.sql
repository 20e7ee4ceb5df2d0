-- Version 3: from where, who is told, what can be asked for again, what is kept and how long.

-- When it was sent, and how many mails brought it or may still do so.
ALTER TABLE email_code ADD COLUMN issued INTEGER NOT NULL DEFAULT 0;
ALTER TABLE email_code ADD COLUMN mails INTEGER NOT NULL DEFAULT 1;

-- How many failures they were when the holder was told; 0: not yet.
ALTER TABLE failed_attempt ADD COLUMN told INTEGER NOT NULL DEFAULT 0;

-- A used one is kept as long as the others: it is known again.
ALTER TABLE backup_code ADD COLUMN spent INTEGER NOT NULL DEFAULT 0;

-- The account that it is for; null where that is not known.
ALTER TABLE outbox ADD COLUMN user TEXT;
UPDATE outbox SET user = (SELECT email.user FROM email
                          WHERE email.workspace = outbox.workspace AND lower(address) = lower(recipient));
-- Tries after which it may have arrived.
ALTER TABLE outbox ADD COLUMN doubtful INTEGER NOT NULL DEFAULT 0;

-- Where the request came from, by what a second factor was proved, to how many addresses a notice goes (null: there is
-- nothing to tell), and how many requests were decided so.
ALTER TABLE audit ADD COLUMN address TEXT;
ALTER TABLE audit ADD COLUMN agent TEXT;
ALTER TABLE audit ADD COLUMN proof TEXT;
ALTER TABLE audit ADD COLUMN told INTEGER;
ALTER TABLE audit ADD COLUMN calls INTEGER NOT NULL DEFAULT 1;
CREATE INDEX audit_by_time ON audit (workspace, at);

-- What usernames have in common that people cannot tell apart; username_key is NFKC, case folded.
ALTER TABLE user ADD COLUMN skeleton TEXT NOT NULL DEFAULT '';
ALTER TABLE user ADD COLUMN skeleton_as_written TEXT NOT NULL DEFAULT '';
CREATE INDEX user_by_skeleton ON user (workspace, skeleton);
CREATE INDEX user_by_skeleton_as_written ON user (workspace, skeleton_as_written);

-- Settings whose values a configuration says, and where.
CREATE TABLE fixed_setting (
    workspace TEXT NOT NULL REFERENCES workspace,
    name      TEXT NOT NULL,
    place     TEXT NOT NULL,
    PRIMARY KEY (workspace, name)
) STRICT, WITHOUT ROWID;

-- One row, written to see whether anything can be.
CREATE TABLE probe (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
