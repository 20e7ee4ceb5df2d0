//! The HTTP answers, to the byte: the documented endpoint's, and Rocket.Chat's
//! own where the documentation is silent.

use crate::body::InvalidParams;
use crate::contract::{
    chat::reset_totp::secrets::{EmailCode, Method},
    exports::chat::reset_totp::handler::Response,
};
use serde::Serialize;

/// Why a request is refused.
#[derive(Debug)]
pub enum Refusal {
    /// The body cannot be understood.
    InvalidParams(InvalidParams),
    /// A second factor is needed and no code was given.
    TotpRequired {
        /// The method that is asked for.
        method: Method,
        /// Where the method is e-mail: the code that was sent.
        sent: Option<EmailCode>,
        /// The methods that the caller may choose from.
        available: Vec<Method>,
    },
    /// The code is wrong, spent, or malformed.
    TotpInvalid(Method),
    /// Too many failures in a row.
    TotpMaxAttempts(Method),
    /// The caller may not reset another member's factor.
    NotAllowed,
    /// The workspace does not use second factors.
    TwoFactorNotEnabled,
    /// Every key of the body is blank.
    UserParamNotProvided,
    /// The workspace has no such user.
    InvalidUser,
    /// The user belongs to another server.
    FederatedUser,
}

/// The answer to a request that ended so.
pub fn response(outcome: &Result<(), Refusal>) -> Response {
    match outcome {
        Ok(()) => Response {
            status: 200,
            body: r#"{"success":true}"#.to_owned(),
        },
        Err(refusal) => Response {
            status: 400,
            body: refusal.body(),
        },
    }
}

