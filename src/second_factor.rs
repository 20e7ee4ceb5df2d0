//! TOTP codes (RFC 6238) and backup codes.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use totp_lite::Sha1;

/// Seconds in a time step, the default of RFC 6238 section 4.1.
pub const STEP_SECONDS: u64 = 30;

/// Digits in a code: what authenticator apps show (RFC 4226 section 5.3).
pub const CODE_DIGITS: u32 = 6;

/// Characters in a backup code.
pub const BACKUP_CODE_LENGTH: usize = 8;

/// What backup codes are made of: digits and letters that no font confuses.
pub const BACKUP_CODE_ALPHABET: &str = "23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz";

/// A code as the caller may enter it.
pub enum Code<'a> {
    /// The number that six ASCII digits show.
    Totp(u32),
    /// Eight characters of [`BACKUP_CODE_ALPHABET`].
    Backup(&'a str),
}

impl<'a> Code<'a> {
    /// Reads six ASCII digits, with at most one blank or hyphen in their middle, as apps and
    /// mails show them, or eight characters of the backup alphabet. Blanks around it are
    /// passed over; anything else is none.
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        if text.len() == BACKUP_CODE_LENGTH
            && text.chars().all(|c| BACKUP_CODE_ALPHABET.contains(c))
        {
            return Some(Self::Backup(text));
        }
        let is_separator = |c: char| c == '-' || c.is_whitespace();
        match text.split_once(is_separator) {
            Some((first, last)) => {
                let high = digits(first, CODE_DIGITS / 2)?;
                let low = digits(last, CODE_DIGITS / 2)?;
                Some(Self::Totp(high * 10_u32.pow(CODE_DIGITS / 2) + low))
            }
            None => digits(text, CODE_DIGITS).map(Self::Totp),
        }
    }
}

/// The number that so many ASCII digits show; none where there is anything else.
fn digits(text: &str, count: u32) -> Option<u32> {
    let all = text.len() == count as usize && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| all)
}

/// The latest time step after `last`, at most `window` steps from the one of
/// `now` (seconds of Unix time), whose code for `key` shows the number `code`. Takes the
/// same time whichever step matches, or none.
pub fn matching_step(
    key: &[u8],
    code: u32,
    now: u64,
    window: u8,
    last: Option<u64>,
) -> Option<u64> {
    let current = now / STEP_SECONDS;
    let window = u64::from(window);
    let unspent = last.map_or(0, |last| last.saturating_add(1));
    let keyed = Hmac::<Sha1>::new_from_slice(key).ok()?;
    let mut found = Choice::from(0);
    let mut matched = 0;
    let first = unspent.max(current.saturating_sub(window));
    for step in first..=current.saturating_add(window) {
        let equal = code_of(&keyed, step).ct_eq(&code);
        matched.conditional_assign(&step, equal);
        found |= equal;
    }
    bool::from(found).then_some(matched)
}

/// The code of the time step `step` (RFC 4226 section 5.3) for the key that
/// `keyed` has absorbed: once for all steps, as it is half of the work.
fn code_of(keyed: &Hmac<Sha1>, step: u64) -> u32 {
    let mac = keyed.clone().chain_update(step.to_be_bytes()).finalize();
    let mac: [u8; 20] = mac.into_bytes().into();
    let offset = usize::from(mac.last().copied().unwrap_or_default() & 0xf);
    let truncated = mac.iter().skip(offset).take(4);
    let truncated = truncated.fold(0, |number, byte| number << 8 | u32::from(*byte));
    (truncated & 0x7fff_ffff) % 10_u32.pow(CODE_DIGITS)
}

