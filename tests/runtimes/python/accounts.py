"""The accounts of a chat server, in SQLite, and what of them is lent to the plugin.

This file is what to write anew over the accounts of another server; host.py stays as it is. One process has
the store, and makes one call at a time.
"""

import hmac
import json
import re
import sqlite3
import time
from base64 import b32decode
from hashlib import sha256

from wasmtime.component import Record, Variant

STEP, WINDOW = 30, 1  # seconds; accepted steps before and after the current one
FAILURES, LOCK, LONGEST_LOCK = 5, 30, 3600  # in a row, then seconds, which double

TABLES = """
CREATE TABLE user (id TEXT PRIMARY KEY, username TEXT UNIQUE COLLATE NOCASE, totp BLOB, last_step INTEGER,
    failures INTEGER NOT NULL DEFAULT 0, failed_at INTEGER NOT NULL DEFAULT 0);
CREATE TABLE token (hash TEXT PRIMARY KEY, user TEXT NOT NULL);
CREATE TABLE permission (user TEXT NOT NULL, name TEXT NOT NULL);
CREATE TABLE outbox (recipient TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE audit (caller TEXT NOT NULL, target TEXT NOT NULL, receipt TEXT NOT NULL, at INTEGER NOT NULL);
"""


def record(**fields):
    made = Record()
    made.__dict__.update((name.replace("_", "-"), value) for name, value in fields.items())
    return made


class Accounts:
    """The store at this path; made with the accounts of a file, where one is given."""

    Failure = sqlite3.Error

    def __init__(self, path, file=None):
        self.db = sqlite3.connect(path, check_same_thread=False)
        self.db.row_factory = sqlite3.Row
        if file:
            self.db.executescript(TABLES)
            with self.db:
                for user in json.load(file)["users"]:
                    self.add(**user)

    def add(self, id, username, totp, tokens, permissions):
        """Tokens are the hexadecimal SHA-256 of what a client sends."""
        user = "INSERT INTO user (id, username, totp) VALUES (?, ?, ?)"
        self.db.execute(user, [id, username, b32decode(totp)])
        self.db.executemany("INSERT INTO token VALUES (?, ?)", [(hash, id) for hash in tokens])
        self.db.executemany("INSERT INTO permission VALUES (?, ?)", [(id, name) for name in permissions])

    def is_logged_in(self, user, token):
        held = "SELECT 1 FROM token WHERE user = ? AND hash = ?"
        token = sha256((token or "").encode()).hexdigest()
        return self.db.execute(held, [user, token]).fetchone() is not None


