mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "reset-totp-plugin", generate_all });
}

#[cfg(target_family = "wasm")]
mod guest {
    use super::bindings::{self, exports::chat::reset_totp::handler, wasi::clocks::wall_clock};
    struct Guest;
    impl handler::Guest for Guest {
        fn reset_totp(_: handler::Caller, _: handler::Request) -> handler::Response {
            handler::Response { status: 400, body: wall_clock::now().seconds.to_string() }
        }
    }
    bindings::export!(Guest with_types_in bindings);
}
