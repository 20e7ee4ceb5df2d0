//! How often a client address may call a route.

use super::answer::Answer;
use super::login::UNKNOWN;
use super::{ADMINISTRATORS, RESET_TOTP, RequestId, Site, action_of, route_name};
use axum::Extension;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chat_domain::audit::{AuditRecord, Decision};
use chat_domain::order::Record;
use chat_domain::settings::Settings;
use chat_domain::standing::Standing;
use chat_domain::time::Timestamp;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Windows that are remembered at once, about 100 bytes each. Whoever commands
/// more addresses than that gains nothing by making the server forget them.
const MAX_WINDOWS: usize = 100_000;

/// Bits of an IPv6 address by which clients are counted: many providers give a
/// home a network of this size (RFC 6177 section 2), and all its addresses are one
/// client's to choose from.
const IPV6_NETWORK_BITS: u32 = 56;

pub(super) const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(super) const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(super) const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The calls that were made, in this process.
#[derive(Default)]
pub(super) struct RateLimit(Mutex<HashMap<(IpAddr, String, String), Window>>);

/// The calls of one client to one route. It begins with the first of them.
#[derive(Clone, Copy)]
struct Window {
    calls: u32,
    ends: Timestamp,
}

impl RateLimit {
    /// Calls that a client has made to a route in the window that is open now.
    pub(super) fn recent_calls(&self, of: &Client<'_>, now: Timestamp) -> u32 {
        let windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.get(&of.key()).filter(|window| window.ends > now);
        window.map_or(0, |window| window.calls)
    }

    /// Counts a call, unless the window is full.
    pub(super) fn count(&self, of: &Client<'_>, settings: &Settings, now: Timestamp) -> Call {
        let limit = settings.rate_limit_calls;
        let length = Duration::from_secs(settings.rate_limit_seconds.into());
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= MAX_WINDOWS {
            windows.retain(|_, window| window.ends > now);
            if windows.len() >= MAX_WINDOWS {
                windows.clear();
            }
        }
        let fresh = Window {
            calls: 0,
            ends: now + length,
        };
        let window = windows.entry(of.key()).or_insert(fresh);
        if window.ends <= now || window.ends > fresh.ends {
            *window = fresh;
        }
        let granted = window.calls < limit;
        window.calls += u32::from(granted);
        Call {
            granted,
            limit,
            remaining: limit - window.calls.min(limit),
            window_ends: window.ends,
        }
    }
}

/// The error id by which clients and the audit trail know a call too many.
const TOO_MANY: &str = "error-too-many-requests";

/// How long refused calls are counted before they are recorded together.
const SUMMED: Duration = Duration::from_secs(60);

/// Sums that are counted at once, each with a task: more are an attack, of which those tell
/// enough.
const MAX_SUMS: usize = 1000;

/// How often clients have called, and of whom too often.
pub(super) struct Limits {
    pub(super) windows: RateLimit,
    pub(super) limited_calls: Arc<LimitedCalls>,
}

impl Limits {
    /// No calls yet; as [`LimitedCalls::new`].
    pub(super) fn new(tasks: TaskTracker, stopping: CancellationToken) -> Self {
        Self {
            windows: RateLimit::default(),
            limited_calls: Arc::new(LimitedCalls::new(tasks, stopping)),
        }
    }
}

/// The calls that were refused: whoever calls too often writes a record a minute.
pub(super) struct LimitedCalls {
    sums: Mutex<HashMap<Sum, u32>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

/// What is counted together.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Sum {
    workspace: String,
    address: IpAddr,
    caller: String,
    action: &'static str,
}

impl LimitedCalls {
    /// What is counted when `stopping` is cancelled is recorded by one of `tasks`.
    fn new(tasks: TaskTracker, stopping: CancellationToken) -> Self {
        Self {
            sums: Mutex::default(),
            tasks,
            stopping,
        }
    }

