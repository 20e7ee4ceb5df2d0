//! What `wasmtime` makes of `wit/`: the traits that the host implements and the
//! export that it calls.
#![expect(
    missing_docs,
    reason = "generated; the documentation of these items is in wit/"
)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "reset-totp-plugin",
    // What is answered from memory needs no stack of its own to wait on.
    imports: {
        "chat:reset-totp/permissions": trappable,
        "chat:reset-totp/secrets.methods": trappable,
        "chat:reset-totp/settings": trappable,
        "wasi:clocks/wall-clock": trappable,
        default: async | trappable,
    },
    exports: { default: async },
});
