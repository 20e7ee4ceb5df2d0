//! What the host itself knows of TOTP (RFC 6238), backup codes and codes by
//! e-mail: enough to enrol a member, to log one in, and to check, at the commit,
//! the proof that a plugin claims.

use crate::time::Timestamp;
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use totp_lite::{Sha1, totp_custom};

/// Seconds in a time step, the default of RFC 6238 section 4.1.
pub const STEP_SECONDS: u64 = 30;

/// Digits in a code: what authenticator apps show (RFC 4226 section 5.3).
const CODE_DIGITS: u32 = 6;

/// Bytes in a new key: the length that RFC 4226 section 4 recommends.
const KEY_BYTES: usize = 20;

/// The shared secret K of an account.
#[derive(Clone, Debug)]
pub struct TotpKey(SecretSlice<u8>);

impl TotpKey {
    /// The key made of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// A new key of `random`.
    pub fn generate(random: &mut impl Rng) -> Self {
        let mut bytes = vec![0; KEY_BYTES];
        random.fill_bytes(&mut bytes);
        Self::new(bytes)
    }

    /// The raw bytes.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// The key as authenticator apps take it: base32 (RFC 4648) without padding.
    pub fn to_base32(&self) -> String {
        BASE32_NOPAD.encode(self.expose())
    }

    /// The key of `username` as the address that a QR code brings to an
    /// authenticator app, which says that `issuer` has issued it. An app takes a second key
    /// of the same two names for the first, and overwrites that.
    pub fn to_url(&self, issuer: &str, username: &str) -> String {
        let [issuer, label] = [issuer, username].map(|n| utf8_percent_encode(n, NON_ALPHANUMERIC));
        let secret = self.to_base32();
        format!("otpauth://totp/{issuer}:{label}?secret={secret}&issuer={issuer}")
    }

    /// The key that [`TotpKey::to_base32`] wrote; none where `text` is not one.
    pub fn from_base32(text: &str) -> Option<Self> {
        BASE32_NOPAD.decode(text.as_bytes()).ok().map(Self::new)
    }

    /// The six-digit code of the time step `step`.
    pub fn code(&self, step: u64) -> String {
        totp_custom::<Sha1>(1, CODE_DIGITS, self.expose(), step)
    }

    /// The latest time step, at most `window` from the one of `now`, whose code
    /// is `code`. Takes the same time whichever step matches, or none.
    pub fn matching_step(&self, code: &str, now: Timestamp, window: u32) -> Option<u64> {
        let (current, window) = (step_of(now), u64::from(window));
        (current.saturating_sub(window)..=current + window)
            .filter(|step| self.has_code(*step, code))
            .max()
    }

    /// Whether `code` is the code of `step`, in constant time.
    pub fn has_code(&self, step: u64, code: &str) -> bool {
        self.code(step).as_bytes().ct_eq(code.as_bytes()).into()
    }
}

/// The time step of `now`: T of RFC 6238 section 4.2.
pub fn step_of(now: Timestamp) -> u64 {
    now.seconds() / STEP_SECONDS
}

/// Backup codes that an account gets.
const BACKUP_CODES: usize = 12;

/// Characters in a backup code.
const BACKUP_CODE_LENGTH: usize = 8;

/// What backup codes are made of: digits and letters that no font confuses.
const BACKUP_CODE_ALPHABET: &[u8; 55] = b"23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz";

/// An account's new backup codes: what lets its holder in without the
/// authenticator app, each once.
#[derive(Debug)]
pub struct BackupCodes(Vec<SecretString>);

impl BackupCodes {
    /// Twelve of `random`.
    pub fn generate(random: &mut impl Rng) -> Self {
        let mut code = || -> String {
            (0..BACKUP_CODE_LENGTH)
                .filter_map(|_| BACKUP_CODE_ALPHABET.choose(random))
                .map(|&character| char::from(character))
                .collect()
        };
        Self((0..BACKUP_CODES).map(|_| code().into()).collect())
    }

    /// As the holder enters them.
    pub fn expose(&self) -> Vec<&str> {
        self.0.iter().map(ExposeSecret::expose_secret).collect()
    }

    /// As [`code_hash`] writes them.
    pub fn hashes(&self) -> Vec<String> {
        self.expose().into_iter().map(code_hash).collect()
    }
}

/// A code as its holder entered it, in the form in which codes are compared: without the
/// blanks around it, and six digits without the one blank or hyphen that apps and mails
/// show in their middle.
pub fn entered(text: &SecretString) -> SecretString {
    let text = text.expose_secret().trim();
    let is_separator = |c: char| c == '-' || c.is_whitespace();
    let halves = text.split_once(is_separator);
    let halves = halves.filter(|(first, last)| first.len() == 3 && last.len() == 3);
    let joined = halves.map(|(first, last)| SecretString::from([first, last].concat()));
    let joined = joined.filter(is_six_digits);
    joined.unwrap_or_else(|| text.into())
}

/// Whether this, as [`entered`] gives it, has the form of a TOTP code or a code by e-mail:
/// what has not is no guess at one.
pub fn is_six_digits(code: &SecretString) -> bool {
    let code = code.expose_secret().as_bytes();
    code.len() == CODE_DIGITS as usize && code.iter().all(u8::is_ascii_digit)
}

/// Whether this, as [`entered`] gives it, has the form of a backup code.
pub fn is_backup_code(code: &SecretString) -> bool {
    let code = code.expose_secret().as_bytes();
    code.len() == BACKUP_CODE_LENGTH && code.iter().all(|c| BACKUP_CODE_ALPHABET.contains(c))
}