    /// Counts a call that was refused, and sees to its record.
    pub(super) fn note(
        self: &Arc<Self>,
        site: &Site,
        route: &str,
        caller: Option<&str>,
        now: Timestamp,
        request_id: &str,
    ) {
        let action = action_of(route);
        let record = AuditRecord {
            target: caller
                .filter(|_| is_of_the_caller(route))
                .map(str::to_owned),
            decision: Decision::Limited,
            reason: Some(TOO_MANY.to_owned()),
            ..site.record_of(
                action,
                caller.unwrap_or(UNKNOWN),
                now,
                request_id.to_owned(),
            )
        };
        let sum = Sum {
            workspace: record.workspace.clone(),
            address: network(site.source.address),
            caller: record.caller.clone(),
            action: action.name(),
        };
        let mut sums = self.sums();
        if let Some(calls) = sums.get_mut(&sum) {
            *calls += 1;
            return;
        }
        if sums.len() >= MAX_SUMS {
            return;
        }
        sums.insert(sum.clone(), 1);
        drop(sums);
        let (limited_calls, address) = (self.clone(), site.source.address);
        // The file, not the store: nobody keeps a store open by calling too often.
        let (file, metrics) = (site.workspace.store.clone(), site.metrics.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(SUMMED) => (),
                () = limited_calls.stopping.cancelled() => (),
            }
            let calls = limited_calls.sums().remove(&sum).unwrap_or_default();
            let (workspace, caller, action) = (&sum.workspace, &sum.caller, sum.action);
            tracing::warn!(workspace, caller, action, %address, calls, "called too often");
            let record = Record(AuditRecord { calls, ..record });
            let recorded = async { file.get().await?.decide(record).await }.await;
            metrics.audited(&recorded);
            match recorded {
                Ok(()) => metrics.refused(TOO_MANY, calls),
                Err(error) => tracing::error!(%error, "cannot record who calls too often"),
            }
        });
    }

    fn sums(&self) -> MutexGuard<'_, HashMap<Sum, u32>> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it is of the caller's own account whatever is asked, which was not looked into.
fn is_of_the_caller(route: &str) -> bool {
    route != RESET_TOTP && !route.starts_with(ADMINISTRATORS)
}

/// A client of a route of a workspace.
pub(super) struct Client<'a> {
    pub(super) workspace: &'a str,
    pub(super) address: IpAddr,
    pub(super) route: &'a str,
}

impl Client<'_> {
    fn key(&self) -> (IpAddr, String, String) {
        let (workspace, route) = (self.workspace.to_owned(), self.route.to_owned());
        (network(self.address), workspace, route)
    }
}

/// The address by which a client is counted.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (Ipv6Addr::BITS - IPV6_NETWORK_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// A call that was counted.
pub(super) struct Call {
    pub(super) granted: bool,
    limit: u32,
    remaining: u32,
    window_ends: Timestamp,
}

impl Call {
    /// The answer to a call that was not granted.
    pub(super) fn refusal(&self, now: Timestamp) -> Answer {
        let millis = self.window_ends.millis() - now.millis();
        Answer::too_many_requests(millis.unsigned_abs().div_ceil(1000))
    }

    pub(super) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, self.limit.into());
        headers.insert(REMAINING, self.remaining.into());
        headers.insert(RESET, self.window_ends.millis().into());
    }
}

