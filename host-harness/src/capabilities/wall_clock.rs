//! `wasi:clocks/wall-clock`: the moment at which the request was accepted.

use super::Call;
use crate::contract::wasi::clocks::wall_clock::{Datetime, Host};

impl Host for Call {
    async fn now(&mut self) -> wasmtime::Result<Datetime> {
        Ok(Datetime {
            seconds: self.now.seconds(),
            nanoseconds: 0,
        })
    }

    async fn resolution(&mut self) -> wasmtime::Result<Datetime> {
        Ok(Datetime {
            seconds: 1,
            nanoseconds: 0,
        })
    }
}
