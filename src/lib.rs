//! The plugin: decides about `POST /api/v1/users.resetTOTP`, the request by
//! which an administrator removes a member's lost TOTP second factor.
//!
//! Built for `wasm32-unknown-unknown` and made a component, it exports
//! `chat:reset-totp/handler` and imports what `wit/` names, nothing else.
//!
//! | module | what it knows |
//! |---|---|
//! | [`decision`] | the order of the checks, and which answer each earns |
//! | [`body`] | whom the request's body names |
//! | [`second_factor`] | TOTP codes and backup codes |
//! | [`answer`] | the HTTP answers, to the byte |
//! | [`contract`] | the types and functions generated from `wit/` |
//! | `guest` | the component's export, on wasm only: the one file that calls the imports |
//! | `memory` | the component's allocator, on wasm only |
//!
//! What always holds:
//!
//! - There is no state, and no source of time, chance or data but the imports.
//! - The only secret read is the caller's own, after the host has counted the
//!   attempt.
//! - Every doubt is a refusal; the one effect is the last host call.
//!
//! The pure parts run natively:
//!
//! ```
//! use reset_totp::second_factor::matching_step;
//!
//! // RFC 6238 appendix B: at 59 s (time step 1) the code ends in 287082.
//! assert_eq!(matching_step(b"12345678901234567890", 287_082, 59, 1, None), Some(1));
//! assert_eq!(matching_step(b"12345678901234567890", 287_083, 59, 1, None), None);
//! ```

pub mod answer;
pub mod body;
pub mod decision;
#[cfg(target_family = "wasm")]
mod guest;
#[cfg(target_family = "wasm")]
mod memory;
pub mod second_factor;

/// What `wit-bindgen` makes of `wit/`.
pub mod contract {
    #![expect(missing_docs, reason = "the documentation of these items is in wit/")]
    wit_bindgen::generate!({
        path: "wit",
        world: "reset-totp-plugin",
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}
