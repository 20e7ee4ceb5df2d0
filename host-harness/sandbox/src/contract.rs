//! What `wasmtime` makes of `wit/`: the traits that the host implements and the
//! export that it calls.
#![expect(
    missing_docs,
    reason = "generated; the documentation of these items is in wit/"
)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "reset-totp-plugin",
    imports: { default: async | trappable },
    exports: { default: async },
});
