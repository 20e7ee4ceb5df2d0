"""The contract of wit/ in Python: who may remove whose TOTP second factor.

The order of the checks: the body is well formed, the second factor is proved, then, if a member is named: the caller
holds the permission, the workspace uses second factors, the member exists. `host-harness check` tries it.
"""

import hashlib
import hmac
import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.handler import Caller, Request, Response
from wit_world.imports import permissions, secrets, settings, users, wall_clock
from wit_world.imports.secrets import Method, Proof

STEP_SECONDS = 30
CODE = re.compile(r"([0-9]{3})[-\s]?([0-9]{3})")
BACKUP_CODE = re.compile(r"[23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz]{8}")
STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"')
FORM = re.compile(r"application/x-www-form-urlencoded\s*(;|$)", re.IGNORECASE)
KEYS = {"userId": users.Selector_Id, "username": users.Selector_Username, "user": users.Selector_Username}
NAMES = {secrets.Method_Totp: "totp", secrets.Method_Email: "email", secrets.Method_Password: "password"}


class Refusal(Exception):
    """Why a request is refused: the body of the answer."""

    def __init__(self, **body: Any) -> None:
        self.body = {"success": False, **body}


def refusal(error_id: str, text: str, **details: Any) -> Refusal:
    more = {"details": details} if details else {}
    return Refusal(error=f"{text} [{error_id}]", errorType=error_id, **more)


def invalid_params(problem: str) -> Refusal:
    return Refusal(errorType="invalid-params", error=problem)


def totp_invalid(method: Method) -> Refusal:
    return refusal("totp-invalid", "TOTP Invalid", method=name(method), codeGenerated=False)


def totp_max_attempts(method: Method) -> Refusal:
    text = "TOTP Maximun Failed Attempts Reached"
    return refusal("totp-max-attempts", text, method=name(method), codeGenerated=False)


def not_allowed() -> Refusal:
    return refusal("error-not-allowed", "Not allowed")


def invalid_user() -> Refusal:
    text = 'The required "userId" or "username" param provided does not match any users'
    return refusal("error-invalid-user", text)


class Handler(exports.Handler):
    """The export. Whatever else is raised ends the call: it is no answer."""

    def reset_totp(self, caller: Caller, request: Request) -> Response:
        try:
            reset(caller, request)
            status, body = 200, {"success": True}
        except Refusal as refused:
            status, body = 400, refused.body
        return Response(status, json.dumps(body, separators=(",", ":")))


def reset(caller: Caller, request: Request) -> None:
    selectors = parse(request)
    enabled = settings.two_factor_enabled()
    proof = prove(caller, request) if enabled else secrets.Proof_None_()
    target = secrets.Target_Caller() if selectors is None else secrets.Target_User(member(selectors, enabled))
    try:
        secrets.reset(proof, target)
    except Err as refused:
        match refused.value:
            case secrets.Refusal_ProofRefused():
                raise totp_invalid(method_of(proof)) from None
            case secrets.Refusal_UnknownTarget():
                raise invalid_user() from None
            case _:
                raise not_allowed() from None


def parse(request: Request) -> list[users.Selector] | None:
    """Whom the body names; None for the caller."""
    if not request.body:
        return None
    try:
        pairs = read(request.body.decode(), request.content_type or "")
    except ValueError:
        raise invalid_params("the body is not a JSON object") from None
    for key, value in pairs:
        if key not in KEYS:
            raise invalid_params("unknown key, expected `userId`, `username` or `user`")
        if not isinstance(value, str) or not is_text(value):
            raise invalid_params("a value is not a string")
    if len(dict(pairs)) < len(pairs):
        raise invalid_params("duplicate key")
    if not pairs:
        return None
    return [KEYS[key](value) for key, value in pairs if value.strip()]


def read(text: str, content_type: str) -> list[tuple[str, Any]]:
    """The keys of a JSON object, whatever the content type says, or of a form."""
    # A byte order mark before an object is passed over (RFC 8259 section 8.1).
    object_text = text.removeprefix("\ufeff").lstrip(" \t\r\n")
    if object_text.startswith("{"):
        outside = STRING.sub("", object_text)
        # A parser would follow lists in lists until its stack ends.
        if "[" in outside or "{" in outside[1:]:
            raise ValueError("nested")
        # Pairs, as a dictionary passes over a key that comes again.
        return json.loads(object_text, object_pairs_hook=list)
    if FORM.match(content_type):
        return parse_qsl(text, keep_blank_values=True, errors="strict")
    raise ValueError("neither")


