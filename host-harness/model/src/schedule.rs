//! Schedules made of chance: what is asked of the workspaces of a store, one after the other and
//! interleaved, and what the store fails at meanwhile.

use crate::asked::Asked;
use bolero::TypeGenerator;
use bolero::generator::produce;

/// The workspaces: the second holds what the first may never see, the third is created on the way.
pub(crate) const PLACES: [&str; 3] = ["acme", "globex", "initech"];

/// Acme's settings, and what is asked of the store.
#[derive(Clone, Debug, TypeGenerator)]
pub struct Schedule {
    /// Who asks most often, and whether they may reset others.
    #[generator(0..4u8)]
    pub(crate) hero: u8,
    #[generator(0..4u8)]
    pub(crate) permitted: u8,
    #[generator(produce::<Vec<Switch>>().with().len(0..4usize))]
    pub(crate) settings: Vec<Switch>,
    #[generator(produce::<Vec<Asking>>().with().len(0..128usize))]
    pub(crate) requests: Vec<Asking>,
}

/// A request, where, and what the store fails at.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) struct Asking {
    pub(crate) place: Place,
    pub(crate) trouble: Trouble,
    pub(crate) request: Request,
}

/// A workspace: mostly acme.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) struct Place(#[generator(0..16u8)] pub(crate) u8);

/// What a store does at which order of a request, if at any; and whether the client asks again
/// where there was no answer.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) struct Trouble(#[generator(0..60u8)] pub(crate) u8);

#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) enum Request {
    Reset(Held, Whom, Entered, Pause),
    Act(Held, Act, Entered, Pause),
    /// What is next for the account: to begin, to confirm, to disable.
    Enrol(Held, Entered),
    Operate(Who, Intervention),
    Wait(Wait),
    /// What was paused goes on, in whatever order.
    Resume(#[generator(0..8u8)] u8),
    Mail(MailDeed),
    Rare(Rare),
}

/// Between two orders of a request others may be given: they go on by a [`Request::Resume`].
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) struct Pause(#[generator(0..4u8)] pub(crate) u8);

#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) enum MailDeed {
    Deliver {
        outcome: Outcome,
        pause: Pause,
    },
    /// Mail of one workspace alone.
    DeliverHere(Outcome),
    /// The mail server refuses everything for a while.
    Refused,
    GiveUp,
    Retry(#[generator(0..6u8)] u8),
    Remove(#[generator(0..6u8)] u8),
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) struct Outcome(#[generator(0..8u8)] pub(crate) u8);

#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) enum Rare {
    /// Attempts that come to nothing.
    Attempt(Who, Entered),
    SendCode(Who),
    LogOut(Held),
    Configure(Switch),
    /// What a configuration says from now on.
    Fix(Switch, Switch),
    Role {
        #[generator(0..5u8)]
        role: u8,
        #[generator(0..3u8)]
        permission: u8,
        allowed: bool,
    },
    AddUser(#[generator(0..16u8)] u8),
    CreateWorkspace(Place),
    Prune,
    Malformed(Held, #[generator(0..16u8)] u8),
    Record(Who),
}

/// What a store does at an order, other than to do it once and to say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is done.
    Fails,
    /// It is done and nobody is told.
    LosesTheAnswer,
    /// It is decided once more before it is done.
    Repeats,
}

/// An account: more often than not the hero of the schedule.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) struct Who(#[generator(0..14u8)] pub(crate) u8);

/// An account, and which token it says to hold.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) struct Held {
    pub(crate) who: Who,
    #[generator(0..26u8)]
    pub(crate) token: u8,
}

/// The caller, another, and now and then somebody who cannot be reset.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) struct Whom {
    #[generator(0..12u8)]
    pub(crate) kind: u8,
    pub(crate) who: Who,
}

/// What is entered as a second factor: mostly what is right.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) struct Entered {
    #[generator(0..12u8)]
    pub(crate) kind: u8,
    pub(crate) odd: Odd,
}

