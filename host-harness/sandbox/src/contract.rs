//! What `wasmtime` makes of `wit/`: the traits that the host implements and the
//! export that it calls.
#![expect(
    missing_docs,
    reason = "generated; the documentation of these items is in wit/"
)]

/// The files of `wit/`, by their paths there, as they were when the host was built.
pub const WIT: [(&str, &str); 7] = [
    ("world.wit", include_str!("../../../wit/world.wit")),
    ("handler.wit", include_str!("../../../wit/handler.wit")),
    ("users.wit", include_str!("../../../wit/users.wit")),
    (
        "permissions.wit",
        include_str!("../../../wit/permissions.wit"),
    ),
    ("settings.wit", include_str!("../../../wit/settings.wit")),
    ("secrets.wit", include_str!("../../../wit/secrets.wit")),
    (
        "deps/clocks/wall-clock.wit",
        include_str!("../../../wit/deps/clocks/wall-clock.wit"),
    ),
];

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
