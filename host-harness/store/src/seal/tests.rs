use super::*;
use chat_domain::settings::SETTINGS;
use std::collections::HashSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// "the key of the tests, 32 bytes!!" and "another key of the tests: 32 b.!".
const KEY: &str = "dGhlIGtleSBvZiB0aGUgdGVzdHMsIDMyIGJ5dGVzISE=";
const OTHER: &str = "YW5vdGhlciBrZXkgb2YgdGhlIHRlc3RzOiAzMiBiLiE=";

/// The id of the first: the SHA-256 of the label and the key, by another program.
const KEY_ID: &str = "2273be9f";

const SECRET: &str = "JBSWY3DPEHPK3PXP";

fn of(keys: &[&str]) -> Seal {
    Keys::parse(&keys.join("\n")).unwrap().into()
}

fn place() -> Column<'static> {
    TOTP_KEY.of("acme", "alice")
}

#[test]
fn the_first_key_seals_and_all_open() {
    let (old, new) = (of(&[KEY]), of(&[OTHER, KEY]));
    let sealed = old.seal(&place(), SECRET);
    assert!(sealed.starts_with(&format!("s1.{KEY_ID}.")), "{sealed}");
    assert!(sealed.starts_with(&old.beginning().unwrap()));
    assert_eq!(new.open(&place(), &sealed).unwrap().expose_secret(), SECRET);
    let renewed = new.renew(&place(), &sealed, StoreIs::Sealed).unwrap();
    assert!(renewed.starts_with(&new.beginning().unwrap()));
    let refused = old.open(&place(), &renewed).unwrap_err().to_string();
    let expected = format!(
        "totp.key of alice in acme cannot be opened: it is sealed under the key {}, which is not \
         there",
        new.key_id().unwrap()
    );
    assert_eq!(refused, expected);
    assert_eq!(
        of(&[OTHER])
            .open(&place(), &renewed)
            .unwrap()
            .expose_secret(),
        SECRET
    );
}

/// What a store holds is opened by every version to come. Another program sealed this, which
/// computes the vector of draft-irtf-cfrg-xchacha-03 appendix A.3.1.
#[test]
fn the_form_stays_as_it_is() {
    const SEALED_ONCE: &str = "s1.2273be9f.AAECAwQFBgcICQoLDA0ODxAREhMUFRYX4mkffM4Uwli0uDC\
                               -i28J6TNP3lMIK5AH7S2hTlbvA5A";
    let opened = of(&[KEY]).open(&place(), SEALED_ONCE).unwrap();
    assert_eq!(opened.expose_secret(), SECRET);
}

#[test]
fn the_same_value_is_never_sealed_twice_alike() {
    let seal = of(&[KEY]);
    let sealed: HashSet<_> = (0..1000).map(|_| seal.seal(&place(), SECRET)).collect();
    assert_eq!(sealed.len(), 1000);
}

#[test]
fn a_value_is_opened_in_its_own_place_alone() {
    let seal = of(&[KEY]);
    let column = |workspace, account, column| Column {
        workspace,
        account,
        column,
    };
    let sealed = seal.seal(&column("acme", "alice", "totp.key"), SECRET);
    for other in [
        column("globex", "alice", "totp.key"),
        column("acme", "bob", "totp.key"),
        column("acme", "alice", "pending_totp.key"),
        column("acme", "", "totp.key"),
        column("", "alice", "totp.key"),
        column("acmea", "lice", "totp.key"),
        column("acme", "alicet", "otp.key"),
        column("acmealice", "", "totp.key"),
        column("alice", "acme", "totp.key"),
    ] {
        let refused = seal.open(&other, &sealed).unwrap_err().to_string();
        assert!(
            refused.ends_with("it was changed, or sealed for another place"),
            "{refused}"
        );
    }
    let names: HashSet<_> = SEALED.iter().map(|sealed| sealed.name).collect();
    assert_eq!(names.len(), SEALED.len(), "no two columns are one place");
    for sealed in SEALED {
        assert_eq!(sealed.name, format!("{}.{}", sealed.table, sealed.column));
    }
}

