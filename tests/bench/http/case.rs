//! What is asked of a server, and what it must answer.

use crate::population::{Account, Population, STEP_SECONDS};
use std::iter::{Cycle, Zip};
use std::slice;
use std::time::UNIX_EPOCH;

/// Clients at a time.
pub(crate) const CLIENTS: [usize; 4] = [1, 16, 64, 256];

/// Measured where one number must do.
pub(crate) const MANY: usize = 64;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    NoToken,
    WrongToken,
    BodyRefused,
    TotpRequired,
    TotpInvalid,
    Success,
}

/// The status and the body of an answer.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: &'static str,
    pub(crate) body: &'static str,
}

const NOT_LOGGED_IN: Answer = Answer {
    status: "401",
    body: r#"{"status":"error","message":"You must be logged in to do this."}"#,
};

const fn refusal(body: &'static str) -> Answer {
    Answer {
        status: "400",
        body,
    }
}

impl Case {
    pub(crate) const ALL: [Self; 6] = [
        Self::NoToken,
        Self::WrongToken,
        Self::BodyRefused,
        Self::TotpRequired,
        Self::TotpInvalid,
        Self::Success,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoToken => "401, no token",
            Self::WrongToken => "401, wrong token",
            Self::BodyRefused => "body refused",
            Self::TotpRequired => "totp-required",
            Self::TotpInvalid => "totp-invalid",
            Self::Success => "success",
        }
    }

    /// To the byte.
    pub(crate) fn answer(self) -> Answer {
        match self {
            Self::NoToken | Self::WrongToken => NOT_LOGGED_IN,
            Self::BodyRefused => refusal(
                r#"{"success":false,"errorType":"invalid-params","error":"the query is not empty: the body names the member"}"#,
            ),
            Self::TotpRequired => refusal(
                r#"{"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}}"#,
            ),
            Self::TotpInvalid => refusal(
                r#"{"success":false,"error":"TOTP Invalid [totp-invalid]","errorType":"totp-invalid","details":{"method":"totp","codeGenerated":false}}"#,
            ),
            Self::Success => Answer {
                status: "200",
                body: r#"{"success":true}"#,
            },
        }
    }

    /// Requests of one batch: some tenths of a second, more than once as many as there
    /// are clients.
    pub(crate) fn requests(self, clients: usize) -> usize {
        let is_durable = !matches!(self, Self::NoToken | Self::WrongToken);
        match (clients, is_durable) {
            (1, false) => 800,
            (_, false) => 2048,
            (1, true) => 100,
            (16, true) => 320,
            (64, true) => 640,
            (_, true) => 1024,
        }
    }

    /// Requests of a round.
    pub(crate) fn requests_a_round(self) -> usize {
        CLIENTS.iter().map(|clients| self.requests(*clients)).sum()
    }
}

/// What is asked of one server, from begin to end: every code and every member once.
pub(crate) struct Script<'a> {
    /// Those who need no code, as many as there are clients.
    callers: Cycle<slice::Iter<'a, Account>>,
    guessers: Cycle<slice::Iter<'a, Account>>,
    resets: Zip<slice::Iter<'a, Account>, slice::Iter<'a, Account>>,
}

/// A token that nobody has.
const WRONG_TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Whom a request names that is refused.
const MEMBER: &str = "0123456789abcdef";

impl<'a> Script<'a> {
    pub(crate) fn new(population: &'a Population) -> Self {
        let Population {
            administrators,
            guessers,
            members,
        } = population;
        let most = CLIENTS.into_iter().max().unwrap_or_default();
        let (callers, _) = administrators.split_at(most.min(administrators.len()));
        Self {
            callers: callers.iter().cycle(),
            guessers: guessers.iter().cycle(),
            resets: administrators.iter().zip(members),
        }
    }

    /// The next `count` requests of a case, valid for half a minute; fewer where the
    /// accounts are used up.
    pub(crate) fn next(&mut self, case: Case, count: usize) -> Vec<Vec<u8>> {
        let step = current_step();
        let requests = (0..count).map_while(|_| self.request(case, step));
        requests.map(String::into_bytes).collect()
    }

    fn request(&mut self, case: Case, step: u64) -> Option<String> {
        let caller = match case {
            Case::TotpInvalid => self.guessers.next()?,
            _ => self.callers.next()?,
        };
        Some(match case {
            Case::NoToken => text("", caller, "", "", MEMBER),
            Case::WrongToken => text("", caller, &token(WRONG_TOKEN), "", MEMBER),
            Case::BodyRefused => text("?user=somebody", caller, &token(&caller.token), "", MEMBER),
            Case::TotpRequired => text("", caller, &token(&caller.token), "", MEMBER),
            Case::TotpInvalid => {
                let wrong = code(&caller.wrong_code(step));
                text("", caller, &token(&caller.token), &wrong, MEMBER)
            }
            Case::Success => {
                let (caller, member) = self.resets.next()?;
                let right = code(&caller.code(step));
                text("", caller, &token(&caller.token), &right, &member.id)
            }
        })
    }
}

fn current_step() -> u64 {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    now.as_secs() / STEP_SECONDS
}

fn token(token: &str) -> String {
    format!("x-auth-token: {token}\r\n")
}

fn code(code: &str) -> String {
    format!("x-2fa-code: {code}\r\n")
}

/// The request, whose `token` and `code` are whole header lines or empty.
fn text(query: &str, caller: &Account, token: &str, code: &str, member: &str) -> String {
    let body = format!(r#"{{"userId":"{member}"}}"#);
    format!(
        "POST /api/v1/users.resetTOTP{query} HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\
         x-user-id: {}\r\n{token}{code}\r\n{body}",
        body.len(),
        caller.id,
    )
}