class Call:
    """What is lent to one call of the plugin: it is bound to one caller, one request and one moment."""

    def __init__(self, accounts, caller, code):
        self.db, self.caller, self.at = accounts.db, caller, time.time_ns()
        digits = re.fullmatch(r"(\d{3})[\s-]?(\d{3})", (code or "").strip(), re.ASCII)
        self.digits = digits[1] + digits[2] if digits else ""
        self.key, self.attempted, self.done = None, False, False

    def imports(self):
        """All of it, by the names in wit/. Backup codes, codes by e-mail and passwords are no factors here."""
        unavailable = lambda *_: Variant("unavailable")
        return {
            "wasi:clocks/wall-clock@0.2.0": {
                "now": lambda: record(seconds=self.at // 10**9, nanoseconds=self.at % 10**9),
                "resolution": lambda: record(seconds=0, nanoseconds=1),
            },
            "chat:reset-totp/users@0.1.0": {"find": self.find},
            "chat:reset-totp/permissions@0.1.0": {"caller-has": self.caller_has},
            "chat:reset-totp/settings@0.1.0": {
                "two-factor-enabled": lambda: True,
                "totp-window": lambda: WINDOW,
                "missing-factor-allowed": lambda: False,
                "bypass-token-allowed": lambda: False,
            },
            "chat:reset-totp/secrets@0.1.0": {
                "methods": lambda: [Variant("totp")] if self.user(self.caller)["totp"] else [],
                "begin-totp-attempt": self.begin_attempt,
                "begin-totp-code-attempt": self.begin_attempt,
                "begin-backup-code-attempt": unavailable,
                "send-email-code": unavailable,
                "check-email-code": unavailable,
                "check-password": unavailable,
                "reset": self.reset,
            },
        }

    def user(self, value, column="id"):
        return self.db.execute(f"SELECT * FROM user WHERE {column} = ?", [value]).fetchone()

    def find(self, selector):
        found = self.user(selector.payload, {"id": "id", "username": "username"}[selector.tag])
        return found and record(id=found["id"], username=found["username"], federated=False)

    def caller_has(self, permission):
        held = "SELECT 1 FROM permission WHERE user = ? AND name = ?"
        return self.db.execute(held, [self.caller, permission]).fetchone() is not None

    def begin_attempt(self):
        """The failure is on the disk before the key is handed out."""
        user, now = self.user(self.caller), self.at // 10**9
        over = user["failures"] - FAILURES
        if user["totp"] is None:
            return Variant("unavailable")
        if over >= 0 and now < user["failed_at"] + min(LOCK << min(over, 20), LONGEST_LOCK):
            return Variant("locked")
        with self.db:
            count = "UPDATE user SET failures = failures + 1, failed_at = ? WHERE id = ?"
            self.db.execute(count, [now, self.caller])
        self.key, self.attempted = user["totp"], True
        return record(key=self.key, last_step=user["last_step"], backup_code_hashes=[])

    def reset(self, proof, target):
        """The one effect, in one transaction. What can be known here is checked again."""
        if target is not None and not self.caller_has("edit-other-user-totp"):
            return Variant("not-permitted")
        if not (self.attempted and proof.tag == "totp-step" and self.is_right(proof.payload)):
            return Variant("proof-refused")
        member = self.user(self.caller if target is None else target)
        if member is None:
            return Variant("unknown-target")
        receipt = "removed" if member["totp"] else "nothing-enrolled"
        with self.db:
            spend = "UPDATE user SET last_step = ?, failures = 0 WHERE id = ?"
            self.db.execute(spend, [proof.payload, self.caller])
            if receipt == "removed":
                remove = "UPDATE user SET totp = NULL, last_step = NULL, failures = 0 WHERE id = ?"
                self.db.execute(remove, [member["id"]])
                self.db.execute("DELETE FROM token WHERE user = ?", [member["id"]])
                notice = "INSERT INTO outbox VALUES (?, 'Your second factor was removed.')"
                self.db.execute(notice, [member["id"]])
            done = [self.caller, member["id"], receipt, self.at]
            self.db.execute("INSERT INTO audit VALUES (?, ?, ?, ?)", done)
        self.attempted, self.done = False, True
        return receipt

    def is_right(self, step, spent_too=False):
        """Whether the request's code is the caller's of this step, which is near and unspent (RFC 6238)."""
        mac = hmac.digest(self.key, step.to_bytes(8, "big"), "sha1")
        number = int.from_bytes(mac[mac[-1] & 15 :][:4], "big") & 0x7FFFFFFF
        right = hmac.compare_digest(f"{number % 10**6:06}", self.digits)
        last = self.user(self.caller)["last_step"]
        unspent = spent_too or last is None or step > last
        return right and unspent and abs(step - self.at // 10**9 // STEP) <= WINDOW

    def end(self):
        """Takes the attempt off again where the code was no guess: right, or right until it was spent."""
        now = self.at // 10**9 // STEP
        steps = range(now - WINDOW, now + WINDOW + 1)
        if self.attempted and any(self.is_right(step, spent_too=True) for step in steps):
            with self.db:
                self.db.execute("UPDATE user SET failures = failures - 1 WHERE id = ?", [self.caller])
