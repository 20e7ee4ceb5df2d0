//! Mail that waits to be sent: the collection `reset_totp_outbox` of `{_id, user, message_id,
//! recipient, subject, body, queued, expires, holds_code, tries, claimed, next_try, last_problem,
//! doubtful}`. The id is a number; moments are milliseconds of Unix time; a body that holds a code
//! is sealed.

use super::database::{Database, Look, Transaction};
use super::failure::Failure;
use super::field::{Fields, id_of};
use crate::convention::{NEVER, next_try, next_try_millis, opened_body, put_off, sealed_body};
use crate::seal::Seal;
use chat_domain::outbox::{
    Among, Claim, Count, Expired, LEASE, LEAST_TRIES, NextTry, OutboxCount, Post, StoredMail,
};
use chat_domain::sockets::ROCKET_CHAT;
use chat_domain::time::Timestamp;
use data_encoding::HEXLOWER;
use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;
use secrecy::ExposeSecret;

pub(super) const OUTBOX: &str = "reset_totp_outbox";

/// Which mails are due: those whose time has come, and those that a clock which was ahead has put
/// off.
fn due(now: Timestamp) -> Document {
    doc! { "$or": [
        { "next_try": { "$lte": now.millis() } },
        { "next_try": { "$gt": put_off(now), "$lt": NEVER } },
    ] }
}

/// Which mails are tried no more: as [`StoredMail::state`] says.
fn expired(now: Timestamp) -> Document {
    doc! {
        "expires": { "$lte": now.millis() },
        "$or": [ { "holds_code": true }, { "tries": { "$gte": i64::from(LEAST_TRIES) } } ],
    }
}

/// What has waited longest comes first.
fn longest_due() -> Document {
    doc! { "next_try": 1, "_id": 1 }
}

fn fields<'a>(mail: &'a Document, id: &'a str) -> Fields<'a> {
    Fields::of(mail, OUTBOX, id)
}

/// As [`Store::claim_mail`](crate::Store::claim_mail): one write, which is its own transaction.
pub(super) async fn claim(
    database: &Database,
    seal: &Seal,
    now: Timestamp,
    among: Among<'_>,
) -> Result<Option<Claim>, Failure> {
    let is_among = match among {
        Among::AllBut(workspaces) => !workspaces.iter().any(|other| other == database.name()),
        Among::Only(workspace) => workspace == database.name(),
    };
    if !is_among {
        return Ok(None);
    }
    let claim = doc! {
        "$inc": { "tries": 1_i64 },
        "$set": { "claimed": true, "next_try": (now + LEASE).millis() },
    };
    let filter = doc! { "$and": [due(now), { "$nor": [expired(now)] }] };
    let outbox = database.collection(OUTBOX);
    let claimed = outbox
        .find_one_and_update(filter, claim)
        .sort(longest_due())
        .return_document(ReturnDocument::Before);
    let Some(mail) = claimed.await? else {
        return Ok(None);
    };
    claim_in(seal, database.name(), &mail, now).map(Some)
}

/// The claim of a mail that was so before.
fn claim_in(
    seal: &Seal,
    workspace: &str,
    mail: &Document,
    now: Timestamp,
) -> Result<Claim, Failure> {
    let id = id_of(mail);
    let mail = fields(mail, &id);
    let holds_code = mail.flag("holds_code")?.unwrap_or_default();
    let body = mail.needed_text("body")?.to_owned();
    Ok(Claim {
        id: mail.needed_number("_id")?,
        workspace: workspace.to_owned(),
        message_id: mail.needed_text("message_id")?.to_owned(),
        recipient: mail.needed_text("recipient")?.to_owned(),
        subject: mail.needed_text("subject")?.to_owned(),
        body: opened_body(seal, workspace, mail.text("user")?, holds_code, body),
        queued: Timestamp::from_millis(mail.needed_number("queued")?),
        tries: mail.count("tries")?.saturating_add(1),
        was_put_off: mail.needed_number("next_try")? > put_off(now),
    })
}

/// As [`Store::expired_mails`](crate::Store::expired_mails).
pub(super) async fn expired_mails(
    transaction: &mut Transaction,
    workspace: &str,
    now: Timestamp,
) -> Result<Vec<Expired>, Failure> {
    let look = Look::at(doc! { "$and": [due(now), expired(now)] });
    let look = look.only(doc! { "_id": 1 }).sorted(doc! { "_id": 1 });
    let mails = transaction.find(OUTBOX, look).await?;
    let expired = mails.iter().map(|mail| {
        Ok(Expired {
            id: fields(mail, "a mail").needed_number("_id")?,
            workspace: workspace.to_owned(),
        })
    });
    expired.collect()
}

/// As [`Store::next_mail_due`](crate::Store::next_mail_due).
pub(super) async fn next_due(
    transaction: &mut Transaction,
    now: Timestamp,
) -> Result<Option<Timestamp>, Failure> {
    let at_an_end = |direction: i32| {
        let look = Look::at(doc! { "next_try": { "$lt": NEVER } });
        look.only(doc! { "next_try": 1 })
            .sorted(doc! { "next_try": direction })
    };
    let mut ends = [None, None];
    for (end, direction) in ends.iter_mut().zip([1, -1]) {
        if let Some(mail) = transaction.one(OUTBOX, at_an_end(direction)).await? {
            *end = Some(fields(&mail, "a mail").needed_number("next_try")?);
        }
    }
    let [first, last] = ends;
    let was_put_off = last.is_some_and(|last| last > put_off(now));
    Ok(match was_put_off {
        true => Some(now),
        false => first.map(Timestamp::from_millis),
    })
}

