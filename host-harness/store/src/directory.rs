//! A page of accounts, as it is put together from what tables find.

use chat_domain::directory::{AccountFilter, Place};
use std::fmt::Display;

/// Addresses in which what is searched for was found that are looked at for one page: those of
/// accounts that were listed for their usernames are passed over.
pub(crate) const MOST_ADDRESSES: u32 = 1000;

/// Tells the log of an account that is nothing to work by: it keeps nobody from the others.
pub(crate) fn leave_out(error: impl Display) {
    tracing::warn!(%error, "an account is left out of a list");
}

/// The accounts of a page, and one more where there is one.
pub(crate) struct Gathered {
    most: usize,
    /// The place of each, and its id.
    found: Vec<(Place, String)>,
    /// Where it goes on, although there is not one more.
    beyond: Option<Place>,
}

impl Gathered {
    pub(crate) fn new(filter: &AccountFilter) -> Self {
        Self {
            most: filter.most as usize,
            found: Vec::new(),
            beyond: None,
        }
    }

    /// How many may be added.
    pub(crate) fn room(&self) -> u32 {
        let room = (self.most + 1).saturating_sub(self.found.len());
        u32::try_from(room).unwrap_or(u32::MAX)
    }

    pub(crate) fn add(&mut self, place: Place, id: String) {
        self.found.push((place, id));
    }

    /// All behind this place is still to be looked at.
    pub(crate) fn stop_at(&mut self, place: Place) {
        self.beyond = Some(place);
    }

    /// The ids of the accounts, in order, and where the next are.
    pub(crate) fn page(mut self) -> (Vec<String>, Option<Place>) {
        let mut next = self.beyond;
        if self.found.len() > self.most {
            self.found.truncate(self.most);
            next = self.found.last().map(|(place, _)| place.clone());
        }
        let ids = self.found.into_iter().map(|(_, id)| id);
        (ids.collect(), next)
    }
}

/// Where the usernames begin of which a page is made; none where all were before.
pub(crate) fn usernames_after(filter: &AccountFilter) -> Option<&str> {
    match &filter.after {
        None => Some(""),
        Some(Place::Username(key)) => Some(key),
        Some(Place::Address(_)) => None,
    }
}

/// Where the addresses begin of which a page is made.
pub(crate) fn addresses_after(filter: &AccountFilter) -> &str {
    match &filter.after {
        Some(Place::Address(address)) => address,
        None | Some(Place::Username(_)) => "",
    }
}
