-- Version 5: the audit trail is a log that proves itself.

-- What was there before the store was sealed may still be in the files of its tables.
ALTER TABLE chat_store ADD COLUMN holds_plain BOOLEAN NOT NULL DEFAULT FALSE;

-- Where the log of a workspace ends; a workspace without records has none.
CREATE TABLE audit_log (
    workspace TEXT COLLATE "C" PRIMARY KEY REFERENCES workspace,
    size      BIGINT NOT NULL CHECK (size > 0),
    -- the roots of the complete subtrees of its Merkle tree (RFC 6962), one after the other
    edge      BYTEA NOT NULL,
    -- the last link of its chain
    mac       BYTEA NOT NULL,
    -- what says that nothing is after that
    "end"     BYTEA NOT NULL,
    -- base64
    secret    TEXT COLLATE "C" NOT NULL
);

-- What is always kept of a record, by its place in the log.
CREATE TABLE audit_leaf (
    workspace TEXT COLLATE "C" NOT NULL REFERENCES workspace,
    idx       BIGINT NOT NULL CHECK (idx >= 0),
    -- the salted hash of the record
    hash      BYTEA NOT NULL,
    -- its link of the chain
    mac       BYTEA NOT NULL,
    -- its tombstone, once the record is erased
    erased    BYTEA,
    PRIMARY KEY (workspace, idx)
);

-- The place in the log, and what hides the record behind its leaf. What no log has put there is
-- nowhere in it.
ALTER TABLE audit ADD COLUMN idx BIGINT NOT NULL DEFAULT -1;
ALTER TABLE audit ADD COLUMN salt BYTEA NOT NULL DEFAULT '';
CREATE INDEX audit_by_place ON audit (workspace, idx);
