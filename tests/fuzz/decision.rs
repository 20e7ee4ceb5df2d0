//! `reset_totp::decision` over a host that lends what an input says and notes
//! what is asked of it.

use crate::engine::fuzz;
use crate::request::{Body, ContentType};
use bolero::TypeGenerator;
use bolero::generator::produce;
use reset_totp::body::{Subject, parse};
use reset_totp::contract::chat::reset_totp::secrets::{
    AttemptRefusal, EmailCode, Method, Proof, Receipt, Refusal, Target, TotpKey,
};
use reset_totp::contract::chat::reset_totp::users::{Selector, User};
use reset_totp::contract::exports::chat::reset_totp::handler::{Caller, Request};
use reset_totp::decision::{EDIT_OTHER_USER_TOTP, Host, decide};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use totp_lite::{Sha1, totp_custom};

const NOW: u64 = 1_234_567_890;
const STEP: u64 = NOW / 30;
const KEY: &[u8] = b"12345678901234567890";
const BACKUP_CODE: &str = "ABCD2345";
const EMAIL_CODE: &str = "600613";
const PASSWORD: &str = "c4bbcb1fbec99d65bf59d85c8cb62ee2db963f0fe106f483d9afa73bd4e39a8a";

#[derive(Debug, TypeGenerator)]
struct Case {
    host: Lent,
    bypass_token: bool,
    content_type: ContentType,
    code: Code,
    method: Option<Header>,
    whom: Whom,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Whom {
    Caller,
    Member(#[generator(0..4u8)] u8),
    Body(Body),
}

/// What the host lends.
#[derive(Clone, Debug, TypeGenerator)]
struct Lent {
    enabled: bool,
    excused: bool,
    bypass_token_allowed: bool,
    #[generator(0..=2u8)]
    window: u8,
    #[generator(produce::<Vec<Header>>().with().len(0..4usize))]
    methods: Vec<Header>,
    locked: bool,
    last_step: Option<Distance>,
    permitted: bool,
    answer: Answer,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Code {
    Absent,
    OfStep(Distance),
    OfStepInside {
        step: Distance,
        before: char,
        after: char,
    },
    Backup,
    ByEmail,
    Password,
    Digits(#[generator(0..1_000_000u32)] u32),
    Other(String),
}

/// Time steps from now.
#[derive(Clone, Copy, Debug, TypeGenerator)]
struct Distance(#[generator(-4..=4i8)] i8);

impl Distance {
    fn step(self) -> u64 {
        STEP.strict_add_signed(self.0.into())
    }
}

#[derive(Clone, Debug, TypeGenerator)]
enum Header {
    Totp,
    Email,
    Password,
    Other(String),
}

#[derive(Clone, Debug, TypeGenerator)]
enum Answer {
    Removed,
    NothingEnrolled,
    NotPermitted,
    UnknownTarget,
    ProofRefused,
    Other,
}

/// Laws 2 to 4 of the contract, and security.md's 9 and 14.
#[test]
fn nothing_is_reset_without_a_right_code_or_an_excuse() {
    fuzz(8_000, |case: &Case| {
        let (host, request) = (Noting::of(&case.host), case.request());
        let caller = Caller {
            id: "caller".to_owned(),
            bypass_token: case.bypass_token,
        };
        let response = decide(&host, &caller, &request);
        let asked = host.asked.take();
        let answer: Value = serde_json::from_str(&response.body).unwrap();
        let done = asked.iter().any(|call| matches!(call, Asked::Reset(..)))
            && case.host.answer.is_success();
        assert_eq!(
            (response.status == 200, answer["success"] == true),
            (done, done),
            "{answer}"
        );
        assert!(matches!(response.status, 200 | 400), "{answer}");
        let subject = parse(request.content_type.as_deref(), &request.body);
        for (place, call) in asked.iter().enumerate() {
            match call {
                Asked::Find if !case.host.permitted => panic!("a look-up without the permission"),
                Asked::Find => {}
                Asked::Reset(proof, target) => {
                    assert_eq!(place + 1, asked.len(), "the effect is the last call");
                    case.is_proof(proof);
                    case.is_target(target, subject.as_ref().unwrap());
                }
            }
        }
    });
}

impl Case {
    fn request(&self) -> Request {
        Request {
            content_type: self.content_type.text().map(String::from),
            two_factor_code: self.code.text(),
            two_factor_method: self.method.as_ref().map(|method| method.name().to_owned()),
            body: self.whom.body(),
        }
    }

    /// The proof is what the code proves, or an excuse that the host gave.
    fn is_proof(&self, proof: &Proof) {
        let (host, code) = (&self.host, entered(&self.code.text().unwrap_or_default()));
        let known: Vec<_> = host
            .methods
            .iter()
            .filter(|method| !matches!(method, Header::Other(_)))
            .collect();
        let has = |wanted: fn(&Header) -> bool| known.iter().any(|method| wanted(method));
        let excused = !host.enabled
            || self.bypass_token && host.bypass_token_allowed
            || known.is_empty() && host.excused;
        let proved = match proof {
            Proof::None => excused,
            Proof::TotpStep(step) => {
                code == code_of(*step)
                    && step.abs_diff(STEP) <= host.window.into()
                    && host.last_step.is_none_or(|last| *step > last.step())
                    && has(|method| matches!(method, Header::Totp))
            }
            Proof::BackupCode(hash) => {
                code == BACKUP_CODE
                    && *hash == hash_of(&code)
                    && has(|method| matches!(method, Header::Totp))
            }
            Proof::EmailCode => code == EMAIL_CODE && has(|method| matches!(method, Header::Email)),
            // Only who prefers it, never who asks for it.
            Proof::Password => code == PASSWORD && matches!(known.first(), Some(Header::Password)),
            Proof::Other(_) => false,
        };
        let counted = matches!(proof, Proof::None) || !host.locked;
        assert!(proved && counted, "{proof:?} is not proved by {code:?}");
    }

    /// The target is whom the body names, and the caller may reset them.
    fn is_target(&self, target: &Target, subject: &Subject) {
        match (target, subject) {
            (Target::Caller, Subject::Caller) => {}
            (Target::User(id), Subject::Member(selectors)) => {
                assert!(self.host.permitted && self.host.enabled);
                assert!(!selectors.is_empty());
                for selector in selectors {
                    let user = user_of(selector).unwrap();
                    assert!(user.id == *id && !user.federated, "{user:?}");
                }
            }
            _ => panic!("{target:?} is not {subject:?}"),
        }
    }
}

/// Without blanks around, and without the separator that apps show between two halves.
fn entered(text: &str) -> String {
    let characters: Vec<_> = text.trim().chars().collect();
    match *characters {
        [a, b, c, separator, d, e, f] if separator == '-' || separator.is_whitespace() => {
            [a, b, c, d, e, f].into_iter().collect()
        }
        _ => characters.into_iter().collect(),
    }
}

impl Whom {
    fn body(&self) -> Vec<u8> {
        match self {
            Self::Caller => b"{}".to_vec(),
            Self::Member(number) => format!(r#"{{"userId":"u{number}"}}"#).into_bytes(),
            Self::Body(body) => body.bytes(),
        }
    }
}

impl Code {
    fn text(&self) -> Option<String> {
        Some(match self {
            Self::Absent => return None,
            Self::OfStep(distance) => code_of(distance.step()),
            Self::OfStepInside {
                step,
                before,
                after,
            } => format!("{before}{}{after}", code_of(step.step())),
            Self::Backup => BACKUP_CODE.to_owned(),
            Self::ByEmail => EMAIL_CODE.to_owned(),
            Self::Password => PASSWORD.to_owned(),
            Self::Digits(number) => format!("{number:06}"),
            Self::Other(text) => text.clone(),
        })
    }
}

fn code_of(step: u64) -> String {
    totp_custom::<Sha1>(1, 6, KEY, step)
}

fn hash_of(code: &str) -> String {
    Sha256::digest(code)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Header {
    fn name(&self) -> &str {
        match self {
            Self::Totp => "totp",
            Self::Email => "email",
            Self::Password => "password",
            Self::Other(name) => name,
        }
    }

    fn method(&self) -> Method {
        match self {
            Self::Totp => Method::Totp,
            Self::Email => Method::Email,
            Self::Password => Method::Password,
            Self::Other(name) => Method::Other(name.clone()),
        }
    }
}

impl Answer {
    fn is_success(&self) -> bool {
        matches!(self, Self::Removed | Self::NothingEnrolled)
    }
}

/// A user for each id and each name but u3, whom nobody is; u2 is federated.
fn user_of(selector: &Selector) -> Option<User> {
    let (Selector::Id(name) | Selector::Username(name)) = selector;
    (name != "u3").then(|| User {
        id: name.clone(),
        username: name.clone(),
        federated: name == "u2",
    })
}

/// A host call that gives away something.
#[derive(Debug)]
enum Asked {
    Find,
    Reset(Proof, Target),
}

struct Noting<'a> {
    lent: &'a Lent,
    asked: RefCell<Vec<Asked>>,
}

impl<'a> Noting<'a> {
    fn of(lent: &'a Lent) -> Self {
        Self {
            lent,
            asked: RefCell::default(),
        }
    }

    fn attempt<T>(&self, granted: T) -> Result<T, AttemptRefusal> {
        if self.lent.locked {
            Err(AttemptRefusal::Locked)
        } else {
            Ok(granted)
        }
    }
}

impl Host for Noting<'_> {
    fn now(&self) -> u64 {
        NOW
    }
    fn find(&self, selector: &Selector) -> Option<User> {
        self.asked.borrow_mut().push(Asked::Find);
        user_of(selector)
    }
    fn caller_has(&self, permission: &str) -> bool {
        assert_eq!(permission, EDIT_OTHER_USER_TOTP);
        self.lent.permitted
    }
    fn two_factor_enabled(&self) -> bool {
        self.lent.enabled
    }
    fn totp_window(&self) -> u8 {
        self.lent.window
    }
    fn missing_factor_allowed(&self) -> bool {
        self.lent.excused
    }
    fn bypass_token_allowed(&self) -> bool {
        self.lent.bypass_token_allowed
    }
    fn methods(&self) -> Vec<Method> {
        self.lent.methods.iter().map(Header::method).collect()
    }
    fn begin_totp_code_attempt(&self) -> Result<TotpKey, AttemptRefusal> {
        self.attempt(TotpKey {
            key: KEY.to_vec(),
            last_step: self.lent.last_step.map(Distance::step),
        })
    }
    fn begin_backup_code_attempt(&self) -> Result<Vec<u8>, AttemptRefusal> {
        self.attempt(["wxyz6789", BACKUP_CODE].map(Sha256::digest).concat())
    }
    fn send_email_code(&self) -> Result<EmailCode, AttemptRefusal> {
        self.attempt(EmailCode {
            sent_now: self.lent.excused,
            expires: NOW + 3600,
            recipient: "caller".to_owned(),
        })
    }
    fn check_email_code(&self, code: &str) -> Result<bool, AttemptRefusal> {
        self.attempt(code == EMAIL_CODE)
    }
    fn check_password(&self, digest: &str) -> Result<bool, AttemptRefusal> {
        self.attempt(digest == PASSWORD)
    }
    fn reset(&self, proof: &Proof, target: &Target) -> Result<Receipt, Refusal> {
        let call = Asked::Reset(proof.clone(), target.clone());
        self.asked.borrow_mut().push(call);
        match self.lent.answer {
            Answer::Removed => Ok(Receipt::Removed),
            Answer::NothingEnrolled => Ok(Receipt::NothingEnrolled),
            Answer::NotPermitted => Err(Refusal::NotPermitted),
            Answer::UnknownTarget => Err(Refusal::UnknownTarget),
            Answer::ProofRefused => Err(Refusal::ProofRefused),
            Answer::Other => Err(Refusal::Other("later".to_owned())),
        }
    }
}