/// The hash under which the backup code `code` is stored, in lower-case
/// hexadecimal, if it is one of `hashes`: 32 bytes each, one after the other.
/// Takes the same time whichever matches, or none.
pub fn matching_backup_code(hashes: &[u8], code: &str) -> Option<String> {
    let hash = Sha256::digest(code);
    let mut found = Choice::from(0);
    for stored in hashes.chunks_exact(hash.len()) {
        found |= stored.ct_eq(&hash);
    }
    bool::from(found).then(|| hex(&hash))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0x0f])
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use totp_lite::totp_custom;

    /// The seed of RFC 6238 appendix B, for SHA-1.
    const KEY: &[u8] = b"12345678901234567890";

    fn number(code: &str) -> u32 {
        match Code::parse(code) {
            Some(Code::Totp(number)) => number,
            _ => panic!("{code} is no TOTP code"),
        }
    }

    #[test]
    fn the_codes_are_those_of_rfc_6238_appendix_b() {
        for (time, eight_digits) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            let code = &eight_digits[2..];
            assert_eq!(
                matching_step(KEY, number(code), time, 0, None),
                Some(time / 30),
                "{time}"
            );
        }
    }

    #[test]
    fn the_codes_are_those_of_totp_lite_whatever_the_key_and_the_step() {
        for length in [0, 1, 20, 63, 64, 65, 128] {
            let key: Vec<_> = (0..length).collect();
            for step in (0..200).chain([u32::MAX.into(), u64::MAX / STEP_SECONDS]) {
                let code = totp_custom::<Sha1>(1, CODE_DIGITS, &key, step);
                let now = step * STEP_SECONDS;
                assert_eq!(matching_step(&key, number(&code), now, 0, None), Some(step));
            }
        }
    }

    /// "94287082" is the code of step 1, which lasts from 30 s to 59 s.
    #[test]
    fn a_window_of_one_accepts_the_step_before_and_after() {
        for (now, accepted) in [
            (0, true),
            (29, true),
            (30, true),
            (59, true),
            (60, true),
            (89, true),
            (90, false),
        ] {
            let expected = accepted.then_some(1);
            assert_eq!(matching_step(KEY, 287_082, now, 1, None), expected, "{now}");
        }
    }

    #[test]
    fn the_window_is_as_wide_as_it_is_set() {
        let step_of_code = 1_234_567_890 / 30;
        for window in 0..=10 {
            for distance in 0..=11 {
                let accepted = (distance <= u64::from(window)).then_some(step_of_code);
                for step in [step_of_code - distance, step_of_code + distance] {
                    assert_eq!(matching_step(KEY, 5924, step * 30, window, None), accepted);
                    assert_eq!(
                        matching_step(KEY, 5924, step * 30 + 29, window, None),
                        accepted
                    );
                }
            }
        }
    }

    #[test]
    fn a_spent_step_and_those_before_it_do_not_match() {
        for (last, expected) in [(0, Some(1)), (1, None), (2, None), (u64::MAX, None)] {
            assert_eq!(matching_step(KEY, 287_082, 59, 1, Some(last)), expected);
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        assert_eq!(matching_step(KEY, 0, 0, 10, None), None);
        assert_eq!(matching_step(KEY, 0, u64::MAX, 10, None), None);
    }

    #[test]
    fn a_code_is_six_digits_or_eight_backup_characters() {
        for shown in [
            "012345",
            "012 345",
            "012-345",
            "012\u{a0}345",
            " 012345",
            "012345\n",
            "\t012-345\u{a0}",
        ] {
            assert!(
                matches!(Code::parse(shown), Some(Code::Totp(12_345))),
                "{shown:?}"
            );
        }
        for shown in ["23456789", " 23456789 ", "ABCDwxyz"] {
            assert!(
                matches!(Code::parse(shown), Some(Code::Backup(_))),
                "{shown:?}"
            );
        }
        for refused in [
            "",
            "12345",
            "1234567",
            "12345x",
            " 12345",
            "12345 ",
            "+12345",
            "-12345",
            "12 345",
            "12 3456",
            "123  456",
            "123 - 456",
            "123--456",
            "123_456",
            "1 2 3 4 5 6",
            "+12-345",
            "123-+45",
            "１２３４５６",
            "12345\0",
            "01234567",
            "ABCDEFGI",
            "ABCDEFGU",
            "ABCDEFGl",
            "ABCD EFG",
            "23456789A",
            "é34567",
        ] {
            assert!(Code::parse(refused).is_none(), "{refused:?}");
        }
    }

    #[test]
    fn a_backup_code_is_found_by_its_sha_256() {
        let hashes = ["ABCD2345", "abcd2345"].map(Sha256::digest).concat();
        for code in ["ABCD2345", "abcd2345"] {
            let hash = hex(&Sha256::digest(code));
            assert_eq!(matching_backup_code(&hashes, code), Some(hash));
        }
        assert_eq!(matching_backup_code(&hashes, "AbCD2345"), None);
        assert_eq!(matching_backup_code(&[], "ABCD2345"), None);
    }

    /// FIPS 180-2 appendix B.1.
    #[test]
    fn hashes_are_lower_case_hexadecimal() {
        assert_eq!(
            hex(&Sha256::digest("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
