//! `wasi:clocks/wall-clock`: the moment at which the request was accepted.

use super::Call;
use crate::contract::wasi::clocks::wall_clock::{Datetime, Host};
use crate::host_call::HostCall;

impl Host for Call {
    async fn now(&mut self) -> wasmtime::Result<Datetime> {
        let gate = self.enter(HostCall::Now, &())?;
        let seconds = self.now.seconds();
        let now = gate.run(async move { Ok(whole(seconds)) }).await;
        self.leave(now)
    }

    async fn resolution(&mut self) -> wasmtime::Result<Datetime> {
        let gate = self.enter(HostCall::Resolution, &())?;
        let resolution = gate.run(async { Ok(whole(1)) }).await;
        self.leave(resolution)
    }
}

fn whole(seconds: u64) -> Datetime {
    Datetime {
        seconds,
        nanoseconds: 0,
    }
}
