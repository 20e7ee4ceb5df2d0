//! `GET second-factor.audit`: what was decided, and whether nobody has changed that.

use super::super::Site;
use super::super::answer::{self, Answer, Success};
use super::super::body;
use super::super::openapi::Refusals;
use axum::Extension;
use axum::extract::Request;
use chat_domain::account::Selector;
use chat_domain::audit::{Action, RecordFilter, RecordPlace, StoredRecord};
use chat_domain::operator::OPERATOR;
use chat_domain::sockets::HOST;
use chat_domain::time::Timestamp;
use chat_store::StoreError;
use chat_store::orders::LogState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest log that is held to its proofs for a request, in records: some 20 µs each. Longer ones are
/// for `host-harness audit verify`.
const MOST_VERIFIED: u64 = 10_000;

/// Which records are asked for.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct Asked {
    /// By this account, an id or a username; or by `operator` or `host`.
    #[param(nullable = false)]
    by: Option<String>,
    /// About this account, an id or a username.
    #[param(nullable = false)]
    of: Option<String>,
    /// About this, as the audit trail calls it.
    #[param(nullable = false, example = "reset-totp")]
    action: Option<String>,
    /// Not before this moment (RFC 3339).
    #[param(nullable = false, format = DateTime)]
    since: Option<String>,
    /// So many at most: 1 to 100, by default 50.
    #[param(nullable = false, minimum = 1, maximum = 100)]
    count: Option<u32>,
    /// Those before a page: its `next`.
    #[param(nullable = false)]
    before: Option<String>,
}

/// Some records, newest first.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct Records {
    records: Vec<Record>,
    /// What is asked for, as `before`, to see older ones; null where there are none.
    next: Option<String>,
    /// Of the whole log. Null where `before` is there.
    proof: Option<Proof>,
}

/// One decision.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Record {
    /// Its place in the log; null where no log has put it there.
    number: Option<u64>,
    #[schema(format = DateTime)]
    at: String,
    #[schema(example = "reset-totp")]
    action: String,
    by: Party,
    /// Null where the decision got not that far.
    of: Option<Party>,
    /// How it was decided.
    #[schema(example = "reset")]
    outcome: String,
    /// Why: an error id, or what it is about.
    reason: Option<String>,
    /// The client's.
    address: Option<String>,
    user_agent: Option<String>,
    /// By what a second factor was proved, or tried to be.
    #[schema(example = "totp")]
    proof: Option<String>,
    /// To how many addresses a notice went; null where there was nothing to tell.
    told: Option<u32>,
    /// Requests that were decided so together.
    calls: u32,
    /// The request's id.
    request: String,
}

/// Who decided, or about whom it was.
#[derive(Serialize, ToSchema)]
struct Party {
    /// An account's id, `operator` or `host`.
    #[serde(rename = "_id")]
    id: String,
    /// Null where there is no such account.
    username: Option<String>,
}

/// Whether the log is as it was written.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Proof {
    state: State,
    /// Records that were ever logged.
    size: u64,
    /// How many things are wrong with it; 0 where it is not verified.
    faults: u64,
    /// When it was looked at; null where it is not verified.
    #[schema(format = DateTime)]
    checked_at: Option<String>,
}

/// What is known of the log.
#[derive(Serialize, ToSchema)]
#[schema(as = LogState)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// Nobody has changed it.
    Whole,
    /// Somebody has: `host-harness audit verify` tells what.
    Broken,
    /// It is too long to be looked at for a request: `host-harness audit verify` does.
    NotVerified,
}

impl From<StoredRecord> for Record {
    fn from(record: StoredRecord) -> Self {
        let party = |id, username| Party { id, username };
        Self {
            number: record.index,
            at: record.at.to_javascript(),
            action: record.action,
            by: party(record.caller, record.caller_name),
            of: record
                .target
                .map(|target| party(target, record.target_name)),
            outcome: record.decision,
            reason: record.reason,
            address: record.address,
            user_agent: record.agent,
            proof: record.proof,
            told: record.told,
            calls: record.calls,
            request: record.request_id,
        }
    }
}

/// List what was decided
///
/// Newest first, and whether the log is whole, where that is not long. Needs the permission
/// `edit-other-user-totp`.
#[utoipa::path(
    get,
    path = "/api/v1/second-factor.audit",
    tag = "Administrators",
    security(("userId" = [], "authToken" = [])),
    params(Asked),
    responses(
        (status = 200, description = "A page of records", body = Success<Records>),
        Refusals,
    ),
)]
pub(in super::super) async fn list(
    Extension(site): Extension<Site>,
    request: Request,
) -> answer::Result {
    let asked: Asked = super::query(request.uri())?;
    let count = super::count(asked.count)?;
    let action = asked.action.as_deref().map(|name| {
        Action::named(name).ok_or_else(|| body::invalid("action: there is no such action"))
    });
    let filter = RecordFilter {
        caller: None,
        target: None,
        action: action.transpose()?,
        since: super::parse("since", asked.since.as_deref())?,
        before: super::parse("before", asked.before.as_deref())?,
        request_id: None,
        most: count + 1,
    };
    let filter = RecordFilter {
        caller: id_of(&site, asked.by).await?,
        target: id_of(&site, asked.of).await?,
        ..filter
    };
    let (workspace, now) = (&site.workspace.id, site.clock.now());
    let mut records = site.store.records(workspace, &filter).await?;
    records.reverse();
    let last = super::cut(&mut records, count);
    let next = last.map(|record| RecordPlace::of(record).to_string());
    let proof = match filter.before {
        None => Some(proof(&site, now).await?),
        Some(_) => None,
    };
    Ok(Answer::success(Records {
        records: records.into_iter().map(Record::from).collect(),
        next,
        proof,
    }))
}

/// The id of the account that is called so; of one that is gone, there are records by its id.
async fn id_of(site: &Site, name: Option<String>) -> Result<Option<String>, StoreError> {
    let name = match name {
        Some(name) if name != OPERATOR && name != HOST => name,
        nobody => return Ok(nobody),
    };
    let workspace = &site.workspace.id;
    for selector in [Selector::Id(name.clone()), Selector::Username(name.clone())] {
        if let Some(user) = site.store.find_user(workspace, selector).await? {
            return Ok(Some(user.id));
        }
    }
    Ok(Some(name))
}

async fn proof(site: &Site, now: Timestamp) -> Result<Proof, StoreError> {
    let looked_at = site
        .store
        .look_at_log(&site.workspace.id, MOST_VERIFIED)
        .await?;
    let checked = |state, size, faults| Proof {
        state,
        size,
        faults,
        checked_at: Some(now.to_javascript()),
    };
    Ok(match looked_at {
        LogState::Empty => checked(State::Whole, 0, 0),
        LogState::TooLong { size } => Proof {
            state: State::NotVerified,
            size,
            faults: 0,
            checked_at: None,
        },
        LogState::Checked(report) => {
            let faults = report.further.saturating_add(report.faults.len() as u64);
            match faults {
                0 => checked(State::Whole, report.size, 0),
                _ => checked(State::Broken, report.size, faults),
            }
        }
        LogState::NoLog => checked(State::Broken, 0, 1),
    })
}
