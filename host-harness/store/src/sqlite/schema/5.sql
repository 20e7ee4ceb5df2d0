-- Version 5: the audit trail is a log that proves itself.

-- Where the log of a workspace ends; a workspace without records has none.
CREATE TABLE audit_log (
    workspace TEXT PRIMARY KEY REFERENCES workspace,
    size      INTEGER NOT NULL CHECK (size > 0),
    -- the roots of the complete subtrees of its Merkle tree (RFC 6962), one after the other
    edge      BLOB NOT NULL,
    -- the last link of its chain
    mac       BLOB NOT NULL,
    -- what says that nothing is after that
    "end"     BLOB NOT NULL,
    -- base64
    secret    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What is always kept of a record, by its place in the log.
CREATE TABLE audit_leaf (
    workspace TEXT NOT NULL REFERENCES workspace,
    idx       INTEGER NOT NULL CHECK (idx >= 0),
    -- the salted hash of the record
    hash      BLOB NOT NULL,
    -- its link of the chain
    mac       BLOB NOT NULL,
    -- its tombstone, once the record is erased
    erased    BLOB,
    PRIMARY KEY (workspace, idx)
) STRICT, WITHOUT ROWID;

-- The place in the log, and what hides the record behind its leaf. What no log has put there is nowhere in it.
ALTER TABLE audit ADD COLUMN idx INTEGER NOT NULL DEFAULT -1;
ALTER TABLE audit ADD COLUMN salt BLOB NOT NULL DEFAULT x'';
CREATE INDEX audit_by_place ON audit (workspace, idx);