#[test]
fn every_changed_bit_and_every_missing_or_further_byte_is_refused() {
    let seal = of(&[KEY, OTHER]);
    let sealed = seal.seal(&place(), SECRET);
    for byte in 0..sealed.len() {
        for bit in 0..7 {
            let mut changed = sealed.clone().into_bytes();
            changed[byte] ^= 1 << bit;
            let changed = String::from_utf8(changed).unwrap();
            assert!(seal.open(&place(), &changed).is_err(), "{changed}");
        }
        for cut in [&sealed[..byte], &sealed[byte + 1..]] {
            assert!(seal.open(&place(), cut).is_err(), "{cut}");
        }
    }
    for more in ["A", "=", " ", "\n", "\0"] {
        assert!(seal.open(&place(), &format!("{sealed}{more}")).is_err());
        assert!(seal.open(&place(), &format!("{more}{sealed}")).is_err());
    }
}

/// Whoever could write a store's file would write a key of his own.
#[test]
fn a_plain_value_is_refused_by_keys_and_a_sealed_one_without() {
    let (sealing, plain) = (of(&[KEY]), Seal::none());
    assert_eq!(plain.seal(&place(), SECRET), SECRET);
    assert_eq!(
        plain.open(&place(), SECRET).unwrap().expose_secret(),
        SECRET
    );
    let refused = sealing.open(&place(), SECRET).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "totp.key of alice in acme cannot be opened: it is not sealed, and the store is"
    );
    assert!(sealing.renew(&place(), SECRET, StoreIs::Sealed).is_err());
    let sealed = sealing.renew(&place(), SECRET, StoreIs::Plain).unwrap();
    assert_eq!(
        sealing.open(&place(), &sealed).unwrap().expose_secret(),
        SECRET
    );
    let refused = plain.open(&place(), &sealed).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "totp.key of alice in acme cannot be opened: it is sealed, and there is no key"
    );
    let elsewhere = TOTP_KEY.of("acme", "bob");
    assert!(sealing.renew(&elsewhere, &sealed, StoreIs::Plain).is_err());
}