def is_text(value: str) -> bool:
    """Whether it is Unicode: JSON can name half of a pair of surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def prove(caller: Caller, request: Request) -> Proof:
    if caller.bypass_token and settings.bypass_token_allowed():
        return secrets.Proof_None_()
    available = secrets.methods()
    method = choose(available, request.two_factor_method)
    if method is None:
        if settings.missing_factor_allowed():
            return secrets.Proof_None_()
        raise required(secrets.Method_Totp(), available)
    code = (request.two_factor_code or "").strip()
    if not code:
        raise ask(method, available)
    try:
        proof = proof_by(method, code)
    except Err as refused:
        if isinstance(refused.value, secrets.AttemptRefusal_Locked):
            raise totp_max_attempts(method) from None
        proof = None
    if proof is None:
        raise totp_invalid(method)
    return proof


def choose(available: list[Method], asked: str | None) -> Method | None:
    """The method that is asked for, unless it is the password; otherwise the one that the host prefers."""
    known = [method for method in available if type(method) in NAMES]
    wanted = [method for method in known if name(method) == asked and asked != "password"]
    return next(iter(wanted + known), None)


def ask(method: Method, available: list[Method]) -> Refusal:
    if not isinstance(method, secrets.Method_Email):
        return required(method, available)
    try:
        return required(method, available, secrets.send_email_code())
    except Err as refused:
        if isinstance(refused.value, secrets.AttemptRefusal_Locked):
            return totp_max_attempts(method)
        return required(method, available)


def required(method: Method, available: list[Method], sent: secrets.EmailCode | None = None) -> Refusal:
    details: dict[str, Any] = {"method": name(method), "codeGenerated": sent is not None and sent.sent_now}
    if sent is not None:
        if not sent.sent_now:
            expires = datetime.fromtimestamp(sent.expires, UTC)
            details["codeExpires"] = expires.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        details["emailOrUsername"] = sent.recipient
    details["availableMethods"] = [name(each) for each in available if not isinstance(each, secrets.Method_Password)]
    return refusal("totp-required", "TOTP Required", **details)


def proof_by(method: Method, code: str) -> Proof | None:
    """Raises what the host refuses."""
    match method:
        case secrets.Method_Totp():
            return totp_proof(code)
        case secrets.Method_Email():
            return secrets.Proof_EmailCode() if secrets.check_email_code(code) else None
        case secrets.Method_Password():
            return secrets.Proof_Password() if secrets.check_password(code) else None
    return None


def totp_proof(code: str) -> Proof | None:
    """What has no code's form is no guess: nothing is asked of the host, and nothing counted."""
    if BACKUP_CODE.fullmatch(code):
        hashes = secrets.begin_backup_code_attempt()
        digest = hashlib.sha256(code.encode()).digest()
        size = len(digest)
        # All are compared, so that the time tells nothing.
        found = [hmac.compare_digest(hashes[at : at + size], digest) for at in range(0, len(hashes), size)]
        return secrets.Proof_BackupCode(digest.hex()) if any(found) else None
    digits = CODE.fullmatch(code)
    if digits is None:
        return None
    factor = secrets.begin_totp_code_attempt()
    window = settings.totp_window()
    current = wall_clock.now().seconds // STEP_SECONDS
    matching = [
        step
        for step in range(max(0, current - window), current + window + 1)
        if hmac.compare_digest(code_of(factor.key, step), "".join(digits.groups()))
    ]
    # A code is accepted once (RFC 6238 section 5.2): so its steps, and those before, are spent.
    unspent = [step for step in matching if factor.last_step is None or step > factor.last_step]
    return secrets.Proof_TotpStep(unspent[-1]) if unspent else None


def code_of(key: bytes, step: int) -> str:
    """The code of a time step (RFC 4226 section 5.3)."""
    mac = hmac.digest(key, step.to_bytes(8, "big"), "sha1")
    offset = mac[-1] & 0xF
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF
    return f"{number % 1_000_000:06}"


def member(selectors: list[users.Selector], enabled: bool) -> str:
    """The id of the member whom all selectors name."""
    if not permissions.caller_has("edit-other-user-totp"):
        raise not_allowed()
    if not enabled:
        raise refusal("error-two-factor-not-enabled", "Two factor authentication is not enabled")
    if not selectors:
        text = 'The required "userId" or "username" param was not provided'
        raise refusal("error-user-param-not-provided", text)
    user, *others = [users.find(selector) for selector in selectors]
    if any(other != user for other in others):
        raise invalid_params("the keys name different users")
    if user is None:
        raise invalid_user()
    if user.federated:
        raise refusal("error-not-allowed", "Federated Users cant have TOTP", function="resetTOTP")
    return user.id


def method_of(proof: Proof) -> Method:
    match proof:
        case secrets.Proof_EmailCode():
            return secrets.Method_Email()
        case secrets.Proof_Password():
            return secrets.Method_Password()
    return secrets.Method_Totp()


def name(method: Method) -> str:
    return method.value if isinstance(method, secrets.Method_Other) else NAMES[type(method)]
