//! The audit trail: every decision, whose, about what, and why.

use crate::audit_log::kept_place;
use crate::order::Change;
use crate::time::Timestamp;
use data_encoding::HEXLOWER;
use rand::Rng;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Bytes of chance in the id of a request.
const REQUEST_ID_BYTES: usize = 16;

/// A new id, under which the audit trail has what one request, one command or one
/// configuration changes.
pub fn new_request_id(random: &mut impl Rng) -> String {
    let mut bytes = [0; REQUEST_ID_BYTES];
    random.fill_bytes(&mut bytes);
    HEXLOWER.encode(&bytes)
}

/// Longest name of a client's program that is kept, in bytes: browsers' have half of that.
const MAX_AGENT: usize = 256;

/// Where a request came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The client's address, as far as proxies are believed.
    pub address: IpAddr,
    /// What its program calls itself, in printable ASCII; none where it says nothing.
    pub agent: Option<String>,
}

impl Source {
    /// `agent` is cut to 256 bytes; all but printable ASCII is written as its escape, so that
    /// no terminal turns it round or hides it.
    pub fn new(address: IpAddr, agent: Option<&[u8]>) -> Self {
        let agent = agent.filter(|agent| !agent.is_empty()).map(|agent| {
            let mut printable = String::new();
            for c in String::from_utf8_lossy(agent).chars() {
                let shown = match c {
                    ' '..='~' => c.to_string(),
                    _ => c.escape_default().to_string(),
                };
                if printable.len() + shown.len() > MAX_AGENT {
                    break;
                }
                printable.push_str(&shown);
            }
            printable
        });
        Self { address, agent }
    }
}

/// What a decision was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To remove an account's TOTP factor.
    ResetTotp,
    /// To log in.
    LogIn,
    /// To be shown a key for TOTP.
    BeginEnrolment,
    /// To enrol TOTP with the key that was shown.
    ConfirmTotp,
    /// To remove one's own TOTP factor by its code.
    DisableTotp,
    /// To replace an account's backup codes.
    ReplaceBackupCodes,
    /// To add an account.
    AddUser,
    /// To set an account's password.
    SetPassword,
    /// To enrol TOTP for an account.
    EnrolTotp,
    /// To forget an account's failures.
    Unlock,
    /// To let an account log in again.
    Activate,
    /// To keep an account from logging in.
    Deactivate,
    /// To make an account a member of a role.
    GiveRole,
    /// To end that.
    TakeRole,
    /// To create a personal access token.
    CreateToken,
    /// To revoke an account's tokens.
    RevokeTokens,
    /// To add a permission to a role.
    AllowPermission,
    /// To remove one.
    DenyPermission,
    /// To change a setting.
    ChangeSetting,
    /// To try a mail again.
    RetryMail,
    /// To remove a mail.
    RemoveMail,
    /// To have Rocket.Chat close the sockets of an account.
    CloseSockets,
    /// To log out.
    LogOut,
    /// To be told about oneself, or by the permission about others.
    Look,
    /// To guess at a second factor until it is locked.
    Guess,
    /// To remove what is older than it is kept.
    Prune,
}

/// All that a decision can be about.
pub const ACTIONS: [Action; 26] = [
    Action::ResetTotp,
    Action::LogIn,
    Action::BeginEnrolment,
    Action::ConfirmTotp,
    Action::DisableTotp,
    Action::ReplaceBackupCodes,
    Action::AddUser,
    Action::SetPassword,
    Action::EnrolTotp,
    Action::Unlock,
    Action::Activate,
    Action::Deactivate,
    Action::GiveRole,
    Action::TakeRole,
    Action::CreateToken,
    Action::RevokeTokens,
    Action::AllowPermission,
    Action::DenyPermission,
    Action::ChangeSetting,
    Action::RetryMail,
    Action::RemoveMail,
    Action::CloseSockets,
    Action::LogOut,
    Action::Look,
    Action::Guess,
    Action::Prune,
];

