//! The functions that the contract imports, by name.

use std::fmt;

/// One function of the host, as a plugin calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostCall {
    /// `wasi:clocks/wall-clock.now`
    Now,
    /// `wasi:clocks/wall-clock.resolution`
    Resolution,
    /// `users.find`
    Find,
    /// `permissions.caller-has`
    CallerHas,
    /// `settings.two-factor-enabled`
    TwoFactorEnabled,
    /// `settings.totp-window`
    TotpWindow,
    /// `settings.missing-factor-allowed`
    MissingFactorAllowed,
    /// `settings.bypass-token-allowed`
    BypassTokenAllowed,
    /// `secrets.methods`
    Methods,
    /// `secrets.begin-totp-attempt`
    BeginTotpAttempt,
    /// `secrets.begin-totp-code-attempt`
    BeginTotpCodeAttempt,
    /// `secrets.begin-backup-code-attempt`
    BeginBackupCodeAttempt,
    /// `secrets.send-email-code`
    SendEmailCode,
    /// `secrets.check-email-code`
    CheckEmailCode,
    /// `secrets.check-password`
    CheckPassword,
    /// `secrets.reset`
    Reset,
}

impl HostCall {
    /// All that there are, in the order of the contract.
    pub const ALL: [Self; 16] = [
        Self::Now,
        Self::Resolution,
        Self::Find,
        Self::CallerHas,
        Self::TwoFactorEnabled,
        Self::TotpWindow,
        Self::MissingFactorAllowed,
        Self::BypassTokenAllowed,
        Self::Methods,
        Self::BeginTotpAttempt,
        Self::BeginTotpCodeAttempt,
        Self::BeginBackupCodeAttempt,
        Self::SendEmailCode,
        Self::CheckEmailCode,
        Self::CheckPassword,
        Self::Reset,
    ];

    /// Its interface and name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Now => "wall-clock.now",
            Self::Resolution => "wall-clock.resolution",
            Self::Find => "users.find",
            Self::CallerHas => "permissions.caller-has",
            Self::TwoFactorEnabled => "settings.two-factor-enabled",
            Self::TotpWindow => "settings.totp-window",
            Self::MissingFactorAllowed => "settings.missing-factor-allowed",
            Self::BypassTokenAllowed => "settings.bypass-token-allowed",
            Self::Methods => "secrets.methods",
            Self::BeginTotpAttempt => "secrets.begin-totp-attempt",
            Self::BeginTotpCodeAttempt => "secrets.begin-totp-code-attempt",
            Self::BeginBackupCodeAttempt => "secrets.begin-backup-code-attempt",
            Self::SendEmailCode => "secrets.send-email-code",
            Self::CheckEmailCode => "secrets.check-email-code",
            Self::CheckPassword => "secrets.check-password",
            Self::Reset => "secrets.reset",
        }
    }
}

impl fmt::Display for HostCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
