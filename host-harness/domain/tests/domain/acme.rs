//! What the tables ask in the workspace of the model.

use chat_domain::order::Order;
use chat_domain::totp::step_of;
pub(crate) use chat_model::acme::*;
use chat_model::model::{Model, Workspace};
use expect_test::Expect;
use std::fmt::Debug;

/// What `order` decides in a workspace that was changed by `edit`.
pub(crate) fn decided<O>(edit: impl FnOnce(&mut Workspace), order: &O) -> (O::Answer, String)
where
    O: Order,
    O::Answer: Debug,
{
    let mut workspace = acme();
    edit(&mut workspace);
    Model::new("acme", workspace).ask(order)
}

/// Holds the answer, and all changes that an order makes, to a text.
pub(crate) fn check<O>(edit: impl FnOnce(&mut Workspace), order: &O, expected: &Expect)
where
    O: Order,
    O::Answer: Debug,
{
    let (answer, changes) = decided(edit, order);
    expected.assert_eq(&format!("{answer:?}\n{changes}"));
}

#[test]
fn now_is_the_first_moment_of_its_step() {
    assert_eq!(step_of(now()), STEP);
    let before = chat_domain::time::Timestamp::from_millis(now().millis() - 1);
    assert_eq!(step_of(before), STEP - 1);
}
