//! The gate through which every host call goes: it counts and bounds what is
//! called and handed over, bounds and measures the time, and names the call in
//! the trace. What it refuses ends the instance.

use super::Call;
use super::bytes::Bytes;
use super::faults::FaultKind;
use crate::host_call::HostCall;
use crate::meter::Stopped;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tracing::{Instrument, Span};

/// One host call that was let in.
pub(crate) struct Gate {
    time: Duration,
    fault: Option<FaultKind>,
    span: Span,
}

impl Call {
    /// Lets a host call in, which hands over `arguments`.
    ///
    /// # Errors
    ///
    /// [`Stopped`], when that is one call or some bytes too many.
    pub(super) fn enter(
        &mut self,
        function: HostCall,
        arguments: &impl Bytes,
    ) -> wasmtime::Result<Gate> {
        self.meter.begin(function, arguments.bytes())?;
        Ok(Gate {
            time: self.meter.host_call_time(),
            fault: self.faults.strike(function, &self.meter),
            span: tracing::debug_span!("host_call", function = function.name()),
        })
    }

    /// Lets the answer of a host call out.
    ///
    /// # Errors
    ///
    /// The host call's own, and [`Stopped`] when the answer is too long.
    pub(super) fn leave<T: Bytes>(&mut self, answer: wasmtime::Result<T>) -> wasmtime::Result<T> {
        self.meter.end(answer.as_ref().map_or(0, Bytes::bytes))?;
        answer
    }
}

impl Call {
    /// Answers a host call from memory.
    ///
    /// # Errors
    ///
    /// The answer's own, and [`Stopped`], when that is one call or some bytes too
    /// many.
    pub(super) fn answer<T: Bytes>(
        &mut self,
        function: HostCall,
        arguments: &impl Bytes,
        answer: impl FnOnce(&Self) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<T> {
        self.meter.count(function, arguments.bytes())?;
        let _span = tracing::debug_span!("host_call", function = function.name()).entered();
        let fault = self.faults.strike(function, &self.meter);
        let answer = AssertUnwindSafe(|| {
            fault.map_or(Ok(()), FaultKind::fail_at_once)?;
            answer(self)
        });
        let answer = catch_unwind(answer).unwrap_or_else(|_panic| Err(Stopped::Panic.into()))?;
        self.meter.receive(answer.bytes())?;
        Ok(answer)
    }
}

impl Gate {
    /// Does the work of the host call, in its time.
    pub(super) async fn run<T>(
        self,
        work: impl Future<Output = wasmtime::Result<T>>,
    ) -> wasmtime::Result<T> {
        let work = async move {
            if let Some(fault) = self.fault {
                fault.fail().await?;
            }
            work.await
        };
        in_time(self.time, caught(work)).instrument(self.span).await
    }
}

/// Most work is done at once, and needs no timer.
async fn in_time<T>(
    time: Duration,
    work: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let mut work = pin!(work);
    if let Poll::Ready(answer) = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
        return answer;
    }
    let answer = tokio::time::timeout(time, work).await;
    answer.unwrap_or_else(|_elapsed| Err(Stopped::Time.into()))
}

/// A panic of the host ends the call, not the task that records how it ended. What
/// the panic left half done is looked at no more.
pub(super) async fn caught<T>(
    work: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let mut work = pin!(work);
    poll_fn(|context| {
        let poll = AssertUnwindSafe(|| work.as_mut().poll(context));
        catch_unwind(poll).unwrap_or_else(|_panic| Poll::Ready(Err(Stopped::Panic.into())))
    })
    .await
}
