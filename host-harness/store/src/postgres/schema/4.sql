-- Version 4: what is secret can be sealed: it is text then, as it is in base32 where it is a key and not sealed.

-- One row where it is.
CREATE TABLE sealing (
    id          BIGINT PRIMARY KEY CHECK (id = 1),
    -- of the key under which everything was sealed last
    key_id      TEXT COLLATE "C" NOT NULL,
    -- a text that everybody knows, sealed under that key
    check_value TEXT COLLATE "C" NOT NULL
);

-- The keys are base32 by now, in bytes.
ALTER TABLE totp ALTER COLUMN key TYPE TEXT COLLATE "C" USING convert_from(key, 'UTF8');
ALTER TABLE pending_totp ALTER COLUMN key TYPE TEXT COLLATE "C" USING convert_from(key, 'UTF8');