/// Passes a request on if its client may make it. A caller who is logged in is
/// known by then.
pub(super) async fn limit(
    Extension(site): Extension<Site>,
    Extension(limits): Extension<Arc<Limits>>,
    Extension(RequestId(id)): Extension<RequestId>,
    standing: Option<Extension<Arc<Standing>>>,
    route: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    let settings = match site.settings().await {
        Ok(settings) => settings,
        Err(error) => return Answer::store_failed(error).into_response(),
    };
    let caller = standing.as_ref().map(|standing| standing.caller.id.clone());
    let is_unlimited = standing.is_some_and(|standing| standing.is_unlimited());
    if settings.rate_limit_calls == 0 || is_unlimited {
        return next.run(request).await;
    }
    let now = site.clock.now();
    let client = Client {
        workspace: &site.workspace.id,
        address: site.source.address,
        route: route_name(&route),
    };
    let call = limits.windows.count(&client, settings, now);
    let mut response = match call.granted {
        true => next.run(request).await,
        false => {
            limits
                .limited_calls
                .note(&site, client.route, caller.as_deref(), now, &id);
            call.refusal(now).into_response()
        }
    };
    call.write(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two calls a minute.
    fn settings() -> Settings {
        Settings {
            rate_limit_calls: 2,
            rate_limit_seconds: 60,
            ..Settings::default()
        }
    }

    fn client_of(address: IpAddr) -> Client<'static> {
        Client {
            workspace: "acme",
            address,
            route: "/a",
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn counted(limiter: &RateLimit, client: &str, seconds: i64) -> (bool, u32) {
        let client = client_of(client.parse().unwrap());
        let call = limiter.count(&client, &settings(), at(seconds));
        (call.granted, call.remaining)
    }

    #[test]
    fn a_window_begins_with_its_first_call_and_takes_so_many() {
        let limiter = RateLimit::default();
        for (seconds, expected) in [
            (100, (true, 1)),
            (159, (true, 0)),
            (159, (false, 0)),
            (160, (true, 1)),
            (219, (true, 0)),
            (220, (true, 1)),
        ] {
            assert_eq!(
                counted(&limiter, "192.0.2.1", seconds),
                expected,
                "{seconds}"
            );
        }
    }

    #[test]
    fn a_clock_set_back_does_not_lengthen_a_window() {
        let limiter = RateLimit::default();
        counted(&limiter, "192.0.2.1", 1000);
        counted(&limiter, "192.0.2.1", 1000);
        assert_eq!(counted(&limiter, "192.0.2.1", 1000), (false, 0));
        assert_eq!(counted(&limiter, "192.0.2.1", 10), (true, 1));
    }

    #[test]
    fn each_network_has_windows_of_its_own() {
        let limiter = RateLimit::default();
        for (client, expected) in [
            ("192.0.2.1", (true, 1)),
            ("192.0.2.2", (true, 1)),
            ("::ffff:192.0.2.1", (true, 0)),
            ("2001:db8::1", (true, 1)),
            ("2001:db8::ffff:1", (true, 0)),
            ("2001:db8:0:ff::1", (false, 0)),
            ("2001:db8:0:100::1", (true, 1)),
        ] {
            assert_eq!(counted(&limiter, client, 0), expected, "{client}");
        }
        let other = Client {
            route: "/b",
            ..client_of("192.0.2.1".parse().unwrap())
        };
        let other = limiter.count(&other, &settings(), at(0));
        assert_eq!(other.remaining, 1);
    }

    #[test]
    fn windows_that_have_ended_are_forgotten_first() {
        let limiter = RateLimit::default();
        for client in 1..u32::try_from(MAX_WINDOWS).unwrap() {
            let client = IpAddr::from(client.to_be_bytes());
            limiter.count(&client_of(client), &settings(), at(0));
        }
        counted(&limiter, "192.0.2.1", 60);
        counted(&limiter, "192.0.2.1", 60);
        counted(&limiter, "192.0.2.2", 60);
        assert_eq!(counted(&limiter, "192.0.2.1", 60), (false, 0));
    }

    #[test]
    fn what_was_counted_is_told_until_the_window_ends() {
        let limiter = RateLimit::default();
        let client = client_of("192.0.2.1".parse().unwrap());
        assert_eq!(limiter.recent_calls(&client, at(0)), 0);
        counted(&limiter, "192.0.2.1", 0);
        assert_eq!(limiter.recent_calls(&client, at(59)), 1);
        assert_eq!(limiter.recent_calls(&client, at(60)), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let limiter = RateLimit::default();
        for client in 0..=u32::try_from(MAX_WINDOWS).unwrap() {
            let client = IpAddr::from(client.to_be_bytes());
            limiter.count(&client_of(client), &settings(), at(0));
        }
        assert_eq!(limiter.0.lock().unwrap().len(), 1);
    }
}