impl Action {
    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        ACTIONS.into_iter().find(|action| action.name() == name)
    }

    /// The name in the audit trail.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogOut => "log-out",
            Self::Look => "look",
            Self::Guess => "guess",
            Self::Prune => "prune",
            Self::ResetTotp => "reset-totp",
            Self::LogIn => "log-in",
            Self::BeginEnrolment => "begin-enrolment",
            Self::ConfirmTotp => "confirm-totp",
            Self::DisableTotp => "disable-totp",
            Self::ReplaceBackupCodes => "replace-backup-codes",
            Self::AddUser => "add-user",
            Self::SetPassword => "set-password",
            Self::EnrolTotp => "enrol-totp",
            Self::Unlock => "unlock",
            Self::Activate => "activate",
            Self::Deactivate => "deactivate",
            Self::GiveRole => "give-role",
            Self::TakeRole => "take-role",
            Self::CreateToken => "create-token",
            Self::RevokeTokens => "revoke-tokens",
            Self::AllowPermission => "allow-permission",
            Self::DenyPermission => "deny-permission",
            Self::ChangeSetting => "change-setting",
            Self::RetryMail => "retry-mail",
            Self::RemoveMail => "remove-mail",
            Self::CloseSockets => "close-sockets",
        }
    }
}

/// How a request was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A factor was removed.
    Reset,
    /// The reset was granted and there was nothing to remove.
    NothingEnrolled,
    /// What was asked is done.
    Done,
    /// The request was refused.
    Refused,
    /// It was refused because its proof was used before.
    Replayed,
    /// It was refused because the caller is locked; of guesses: they have locked it.
    Locked,
    /// It was refused because the client called too often.
    Limited,
    /// The plugin or the host failed.
    Failed,
}

impl Decision {
    /// The name in the audit trail.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::NothingEnrolled => "nothing-enrolled",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Replayed => "replayed",
            Self::Locked => "locked",
            Self::Limited => "limited",
            Self::Failed => "failed",
        }
    }
}

/// One decision, as the audit trail keeps it.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// When the request was accepted.
    pub at: Timestamp,
    /// Where.
    pub workspace: String,
    /// The request's id, as the client and the log know it.
    pub request_id: String,
    /// What was decided about.
    pub action: Action,
    /// The caller's id, [`crate::operator::OPERATOR`] or [`crate::sockets::HOST`].
    pub caller: String,
    /// The target's id, where the decision got that far.
    pub target: Option<String>,
    /// What was decided.
    pub decision: Decision,
    /// Why: the answer's error id or the failure's code. For what an operator
    /// did: the role, permission, token or setting that it is about.
    pub reason: Option<String>,
    /// Where the request came from; none for what an operator did.
    pub source: Option<Source>,
    /// By what a second factor was proved, or tried to be; none where nothing was.
    pub proof: Option<&'static str>,
    /// To how many addresses of the target, or else of the caller, a notice goes; none
    /// where there is nothing to tell them.
    pub told: Option<u32>,
    /// Requests that were decided so: more than one only of those that came too often.
    pub calls: u32,
}

impl AuditRecord {
    /// With how many notices there are: none says that nobody can be told.
    #[must_use]
    pub(crate) fn telling(mut self, notices: &[Change]) -> Self {
        self.told = Some(u32::try_from(notices.len()).unwrap_or(u32::MAX));
        self
    }
}

/// A record, as a store gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Where.
    pub workspace: String,
    /// When the request was accepted.
    pub at: Timestamp,
    /// The request's id.
    pub request_id: String,
    /// As [`Action::name`] tells it.
    pub action: String,
    /// The caller's id, [`crate::operator::OPERATOR`] or [`crate::sockets::HOST`].
    pub caller: String,
    /// The caller's username, where there is such an account.
    pub caller_name: Option<String>,
    /// The target's id.
    pub target: Option<String>,
    /// The target's username, where there is such an account.
    pub target_name: Option<String>,
    /// As [`Decision::name`] tells it.
    pub decision: String,
    /// Why.
    pub reason: Option<String>,
    /// The client's address.
    pub address: Option<String>,
    /// What its program calls itself.
    pub agent: Option<String>,
    /// By what a second factor was proved, or tried to be.
    pub proof: Option<String>,
    /// To how many addresses a notice goes.
    pub told: Option<u32>,
    /// Requests that were decided so.
    pub calls: u32,
    /// Its place in the workspace's log; none of one that is in no log.
    pub index: Option<u64>,
}

