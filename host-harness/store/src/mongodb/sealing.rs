//! What is sealed of what is ours. What Rocket.Chat keeps of an account or of its mail server, it must
//! read itself: that is not.

use super::account::ACCOUNTS;
use super::audit_log::LOG;
use super::database::{Database, LIST_PATIENCE, Look, Transaction, tries_until};
use super::failure::Failure;
use super::field::{Fields, id_of};
use super::outbox::OUTBOX;
use super::schema::{STORE, TURN};
use super::settings::SETTINGS;
use crate::seal::{
    AUDIT_SECRET, EMAIL_CODE, MAIL_BODY, Position, Renewed, SEALED, SETTING, Seal, SealedColumn,
    StoreIs,
};
use mongodb::bson::{Document, doc};
use tokio::time::{Instant, timeout_at};

/// A column of [`SEALED`], as a collection has it.
struct Kept {
    collection: &'static str,
    /// Where the value is in a document.
    field: &'static str,
    /// In which documents it is sealed.
    condition: Document,
}

impl Kept {
    /// Where the values of a column are; none where they are Rocket.Chat's.
    fn of(sealed: &SealedColumn) -> Option<Self> {
        let (collection, field, condition) = match sealed.name {
            name if name == EMAIL_CODE.name => (ACCOUNTS, "code.hash", doc! {}),
            name if name == SETTING.name => (
                SETTINGS,
                "value",
                doc! { "_id": { "$in": ["mail-server", "rocket-chat"] } },
            ),
            name if name == MAIL_BODY.name => (OUTBOX, "body", doc! { "holds_code": true }),
            name if name == AUDIT_SECRET.name => (LOG, "secret", doc! {}),
            _ => return None,
        };
        Some(Self {
            collection,
            field,
            condition,
        })
    }
}

/// As [`Store::renew`](crate::Store::renew), of one column at most.
pub(super) async fn renew(
    database: &Database,
    seal: &Seal,
    from: &Position,
    most: u32,
    store: StoreIs,
) -> Result<Renewed, Failure> {
    let mut tries = tries_until(Instant::now() + LIST_PATIENCE);
    loop {
        // Done twice, it is done.
        let renewed = async {
            let mut transaction = database.begin_to_write().await?;
            let renewed =
                renew_some(&mut transaction, database.name(), seal, from, most, store).await?;
            transaction.commit().await?;
            Ok(renewed)
        };
        let renewed = timeout_at(tries.deadline, renewed).await;
        match renewed.unwrap_or_else(|_| Err(Failure::silence())) {
            Ok(renewed) => return Ok(renewed),
            Err(failure) => tries.again(failure).await?,
        }
    }
}

async fn renew_some(
    transaction: &mut Transaction,
    workspace: &str,
    seal: &Seal,
    from: &Position,
    most: u32,
    store: StoreIs,
) -> Result<Renewed, Failure> {
    let mut renewed = Renewed::default();
    let Some(sealed) = SEALED.get(from.column) else {
        return Ok(renewed);
    };
    renewed.next = Some(Position {
        column: from.column + 1,
        ..Position::default()
    });
    let Some(kept) = Kept::of(sealed) else {
        return Ok(renewed);
    };
    // Nobody else writes meanwhile.
    let turn = doc! { "$inc": { "turn": 1_i64 } };
    transaction.upsert(STORE, TURN, turn).await?;
    let beginning = seal.beginning().unwrap_or_default();
    let mut values = Vec::new();
    let all = Look::at(kept.condition.clone()).sorted(doc! { "_id": 1 });
    for document in transaction.find(kept.collection, all).await? {
        let id = id_of(&document);
        let Some(text) = text_in(&document, &kept, &id)? else {
            continue;
        };
        let place = (id.as_str(), text) > (from.account.as_str(), from.text.as_str());
        if !text.starts_with(&beginning) && place {
            values.push((id.clone(), text.to_owned(), document.clone()));
        }
    }
    values.sort_by(|(a, x, _), (b, y, _)| (a, x).cmp(&(b, y)));
    let count = usize::try_from(most).unwrap_or(usize::MAX);
    if values.len() > count {
        values.truncate(count);
        renewed.next = values.last().map(|(id, text, _)| Position {
            column: from.column,
            workspace: workspace.to_owned(),
            account: id.clone(),
            text: text.clone(),
        });
    }
    for (id, text, document) in values {
        let account = match kept.collection {
            OUTBOX => Fields::of(&document, OUTBOX, &id)
                .text("user")?
                .unwrap_or_default(),
            LOG => "",
            _ => id.as_str(),
        };
        match seal.renew(&sealed.of(workspace, account), &text, store) {
            Ok(new) => {
                let filter = doc! { "_id": document.get("_id"), kept.field: text };
                let new = doc! { "$set": { kept.field: new } };
                transaction
                    .update_there(kept.collection, filter, new)
                    .await?;
                renewed.values += 1;
            }
            Err(unopened) => renewed.unopened.push(unopened),
        }
    }
    Ok(renewed)
}

fn text_in<'a>(
    document: &'a Document,
    kept: &Kept,
    id: &'a str,
) -> Result<Option<&'a str>, Failure> {
    let fields = Fields::of(document, kept.collection, id);
    match kept.field.split_once('.') {
        None => fields.text(kept.field),
        Some((outer, inner)) => match fields.document(outer)? {
            Some(within) => fields.within(within, "code.").text(inner),
            None => Ok(None),
        },
    }
}