/// Of a key, nothing but the id, which is a hash.
#[test]
fn nothing_that_is_shown_tells_a_secret_or_a_key() {
    let seal = of(&[KEY, OTHER]);
    let sealed = seal.seal(&place(), SECRET);
    let mut shown = vec![format!("{seal:?}"), format!("{:?}", Keys::generate())];
    let source = KeySource::Text(KEY.into());
    shown.push(format!("{source:?}"));
    for text in [
        SECRET,
        &sealed[..sealed.len() - 1],
        "s1.x",
        "s1..",
        &format!("s1.{}.", "x".repeat(5000)),
        "s1.\u{1b}[0m.",
    ] {
        let refused = seal.open(&place(), text).unwrap_err();
        shown.push(format!("{refused} {refused:?}"));
    }
    for text in [&KEY[1..], "x", &format!("{KEY}\n{KEY}"), ""] {
        let refused = Keys::parse(text).unwrap_err();
        shown.push(format!("{refused} {refused:?}"));
    }
    let refused = Keys::read(Path::new(KEY)).unwrap_err();
    shown.push(format!("{refused} {refused:?}"));
    for text in shown {
        assert!(text.len() < 1000, "{text}");
        for secret in [SECRET, &KEY[4..12], &OTHER[4..12], &sealed[12..30]] {
            assert!(!text.contains(secret), "{text} tells {secret}");
        }
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

#[test]
fn a_store_is_admitted_by_its_own_key_alone() {
    let (none, key, both, other) = (Seal::none(), of(&[KEY]), of(&[OTHER, KEY]), of(&[OTHER]));
    let sealing = key.sealing().unwrap();
    assert_eq!(none.sealing(), None);
    assert_eq!(none.admit(None), Ok(()));
    assert_eq!(key.admit(None), Err(NotAdmitted::Unsealed));
    let refused = none.admit(Some(&sealing));
    assert_eq!(refused, Err(NotAdmitted::NoKey(KEY_ID.to_owned())));
    assert_eq!(key.admit(Some(&sealing)), Ok(()));
    assert_eq!(both.admit(Some(&sealing)), Ok(()));
    let refused = other.admit(Some(&sealing));
    assert_eq!(refused, Err(NotAdmitted::OtherKey(KEY_ID.to_owned())));
    // A value of the store is no check value.
    for check_value in [key.seal(&place(), CHECK), CHECK.to_owned(), String::new()] {
        let changed = Sealing {
            check_value,
            ..sealing.clone()
        };
        assert_eq!(key.admit(Some(&changed)), Err(NotAdmitted::Changed));
    }
    let told = NotAdmitted::NoKey(KEY_ID.to_owned()).to_string();
    assert!(
        !told.contains('\n') && told.contains("--key-file"),
        "{told}"
    );
    assert!(NotAdmitted::Unsealed.to_string().contains("store rekey"));
}

#[test]
fn all_clones_use_the_keys_that_one_of_them_is_given() {
    let (first, new) = (of(&[KEY]), of(&[OTHER, KEY]));
    let clone = first.clone();
    first.use_keys_of(&new);
    assert_eq!(clone.key_id(), new.key_id());
    clone.use_keys_of(&Seal::none());
    assert!(first.is_none() && !new.is_none());
}

#[test]
fn keys_are_lines_of_a_text_beside_blank_lines_and_comments() {
    let text = format!("# for acme\n\n  {KEY}\r\n#{OTHER}\n\t\n{OTHER}");
    let keys = Keys::parse(&text).unwrap();
    assert_eq!(keys.first().id, KEY_ID);
    assert_eq!(
        format!("{keys:?}"),
        format!("{:?}", of(&[KEY, OTHER]).0.load().as_ref().unwrap())
    );
    let long = BASE64URL_NOPAD.encode(&[0xff; 32]);
    for (text, problem) in [
        (
            "",
            "there is no key: `host-harness store new-key` prints one",
        ),
        (
            "# none\n",
            "there is no key: `host-harness store new-key` prints one",
        ),
        (
            &format!("{KEY}\n\n{KEY}"),
            "line 3 of the keys repeats a key",
        ),
        (
            &format!("# a key\n{}", &KEY[..40]),
            "line 2 of the keys is none",
        ),
        (&format!("{KEY}{KEY}"), "line 1 of the keys is none"),
        (&format!("key={KEY}"), "line 1 of the keys is none"),
        (&long, "line 1 of the keys is none"),
    ] {
        let refused = Keys::parse(text).unwrap_err().to_string();
        assert!(refused.starts_with(problem), "{refused}");
    }
}

#[test]
fn a_new_key_is_a_line_of_a_key_file_and_no_other_is_like_it() {
    let keys: HashSet<_> = (0..100)
        .map(|_| new_key().expose_secret().to_owned())
        .collect();
    assert_eq!(keys.len(), 100);
    for key in keys {
        assert!(Keys::parse(&key).is_ok());
    }
    assert!(Keys::generate().first().id != Keys::generate().first().id);
}

#[test]
fn a_key_file_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.key");
    let refused = || {
        KeySource::File(path.clone())
            .seal()
            .unwrap_err()
            .to_string()
    };
    let shown = path.display();
    assert!(refused().starts_with(&format!("cannot read the key file {shown}: No such file")));
    std::fs::write(&path, KEY).unwrap();
    let set = |mode| std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    for mode in [0o604, 0o602, 0o644, 0o666] {
        set(mode);
        assert_eq!(
            refused(),
            format!("everybody may read or write the key file {shown}: `chmod o-rw {shown}` first")
        );
    }
    for mode in [0o400, 0o600, 0o640] {
        set(mode);
        let seal = KeySource::File(path.clone()).seal().unwrap();
        assert_eq!(seal.key_id().as_deref(), Some(KEY_ID));
    }
    std::fs::write(&path, [0xff]).unwrap();
    assert!(refused().starts_with("cannot read the key file"));
    let refused = Keys::read(folder.path()).unwrap_err().to_string();
    assert!(refused.ends_with("it is no regular file"), "{refused}");
    assert!(KeySource::Nowhere.seal().unwrap().is_none());
}

/// What a store seals anew is what it seals.
#[test]
fn the_settings_that_are_sealed_are_those_that_are_secret() {
    let secret = SETTINGS.iter().filter(|setting| setting.is_secret());
    let names: Vec<_> = secret
        .map(|setting| format!("'{}'", setting.name))
        .collect();
    assert_eq!(SETTING.condition, format!("name IN ({})", names.join(", ")));
}