impl Refusal {
    fn body(&self) -> String {
        match self {
            Self::InvalidParams(problem) => json(&InvalidParamsBody {
                success: false,
                error_type: "invalid-params",
                error: problem.explanation(),
            }),
            Self::TotpRequired {
                method,
                sent,
                available,
            } => failure(
                "totp-required",
                "TOTP Required",
                Some(Details {
                    email_or_username: sent.as_ref().map(|code| code.recipient.as_str()),
                    code_generated: Some(sent.as_ref().is_some_and(|code| code.sent_now)),
                    code_expires: sent
                        .as_ref()
                        .filter(|code| !code.sent_now)
                        .map(|code| date(code.expires)),
                    available_methods: Some(names(available)),
                    ..Details::of(method)
                }),
            ),
            Self::TotpInvalid(method) => {
                failure("totp-invalid", "TOTP Invalid", Some(Details::of(method)))
            }
            Self::TotpMaxAttempts(method) => failure(
                "totp-max-attempts",
                "TOTP Maximun Failed Attempts Reached",
                Some(Details::of(method)),
            ),
            Self::NotAllowed => failure("error-not-allowed", "Not allowed", None),
            Self::TwoFactorNotEnabled => failure(
                "error-two-factor-not-enabled",
                "Two factor authentication is not enabled",
                None,
            ),
            Self::UserParamNotProvided => failure(
                "error-user-param-not-provided",
                r#"The required "userId" or "username" param was not provided"#,
                None,
            ),
            Self::InvalidUser => failure(
                "error-invalid-user",
                r#"The required "userId" or "username" param provided does not match any users"#,
                None,
            ),
            Self::FederatedUser => failure(
                "error-not-allowed",
                "Federated Users cant have TOTP",
                Some(Details {
                    function: Some("resetTOTP"),
                    ..Details::default()
                }),
            ),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InvalidParamsBody<'a> {
    success: bool,
    error_type: &'static str,
    error: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    success: bool,
    error: String,
    error_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details<'a>>,
}

/// In the order in which clients know them.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code_generated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code_expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_or_username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_methods: Option<Vec<&'a str>>,
}

impl<'a> Details<'a> {
    fn of(method: &'a Method) -> Self {
        Self {
            method: Some(method_name(method)),
            code_generated: Some(false),
            ..Self::default()
        }
    }
}

fn failure(id: &'static str, text: &str, details: Option<Details<'_>>) -> String {
    json(&Failure {
        success: false,
        error: format!("{text} [{id}]"),
        error_type: id,
        details,
    })
}

/// The methods that a client may choose from: the password is no choice.
fn names(available: &[Method]) -> Vec<&str> {
    available
        .iter()
        .filter(|method| !matches!(method, Method::Password))
        .map(method_name)
        .collect()
}

/// The name by which clients know `method`.
pub fn method_name(method: &Method) -> &str {
    match method {
        Method::Totp => "totp",
        Method::Email => "email",
        Method::Password => "password",
        Method::Other(name) => name,
    }
}

/// The moment `seconds` of Unix time as JavaScript writes dates in JSON. The
/// calendar is Gregorian: eras of 400 years, 146,097 days each, counted from
/// 1 March of the year 0, so that the leap day is a year's last.
fn date(seconds: u64) -> String {
    const DAYS_FROM_YEAR_0_TO_1970: u64 = 719_468;
    let days = seconds / 86_400 + DAYS_FROM_YEAR_0_TO_1970;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = (months_since_march + 2) % 12 + 1;
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z")
}

fn json(body: &impl Serialize) -> String {
    #[expect(
        clippy::expect_used,
        reason = "the bodies above hold only strings, booleans and lists: nothing that JSON cannot hold"
    )]
    serde_json::to_string(body).expect("strings, booleans and lists are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_javascript_writes_it() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_234_567_890, "2009-02-13T23:31:30.000Z"),
            (1_704_067_199, "2023-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }

    /// The calendar, counted day by day, over two of its periods of 400 years.
    #[test]
    fn every_day_has_its_date() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..300_000 {
            let expected = format!("{year:04}-{month:02}-{day:02}T13:02:03.000Z");
            assert_eq!(date(days * 86_400 + 46_923), expected);
            day += 1;
            if day > days_in(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!(year, 2791);
    }

    fn days_in(year: u32, month: u32) -> u32 {
        match month {
            2 if year.is_multiple_of(400) => 29,
            2 if year.is_multiple_of(4) && !year.is_multiple_of(100) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    #[test]
    fn every_answer_is_known_to_the_byte() {
        let later = || Method::Other("later".to_owned());
        for (outcome, status, body) in [
            (Ok(()), 200, r#"{"success":true}"#),
            (
                Err(Refusal::InvalidParams(InvalidParams::new("why"))),
                400,
                r#"{"success":false,"errorType":"invalid-params","error":"why"}"#,
            ),
            (
                Err(Refusal::TotpRequired {
                    method: Method::Totp,
                    sent: None,
                    available: vec![Method::Totp, Method::Email, Method::Password, later()],
                }),
                400,
                r#"{"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"totp","codeGenerated":false,"availableMethods":["totp","email","later"]}}"#,
            ),
            (
                Err(Refusal::TotpInvalid(Method::Password)),
                400,
                r#"{"success":false,"error":"TOTP Invalid [totp-invalid]","errorType":"totp-invalid","details":{"method":"password","codeGenerated":false}}"#,
            ),
            (
                Err(Refusal::TotpMaxAttempts(Method::Email)),
                400,
                r#"{"success":false,"error":"TOTP Maximun Failed Attempts Reached [totp-max-attempts]","errorType":"totp-max-attempts","details":{"method":"email","codeGenerated":false}}"#,
            ),
            (
                Err(Refusal::NotAllowed),
                400,
                r#"{"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed"}"#,
            ),
            (
                Err(Refusal::TwoFactorNotEnabled),
                400,
                r#"{"success":false,"error":"Two factor authentication is not enabled [error-two-factor-not-enabled]","errorType":"error-two-factor-not-enabled"}"#,
            ),
            (
                Err(Refusal::UserParamNotProvided),
                400,
                r#"{"success":false,"error":"The required \"userId\" or \"username\" param was not provided [error-user-param-not-provided]","errorType":"error-user-param-not-provided"}"#,
            ),
            (
                Err(Refusal::InvalidUser),
                400,
                r#"{"success":false,"error":"The required \"userId\" or \"username\" param provided does not match any users [error-invalid-user]","errorType":"error-invalid-user"}"#,
            ),
            (
                Err(Refusal::FederatedUser),
                400,
                r#"{"success":false,"error":"Federated Users cant have TOTP [error-not-allowed]","errorType":"error-not-allowed","details":{"function":"resetTOTP"}}"#,
            ),
        ] {
            let response = response(&outcome);
            assert_eq!((response.status, response.body.as_str()), (status, body));
        }
    }
}
