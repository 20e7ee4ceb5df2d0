"""A chat server in Python: POST /api/v1/users.resetTOTP, decided by the plugin in a fresh sandbox a request.

    pip install wasmtime==50.0.1
    python3 host.py reset_totp.wasm chat.sqlite --accounts accounts.json
"""

import argparse
import json
import threading
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from accounts import Accounts, Call, record
from wasmtime import Config, Engine, Store, WasmtimeError
from wasmtime.component import Component, Linker

HANDLER = "chat:reset-totp/handler@0.1.0"
MOST_BODY, MOST_HEADER = 64 * 1024, 256  # bytes, as wit/handler.wit says
MEMORY, FUEL = 16 * 1024 * 1024, 50_000_000  # of a call: bytes; instructions, about


class Plugin:
    """Compiled once. A call is an instance of its own, which is lent that call's imports and no more."""

    def __init__(self, path, call):
        config = Config()
        config.consume_fuel = True
        self.engine = Engine(config)
        with open(path, "rb") as file:
            component = file.read()
        self.digest = sha256(component).hexdigest()
        self.component = Component(self.engine, component)
        self.instance(call)  # what is not lent is found now, not by a request

    def instance(self, call):
        linker, store = Linker(self.engine), Store(self.engine)
        with linker.root() as root:
            for interface, functions in call.imports().items():
                with root.add_instance(interface) as instance:
                    for name, lent in functions.items():
                        instance.add_func(name, lambda _store, *given, lent=lent: lent(*given))
        store.set_limits(memory_size=MEMORY)
        store.set_fuel(FUEL)
        instance = linker.instantiate(store, self.component)
        handler = instance.get_export_index(store, HANDLER)
        export = handler and instance.get_export_index(store, "reset-totp", handler)
        if export is None:
            raise WasmtimeError(f"it does not export {HANDLER}")
        return store, instance.get_func(store, export)

    def answer(self, call, request):
        """Status and body. What fails means no, unless the reset was done: what is done is answered as done."""
        try:
            store, reset_totp = self.instance(call)
            answer = reset_totp(store, record(id=call.caller, bypass_token=False), request)
        except WasmtimeError:
            answer = None
        call.end()
        if answer is not None and answer.status == (200 if call.done else 400):
            return answer.status, answer.body
        return (200, '{"success":true}') if call.done else (502, failure("The plugin failed"))


class Handler(BaseHTTPRequestHandler):
    timeout = 10  # seconds that a client may take for each piece of a request

    def do_POST(self):
        length = self.headers.get("content-length", "")
        if self.path != "/api/v1/users.resetTOTP":
            self.answer(404, failure("Not found"))
        elif not length.isdecimal() or int(length) > MOST_BODY:
            self.answer(413, failure("The body is too long, or does not say how long it is"))
        else:
            self.answer(*self.answer_to(self.rfile.read(int(length))))

    def answer_to(self, body):
        try:
            user, token = self.header("x-user-id"), self.header("x-auth-token")
            request = record(
                content_type=self.header("content-type"),
                two_factor_code=self.header("x-2fa-code"),
                two_factor_method=self.header("x-2fa-method"),
                body=body,
            )
        except ValueError:
            return 400, failure("A header is repeated, too long or no text")
        accounts = self.server.accounts
        with self.server.turn:
            try:
                if not accounts.is_logged_in(user, token):
                    return 401, '{"status":"error","message":"You must be logged in to do this."}'
                return self.server.plugin.answer(Call(accounts, user, getattr(request, "two-factor-code")), request)
            except Accounts.Failure:
                return 503, failure("The store is not available")

    def header(self, name):
        values = [value.encode("latin-1") for value in self.headers.get_all(name, [])]
        if len(values) > 1 or any(len(value) > MOST_HEADER for value in values):
            raise ValueError(name)
        return values[0].decode() if values else None

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())


def failure(text):
    return json.dumps({"success": False, "error": text})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("plugin")
    parser.add_argument("store")
    parser.add_argument("--accounts", type=argparse.FileType(), help="makes the store, with these")
    parser.add_argument("--port", type=int, default=3000)
    given = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", given.port), Handler)
    server.accounts, server.turn = Accounts(given.store, given.accounts), threading.Lock()
    server.plugin = Plugin(given.plugin, Call(server.accounts, "", None))
    print(f"http://127.0.0.1:{server.server_port} serves sha256:{server.plugin.digest}", flush=True)
    server.serve_forever()
