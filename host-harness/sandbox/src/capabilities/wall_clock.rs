//! `wasi:clocks/wall-clock`: the moment at which the request was accepted.

use super::Call;
use crate::contract::wasi::clocks::wall_clock::{Datetime, Host};
use crate::host_call::HostCall;

impl Host for Call {
    fn now(&mut self) -> wasmtime::Result<Datetime> {
        self.answer(HostCall::Now, &(), |call| Ok(whole(call.now.seconds())))
    }

    fn resolution(&mut self) -> wasmtime::Result<Datetime> {
        self.answer(HostCall::Resolution, &(), |_| Ok(whole(1)))
    }
}

fn whole(seconds: u64) -> Datetime {
    Datetime {
        seconds,
        nanoseconds: 0,
    }
}