/// What is right at times, or never.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) enum Odd {
    Now,
    Step(Distance),
    /// The code of one step, said to be that of another.
    Misplaced(Distance),
    AnothersStep,
    /// The code of the account of the same id in another workspace.
    ElsewheresStep,
    /// What was accepted last.
    Spent,
    Backup(#[generator(0..6u8)] u8),
    Mailed,
    /// The code that was sent before the last.
    MailedBefore,
    Password,
    AnothersPassword,
    Digits(#[generator(0..1_000_000u32)] u32),
    Nothing,
}

/// Time steps from now.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) struct Distance(#[generator(-3..=3i8)] pub(crate) i8);

#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) enum Act {
    LogIn,
    LogInByPassword,
    BeginEnrolment,
    ConfirmTotp,
    DisableTotp,
    ReplaceBackupCodes,
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) enum Wait {
    Millisecond,
    Step,
    Minutes(#[generator(1..=3u8)] u8),
    Hour,
    /// The clock is set back.
    Back(#[generator(1..=4u8)] u8),
    /// The clock is wrong by days, or by years, and then right again.
    Jump(#[generator(1..=7u8)] u8),
}

/// What an operator does.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) enum Intervention {
    SetPassword,
    EnrolTotp,
    ReplaceBackupCodes,
    ResetTotp,
    Unlock,
    Activate,
    Deactivate,
    GiveRole,
    TakeRole,
    CreateToken(bool),
    RevokeToken,
    RevokeAllTokens,
}

#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(crate) enum Switch {
    TwoFactor(bool),
    Totp(bool),
    Window(#[generator(0..=2u8)] u8),
    Email(bool),
    EmailFailures(#[generator(1..=5u8)] u8),
    PasswordFallback(bool),
    MissingFactor(bool),
    BypassToken(bool),
    Budget(#[generator(5..=12u8)] u8),
    Sessions(#[generator(1..=4u8)] u8),
    AuditDays(#[generator(0..=2u8)] u8),
    DeadLetterDays(#[generator(0..=2u8)] u8),
    MailHours(#[generator(1..=2u8)] u8),
    /// One that no setting takes.
    Nonsense,
}

/// How much was asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Requests of which at least one order came.
    pub requests: u64,
    /// Orders, and claims of mail.
    pub orders: u64,
}

/// What a store was asked, and what the model answered.
#[derive(Debug)]
pub struct Step {
    /// What was asked.
    pub asked: Asked,
    /// As text.
    pub answer: String,
}

impl Place {
    pub(crate) fn id(self) -> &'static str {
        match self.0 {
            0..=10 => PLACES[0],
            11..=13 => PLACES[1],
            _ => PLACES[2],
        }
    }
}

impl Trouble {
    pub(crate) fn fault(self) -> Option<(u8, Fault)> {
        let fault = match self.0 % 4 {
            0 => Fault::Fails,
            1 => Fault::LosesTheAnswer,
            _ => Fault::Repeats,
        };
        (self.0 < 24).then_some((self.0 / 8, fault))
    }

    pub(crate) fn is_asked_again(self) -> bool {
        self.0 % 8 < 4
    }
}

impl Entered {
    pub(crate) fn is_right(self) -> bool {
        self.kind < 7
    }
}

impl Switch {
    /// Its name and value.
    pub(crate) fn setting(self) -> (&'static str, String) {
        match self {
            Self::TwoFactor(on) => ("two-factor-enabled", on.to_string()),
            Self::Totp(on) => ("totp-enabled", on.to_string()),
            Self::Window(steps) => ("totp-window", steps.to_string()),
            Self::Email(on) => ("email-enabled", on.to_string()),
            Self::EmailFailures(number) => ("email-code-failures", number.to_string()),
            Self::PasswordFallback(on) => ("password-fallback", on.to_string()),
            Self::MissingFactor(on) => ("missing-factor-allowed", on.to_string()),
            Self::BypassToken(on) => ("bypass-token-allowed", on.to_string()),
            Self::Budget(failures) => ("failure-budget", failures.to_string()),
            Self::Sessions(number) => ("sessions", number.to_string()),
            Self::AuditDays(days) => ("audit-days", days.to_string()),
            Self::DeadLetterDays(days) => ("dead-letter-days", days.to_string()),
            Self::MailHours(hours) => ("mail-hours", hours.to_string()),
            Self::Nonsense => ("totp-window", "many".to_owned()),
        }
    }
}
