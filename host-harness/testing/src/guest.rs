//! Guests in WebAssembly text: core modules, of which a test shows only what
//! differs from a guest that behaves. `wit/` makes components of them.

use crate::call::request;
use crate::contract;
use plugin_sandbox::admission::Admissions;
use plugin_sandbox::capabilities::{Call, Observed};
use plugin_sandbox::contract::exports::chat::reset_totp::handler::Response;
use plugin_sandbox::limits::Limits;
use plugin_sandbox::outcome::Failure;
use plugin_sandbox::plugin::Plugin;
use plugin_sandbox::runtime::{Capacity, Runtime};
use std::sync::LazyLock;
use std::time::Duration;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

/// Admissions to the one engine of the tests. Its ceiling is twice as high as [`limits`]: what is
/// above the ceiling is not even loaded.
pub static ADMISSIONS: LazyLock<Admissions> = LazyLock::new(|| {
    let limits = limits();
    let ceiling = Limits {
        memory: 2 * limits.memory,
        table_elements: 2 * limits.table_elements,
        ..limits
    };
    let capacity = Capacity {
        ceiling,
        ..Capacity::default()
    };
    Admissions::new(Runtime::new(capacity).unwrap())
});

/// The answer of a guest that behaves.
pub const ANSWER: &str = r#"{"success":false}"#;

/// What never ends.
pub const LOOP: &str = "(loop $again (br $again)) (unreachable)";

/// Begins an attempt, and answers.
pub const ATTEMPTING: Guest<'static> = Guest {
    export: "(call $begin-totp-attempt (i32.const 2048))
             (call $answer (i32.const 400) (i32.const 0) (i32.const 17))",
    ..Guest::BEHAVING
};

/// A core module. Its functions and what they mean:
///
/// - `$answer` makes an answer of a status and of where its body is, address
///   and length; [`ANSWER`] is at address 0 and 17 bytes long.
/// - `$reset-own` resets the caller's own factor without proof.
/// - `$totp-window`, `$begin-totp-attempt` and `$reset` are the imports.
#[derive(Clone, Copy)]
pub struct Guest<'a> {
    /// Memories, tables, functions, a start function.
    pub fields: &'a str,
    /// Allocates room for what the host gives.
    pub realloc: &'a str,
    /// Decides.
    pub export: &'a str,
}

impl Default for Guest<'_> {
    fn default() -> Self {
        Self::BEHAVING
    }
}

impl Guest<'_> {
    /// Answers every request with 400 and [`ANSWER`].
    pub const BEHAVING: Self = Self {
        fields: r#"(memory (export "memory") 1)"#,
        // 256 bytes each time: nothing that a test sends is longer.
        realloc: "(global.set $next (i32.add (global.get $next) (i32.const 256)))
                  (global.get $next)",
        export: "(call $answer (i32.const 400) (i32.const 0) (i32.const 17))",
    };

    /// The guest as a component that imports what it calls and exports the
    /// handler.
    pub fn component(&self) -> Vec<u8> {
        let Self {
            fields,
            realloc,
            export,
        } = self;
        let data = ANSWER.replace('"', "\\\"");
        let module = format!(
            r#"(module
  (import "chat:reset-totp/settings@0.1.0" "totp-window"
    (func $totp-window (result i32)))
  (import "chat:reset-totp/secrets@0.1.0" "begin-totp-attempt"
    (func $begin-totp-attempt (param i32)))
  (import "chat:reset-totp/secrets@0.1.0" "reset"
    (func $reset (param i32 i64 i32 i32 i32 i32 i32)))
  {fields}
  (global $next (mut i32) (i32.const 4096))
  (data (i32.const 0) "{data}")
  (func $answer (param $status i32) (param $body i32) (param $length i32) (result i32)
    (i32.store16 (i32.const 1024) (local.get $status))
    (i32.store (i32.const 1028) (local.get $body))
    (i32.store (i32.const 1032) (local.get $length))
    (i32.const 1024))
  (func $reset-own
    ;; Proof 4 is none, target 0 the caller.
    (call $reset (i32.const 4) (i64.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048)))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
  (func (export "chat:reset-totp/handler@0.1.0#reset-totp")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    {export}))"#
        );
        let mut module = wat::parse_str(module).unwrap();
        let (resolve, world) = contract::world();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
            .unwrap();
        ComponentEncoder::default()
            .module(&module)
            .unwrap()
            .encode()
            .unwrap()
    }

    /// The guest, loaded without an admission.
    pub fn plugin(&self) -> Plugin {
        Plugin::unadmitted(ADMISSIONS.runtime(), &self.component()).unwrap()
    }

    /// Runs the guest for one request.
    pub async fn run(&self, call: Call) -> (Result<Response, Failure>, Observed) {
        run(&self.plugin(), call).await
    }
}

/// Runs a plugin for one request.
pub async fn run(plugin: &Plugin, call: Call) -> (Result<Response, Failure>, Observed) {
    run_within(limits(), plugin, call).await
}

/// The same within these limits.
pub async fn run_within(
    limits: Limits,
    plugin: &Plugin,
    call: Call,
) -> (Result<Response, Failure>, Observed) {
    let request = request(None, "{}");
    let ended = plugin.reset_totp(call, &request, limits).await;
    (ended.outcome, ended.observed)
}

/// The host's own, with time enough for a machine that is busy.
pub fn limits() -> Limits {
    Limits {
        wall_time: Duration::from_secs(30),
        ..Limits::default()
    }
}

/// The built plugin's file.
pub const PLUGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/reset_totp.wasm");

/// The built plugin.
pub fn plugin_bytes() -> Vec<u8> {
    let bytes = std::fs::read(PLUGIN);
    assert!(bytes.is_ok(), "run `cargo xtask build` first");
    bytes.unwrap()
}