/// Whether there is mail to be sent.
pub(super) async fn holds_mail(transaction: &mut Transaction) -> Result<bool, Failure> {
    let look = Look::at(doc! { "next_try": { "$lt": NEVER } }).only(doc! { "_id": 1 });
    Ok(transaction.one(OUTBOX, look).await?.is_some())
}

pub(super) async fn count(transaction: &mut Transaction) -> Result<OutboxCount, Failure> {
    Ok(OutboxCount {
        mails: count_to(transaction, doc! { "$ne": ROCKET_CHAT }).await?,
        sockets: count_to(transaction, doc! { "$eq": ROCKET_CHAT }).await?,
    })
}

async fn count_to(transaction: &mut Transaction, recipient: Document) -> Result<Count, Failure> {
    let waiting = doc! { "recipient": &recipient, "next_try": { "$lt": NEVER } };
    let dead = doc! { "recipient": &recipient, "next_try": NEVER };
    Ok(Count {
        waiting: transaction.count(OUTBOX, waiting.clone()).await?,
        dead_letters: transaction.count(OUTBOX, dead).await?,
        oldest: oldest(transaction, waiting).await?,
    })
}

/// When the oldest dead letter was written.
pub(super) async fn oldest_dead_letter(
    transaction: &mut Transaction,
) -> Result<Option<Timestamp>, Failure> {
    oldest(transaction, doc! { "next_try": NEVER }).await
}

/// When the oldest that `filter` finds was written.
async fn oldest(
    transaction: &mut Transaction,
    filter: Document,
) -> Result<Option<Timestamp>, Failure> {
    let look = Look::at(filter).sorted(doc! { "queued": 1 });
    match transaction.one(OUTBOX, look).await? {
        Some(mail) => fields(&mail, "a mail").millis("queued"),
        None => Ok(None),
    }
}

/// All, oldest first.
pub(super) async fn mails(
    transaction: &mut Transaction,
    after: i64,
    most: u32,
) -> Result<Vec<StoredMail>, Failure> {
    let look = Look::at(doc! { "_id": { "$gt": after } }).sorted(doc! { "_id": 1 });
    let mails = transaction.find(OUTBOX, look.first(most.into())).await?;
    mails.iter().map(mail_in).collect()
}

/// The mail with this id, and the account that it is for.
pub(super) async fn mail(
    transaction: &mut Transaction,
    id: i64,
) -> Result<Option<(StoredMail, Option<String>)>, Failure> {
    let found = transaction
        .one(OUTBOX, Look::at(doc! { "_id": id }))
        .await?;
    let Some(mail) = found else {
        return Ok(None);
    };
    let user = fields(&mail, "a mail").text("user")?.map(str::to_owned);
    Ok(Some((mail_in(&mail)?, user)))
}

fn mail_in(mail: &Document) -> Result<StoredMail, Failure> {
    let id = id_of(mail);
    let mail = fields(mail, &id);
    let holds_code = mail.flag("holds_code")?.unwrap_or_default();
    let body = mail.needed_text("body")?;
    Ok(StoredMail {
        id: mail.needed_number("_id")?,
        queued: Timestamp::from_millis(mail.needed_number("queued")?),
        expires: Timestamp::from_millis(mail.needed_number("expires")?),
        claimed: mail.flag("claimed")?.unwrap_or_default(),
        next_try: next_try(mail.needed_number("next_try")?),
        tries: mail.count("tries")?,
        recipient: mail.needed_text("recipient")?.to_owned(),
        subject: mail.needed_text("subject")?.to_owned(),
        body: (!holds_code).then(|| body.to_owned()),
        last_problem: mail.text("last_problem")?.map(str::to_owned),
        doubtful: mail.count("doubtful")?,
    })
}

/// The document of a mail that is queued under this id.
pub(super) fn queued(seal: &Seal, workspace: &str, post: &Post, id: i64) -> Document {
    let message_id: [u8; 16] = rand::random();
    doc! {
        "_id": id,
        "user": &post.user,
        "message_id": HEXLOWER.encode(&message_id),
        "recipient": &post.recipient,
        "subject": post.subject,
        "body": sealed_body(seal, workspace, post).expose_secret(),
        "queued": post.queued.millis(),
        "expires": post.expires.millis(),
        "holds_code": post.holds_code,
        "tries": 0_i64,
        "claimed": false,
        "next_try": post.queued.millis(),
        "doubtful": 0_i64,
    }
}

/// Nobody is sending the mail any more. The last problem stays where there is no other.
pub(super) fn postponed(next: NextTry, problem: Option<&str>, doubtful: u32) -> Document {
    let mut set = doc! {
        "claimed": false,
        "next_try": next_try_millis(next),
        "doubtful": i64::from(doubtful),
    };
    if let Some(problem) = problem {
        set.insert("last_problem", problem);
    }
    doc! { "$set": set }
}

/// What makes a mail due at `due`.
pub(super) fn retried(due: Timestamp, expires: Timestamp) -> Document {
    doc! { "$set": {
        "claimed": false,
        "next_try": due.millis(),
        "expires": expires.millis(),
        "doubtful": 0_i64,
    } }
}
