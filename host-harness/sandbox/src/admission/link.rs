//! Linking: what is granted, and nothing else, is there for a plugin to call.

use crate::capabilities::Call;
use crate::contract::chat::reset_totp;
use crate::contract::{ResetTotpPluginPre, wasi};
use crate::digest::Digest;
use crate::grants::{Capability, Grants};
use crate::plugin::Plugin;
use crate::runtime::Runtime;
use crate::sandbox::Sandbox;
use crate::turns::Turns;
use std::sync::Arc;
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

impl Plugin {
    /// Compiles and links a component that was not admitted, with every grant. For
    /// what the sandbox must withstand even so.
    ///
    /// # Errors
    ///
    /// When `bytes` is not a component, or one whose imports or exports are not
    /// those of `chat:reset-totp`.
    pub fn unadmitted(runtime: &Runtime, bytes: &[u8]) -> wasmtime::Result<Self> {
        let component = Component::from_binary(&runtime.engine, bytes)?;
        let linker = linker(&runtime.engine, &Grants::all())?;
        Self::linked(&linker, &component, Digest::of(bytes), &runtime.turns)
    }

    pub(super) fn linked(
        linker: &Linker<Sandbox>,
        component: &Component,
        digest: Digest,
        turns: &Arc<Turns>,
    ) -> wasmtime::Result<Self> {
        Ok(Self {
            engine: component.engine().clone(),
            component: ResetTotpPluginPre::new(linker.instantiate_pre(component)?)?,
            digest,
            turns: turns.clone(),
        })
    }
}

/// What is granted, and nothing else: what is not granted cannot be called.
pub(super) fn linker(engine: &Engine, grants: &Grants) -> wasmtime::Result<Linker<Sandbox>> {
    let mut linker = Linker::new(engine);
    let to = &mut linker;
    for capability in grants.iter() {
        match capability {
            Capability::WallClock => {
                wasi::clocks::wall_clock::add_to_linker::<_, HasSelf<Call>>(to, Sandbox::lend)
            }
            Capability::Users => {
                reset_totp::users::add_to_linker::<_, HasSelf<Call>>(to, Sandbox::lend)
            }
            Capability::Permissions => {
                reset_totp::permissions::add_to_linker::<_, HasSelf<Call>>(to, Sandbox::lend)
            }
            Capability::Settings => {
                reset_totp::settings::add_to_linker::<_, HasSelf<Call>>(to, Sandbox::lend)
            }
            Capability::Secrets => {
                reset_totp::secrets::add_to_linker::<_, HasSelf<Call>>(to, Sandbox::lend)
            }
        }?;
    }
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_granted_is_not_linked() {
        let engine = Engine::default();
        let imports = r#"(component (import "chat:reset-totp/settings@0.1.0" (instance
            (export "totp-window" (func (result u8))))))"#;
        let component = Component::new(&engine, wat::parse_str(imports).unwrap()).unwrap();
        let links = |grants: &Grants| {
            let linker = linker(&engine, grants).unwrap();
            linker.instantiate_pre(&component).is_ok()
        };
        for granted in Capability::ALL {
            let grants = Grants::from_iter([granted]);
            assert_eq!(links(&grants), granted == Capability::Settings, "{granted}");
        }
        assert!(links(&Grants::all()) && !links(&Grants::default()));
    }
}