/// A new code of `random` to be sent by e-mail: six digits.
pub fn email_code(random: &mut impl Rng) -> SecretString {
    format!("{:06}", random.random_range(0..1_000_000)).into()
}

/// The form in which a backup code, or a code by e-mail, is stored: lower-case
/// hexadecimal SHA-256.
pub fn code_hash(code: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(code))
}

/// Whether this hash of a code by e-mail is bcrypt, as Rocket.Chat writes it: to compare it takes
/// tens of milliseconds.
pub fn is_slow(hash: &str) -> bool {
    hash.starts_with('$')
}

/// Whether `hash` is that of this code by e-mail: as [`code_hash`] writes it, or one that
/// [`is_slow`].
pub fn is_hash_of_email_code(hash: &str, code: &SecretString) -> bool {
    let code = code.expose_secret();
    match is_slow(hash) {
        true => matches!(bcrypt::verify(code, hash), Ok(true)),
        false => hash.as_bytes().ct_eq(code_hash(code).as_bytes()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_by_email_is_known_by_either_hash() {
        let bcrypt = bcrypt::hash("012345", 4).unwrap();
        for hash in [&*bcrypt, &code_hash("012345")] {
            assert!(is_hash_of_email_code(hash, &"012345".into()), "{hash}");
            for other in ["012346", "", "012-345", hash] {
                assert!(!is_hash_of_email_code(hash, &other.into()), "{other}");
            }
        }
        assert!(!is_hash_of_email_code("$2b$10$no", &"012345".into()));
    }

    #[test]
    fn a_code_is_read_as_people_enter_it() {
        for (text, code) in [
            ("012345", "012345"),
            (" 012 345\n", "012345"),
            ("012-345", "012345"),
            ("\u{a0}012\u{a0}345", "012345"),
            (" a2b3c4d5 ", "a2b3c4d5"),
            // What is something else stays what it is.
            ("012  345", "012  345"),
            ("0 12345", "0 12345"),
            ("abc def", "abc def"),
            ("012-345-678", "012-345-678"),
            (" \t", ""),
        ] {
            assert_eq!(entered(&text.into()).expose_secret(), code, "{text:?}");
        }
    }

    #[test]
    fn what_has_no_codes_form_is_told_apart() {
        for (text, six_digits, backup_code) in [
            ("012345", true, false),
            ("a2b3c4d5", false, true),
            ("23456789", false, true),
            ("", false, false),
            ("12345", false, false),
            ("1234567", false, false),
            ("１２３４５６", false, false),
            ("a1b2c3d4", false, false),
            ("a2b3c4d", false, false),
        ] {
            let code = text.into();
            let forms = (is_six_digits(&code), is_backup_code(&code));
            assert_eq!(forms, (six_digits, backup_code), "{text:?}");
        }
    }

    /// RFC 6238 appendix B, for SHA-1.
    #[test]
    fn the_codes_are_those_of_rfc_6238() {
        let key = TotpKey::new(b"12345678901234567890".to_vec());
        let now = Timestamp::from_millis(1_111_111_109_000);
        assert_eq!(key.code(step_of(now)), "081804");
        assert!(key.has_code(step_of(now), "081804"));
        assert!(!key.has_code(step_of(now), "081805"));
        assert!(!key.has_code(step_of(now) + 1, "081804"));
    }

    #[test]
    fn a_code_is_found_in_the_window_and_nowhere_else() {
        let key = TotpKey::new(b"12345678901234567890".to_vec());
        let now = Timestamp::from_millis(1_111_111_109_000);
        let step = step_of(now);
        for (away, window, found) in [(0, 0, true), (1, 0, false), (1, 1, true), (2, 1, false)] {
            for step in [step - away, step + away] {
                let expected = found.then_some(step);
                assert_eq!(key.matching_step(&key.code(step), now, window), expected);
            }
        }
        let start = Timestamp::from_millis(0);
        assert_eq!(key.matching_step(&key.code(0), start, 10), Some(0));
    }

    #[test]
    fn generated_codes_have_their_length_and_alphabet() {
        let codes = BackupCodes::generate(&mut rand::rng());
        assert_eq!(codes.expose().len(), 12);
        for code in codes.expose() {
            let code = code.as_bytes();
            assert_eq!(code.len(), 8);
            assert!(code.iter().all(|c| BACKUP_CODE_ALPHABET.contains(c)));
        }
        let hashes: Vec<_> = codes.expose().into_iter().map(code_hash).collect();
        assert_eq!(codes.hashes(), hashes);
        let code = email_code(&mut rand::rng());
        let code = code.expose_secret();
        assert!(
            code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()),
            "{code}"
        );
    }

    #[test]
    fn an_address_holds_the_key_and_whose_it_is() {
        let key = TotpKey::new(b"12345678901234567890".to_vec());
        assert_eq!(
            key.to_url("chat.example", "a b&c"),
            "otpauth://totp/chat%2Eexample:a%20b%26c?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=chat%2Eexample"
        );
    }

    #[test]
    fn a_key_survives_base32_and_is_not_shown() {
        let key = TotpKey::generate(&mut rand::rng());
        let text = key.to_base32();
        assert_eq!(text.len(), 32);
        assert_eq!(TotpKey::from_base32(&text).unwrap().expose(), key.expose());
        assert!(TotpKey::from_base32("not base32!").is_none());
        assert!(!format!("{key:?}").contains(&text));
    }
}