/// Which records are asked for: those for which all holds that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordFilter {
    /// By the account with this id, or [`crate::operator::OPERATOR`].
    pub caller: Option<String>,
    /// About the account with this id.
    pub target: Option<String>,
    /// About this.
    pub action: Option<Action>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before this place in the order of time.
    pub before: Option<RecordPlace>,
    /// Of the request with this id.
    pub request_id: Option<String>,
    /// So many at most, the newest.
    pub most: u32,
}

/// Where in the order of time, and of places in the log, a page of records ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// When the record was accepted.
    pub at: Timestamp,
    /// Its place in the log, as it is kept; negative where it is in none.
    pub index: i64,
}

impl RecordPlace {
    /// Where all records are before.
    pub const END: Self = Self {
        at: Timestamp::END,
        index: i64::MAX,
    };

    /// That of a record.
    pub fn of(record: &StoredRecord) -> Self {
        Self {
            at: record.at,
            index: record.index.map_or(-1, kept_place),
        }
    }
}

/// A text that is no [`RecordPlace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is none that a page before has given")]
pub struct InvalidRecordPlace;

/// Two numbers with a point between.
impl fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at.millis(), self.index)
    }
}

impl FromStr for RecordPlace {
    type Err = InvalidRecordPlace;

    fn from_str(text: &str) -> Result<Self, InvalidRecordPlace> {
        let (at, index) = text.split_once('.').ok_or(InvalidRecordPlace)?;
        let number = |text: &str| text.parse().map_err(|_| InvalidRecordPlace);
        Ok(Self {
            at: Timestamp::from_millis(number(at)?),
            index: number(index)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_calls_itself_forges_no_line_and_is_short() {
        let address = IpAddr::from([192, 0, 2, 1]);
        let agent = |agent: &[u8]| Source::new(address, Some(agent)).agent;
        assert_eq!(agent(b""), None);
        assert_eq!(agent(b"curl/8.14.1").as_deref(), Some("curl/8.14.1"));
        assert_eq!(agent(b"a\r\nb\xff").as_deref(), Some("a\\r\\nb\\u{fffd}"));
        assert_eq!(agent(&[b'x'; 300]).unwrap().len(), 256);
        let turned = agent("x\u{202e}y".as_bytes());
        assert_eq!(turned.as_deref(), Some("x\\u{202e}y"));
        assert_eq!(agent("é".repeat(200).as_bytes()).unwrap().len(), 252);
        assert_eq!(agent(&[b'\n'; 129]).unwrap().len(), 256);
    }

    #[test]
    fn a_place_is_read_as_it_was_written_and_nothing_else_is_one() {
        let of = |millis, index| RecordPlace {
            at: Timestamp::from_millis(millis),
            index,
        };
        for place in [of(1_234_567_890_000, 7), of(0, -1), RecordPlace::END] {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for text in [
            "",
            "1",
            "1.",
            ".1",
            "1.2.3",
            "a.b",
            "1.99999999999999999999",
            "1 .2",
        ] {
            assert_eq!(
                text.parse::<RecordPlace>(),
                Err(InvalidRecordPlace),
                "{text}"
            );
        }
    }

    #[test]
    fn every_action_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = ACTIONS.map(Action::name).into();
        assert_eq!(names.len(), ACTIONS.len());
    }

    #[test]
    fn a_request_has_an_id_of_its_own() {
        let [first, second] = [(); 2].map(|()| new_request_id(&mut rand::rng()));
        assert_eq!(first.len(), 32);
        assert!(
            first
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        );
        assert_ne!(first, second);
    }
}
