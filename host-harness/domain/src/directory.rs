//! The accounts of a workspace, page by page, as those see them who may reset them.

use crate::account::{Account, Profile, Token, username_key};
use crate::settings::Settings;
use crate::time::Timestamp;
use std::fmt;
use std::str::FromStr;

/// Accounts of a page at most: what a person looks through, in some hundred kilobytes.
pub const MOST_LISTED: u32 = 100;

/// Longest text that is searched for, in characters: two of the longest usernames.
pub const LONGEST_SEARCH: usize = 128;

/// Longest [`Place`] as text, in bytes: addresses have at most 254 (RFC 5321, errata 1690), and
/// usernames of other programs are not much longer.
const LONGEST_PLACE: usize = 1024;

/// Which accounts of a workspace are asked for: those for which all holds that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFilter {
    /// In whose username, name or address this is found.
    pub search: Option<Search>,
    /// Of which a lock is noted, also one that is over.
    pub lock_noted: bool,
    /// Those behind this place; of all, where it is none.
    pub after: Option<Place>,
    /// So many at most.
    pub most: u32,
}

/// What is searched for, as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// A part of a username, as [`username_key`] writes it.
    pub username: String,
    /// A part of an address, or of a name: in lower case, as far as that is ASCII.
    pub address: String,
}

/// Why a text is not searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSearch {
    /// It is longer than [`LONGEST_SEARCH`].
    #[error("it has more than {LONGEST_SEARCH} characters")]
    TooLong,
    /// It holds what no name does.
    #[error("it holds a control character")]
    Control,
}

impl Search {
    /// Spaces around it do not matter; none where nothing is left.
    ///
    /// # Errors
    ///
    /// [`InvalidSearch`].
    pub fn parse(text: &str) -> Result<Option<Self>, InvalidSearch> {
        let text = text.trim();
        if text.chars().count() > LONGEST_SEARCH {
            return Err(InvalidSearch::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidSearch::Control);
        }
        Ok((!text.is_empty()).then(|| Self {
            username: username_key(text),
            address: text.to_ascii_lowercase(),
        }))
    }
}

/// Where in the order of a list a page ends: that stays the same while accounts are added, so that
/// none is listed twice, and none is left out that was there before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the account with this username, as the store compares it.
    Username(String),
    /// At this address, as the store compares it: after all whose usernames hold what is searched
    /// for come those of whom an address alone does.
    Address(String),
}

/// A text that is no [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is none that a page before has given")]
pub struct InvalidPlace;

const USERNAME: &str = "username:";
const ADDRESS: &str = "address:";

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Username(key) => write!(f, "{USERNAME}{key}"),
            Self::Address(address) => write!(f, "{ADDRESS}{address}"),
        }
    }
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        if text.len() > LONGEST_PLACE {
            return Err(InvalidPlace);
        }
        if let Some(key) = text.strip_prefix(USERNAME) {
            return Ok(Self::Username(key.to_owned()));
        }
        let address = text.strip_prefix(ADDRESS).ok_or(InvalidPlace)?;
        Ok(Self::Address(address.to_owned()))
    }
}

/// Some accounts of a workspace, and where the next are.
#[derive(Debug, Default)]
pub struct AccountPage {
    /// With all lists.
    pub profiles: Vec<Profile>,
    /// What is asked for to see more; none of the last page.
    pub next: Option<Place>,
}

/// An account, as those see it who may reset it.
#[derive(Clone, Debug)]
pub struct Member {
    /// As its holder sees it.
    pub account: Account,
    /// How many of its sessions have not ended.
    pub sessions: u32,
    /// How many personal access tokens it has.
    pub tokens: u32,
}

impl Member {
    /// What is seen of `profile`, which has all lists, where these settings hold.
    pub fn of(profile: Profile, settings: &Settings, now: Timestamp) -> Self {
        let count = |is_one: fn(&Token) -> bool| {
            let tokens = profile.tokens.iter().filter(|token| token.is_valid(now));
            let count = tokens.filter(|token| is_one(token)).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        Self {
            sessions: count(|token| token.expires.is_some()),
            tokens: count(|token| token.expires.is_none()),
            account: Account::of(profile, settings, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_and_nothing_else_is_one() {
        for place in [
            Place::Username("ada".to_owned()),
            Place::Username(String::new()),
            Place::Username("address:x".to_owned()),
            Place::Address("ada@example.com".to_owned()),
        ] {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        let longest = format!("username:{}", "x".repeat(LONGEST_PLACE - 9));
        assert!(longest.parse::<Place>().is_ok());
        for text in [
            "",
            "ada",
            "username",
            "Username:ada",
            &format!("{longest}x"),
        ] {
            assert_eq!(text.parse::<Place>(), Err(InvalidPlace), "{text}");
        }
    }

    #[test]
    fn what_is_searched_for_is_compared_as_names_and_addresses_are() {
        let search = |text| Search::parse(text).map(|s| s.map(|s| (s.username, s.address)));
        let found =
            |username: &str, address: &str| Ok(Some((username.to_owned(), address.to_owned())));
        assert_eq!(search(" \u{3000}"), Ok(None));
        assert_eq!(search(" Ada "), found("ada", "ada"));
        assert_eq!(search("ÄRGER@X"), found("ärger@x", "Ärger@x"));
        assert_eq!(search("%_*"), found("%_*", "%_*"));
        let longest = "é".repeat(LONGEST_SEARCH);
        assert_eq!(search(&longest), found(&longest, &longest));
        let longer = format!("{longest}x");
        assert_eq!(search(&longer), Err(InvalidSearch::TooLong));
        assert_eq!(search("a\0b"), Err(InvalidSearch::Control));
    }
}
