//! The audit trail: every decision, whose, about what, and why.

use crate::time::Timestamp;
use data_encoding::HEXLOWER;
use rand::Rng;

/// Bytes of chance in the id of a request.
const REQUEST_ID_BYTES: usize = 16;

/// A new id, under which the audit trail has what one request, one command or one
/// configuration changes.
pub fn new_request_id(random: &mut impl Rng) -> String {
    let mut bytes = [0; REQUEST_ID_BYTES];
    random.fill_bytes(&mut bytes);
    HEXLOWER.encode(&bytes)
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
}

impl Action {
    /// The name in the audit trail.
    pub fn name(self) -> &'static str {
        match self {
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
    /// It was refused because the caller is locked.
    Locked,
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
    /// The caller's id, or [`crate::operator::OPERATOR`].
    pub caller: String,
    /// The target's id, where the decision got that far.
    pub target: Option<String>,
    /// What was decided.
    pub decision: Decision,
    /// Why: the answer's error id or the failure's code. For what an operator
    /// did: the role, permission, token or setting that it is about.
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

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
