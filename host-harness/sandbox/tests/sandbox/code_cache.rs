//! Compiled code on the disk: used again, and never where the host did not write
//! it.

use chat_testing::guest::Guest;
use plugin_sandbox::admission::{Admissions, CacheError, Candidate, CodeCache, Policy};
use plugin_sandbox::grants::{Capability, Grants};
use plugin_sandbox::runtime::{Capacity, Runtime};
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// What somebody else does to a file.
type Forgery = fn(&mut Vec<u8>);
type Replacement = fn(&Path);

#[tokio::test]
async fn a_plugin_is_compiled_once_for_all_starts_of_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let entry = admitted(folder.path(), "a").await;
    let before = file(&entry);
    assert_eq!(admitted(folder.path(), "a").await, entry);
    assert_eq!(file(&entry), before, "it was not written again");
    assert_eq!(entries(folder.path()).len(), 1);
}

/// What belongs to plugins and engines that are gone goes, too; what is no entry stays.
#[tokio::test]
async fn the_entries_that_were_used_last_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let used = admitted(folder.path(), "a").await;
    let old = |number: u32| folder.path().join(format!("{number:064x}-{:016x}", 0));
    for number in 0..150 {
        fs::write(old(number), "old").unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(number.into());
        let times = FileTimes::new().set_accessed(at);
        File::open(old(number)).unwrap().set_times(times).unwrap();
    }
    fs::write(folder.path().join("notes"), "mine").unwrap();
    let long_ago = FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH);
    File::open(&used).unwrap().set_times(long_ago).unwrap();
    assert_eq!(
        admitted(folder.path(), "a").await,
        used,
        "which is used now"
    );
    admitted(folder.path(), "b").await;
    assert!(used.exists() && folder.path().join("notes").exists());
    assert!(
        !old(51).exists() && old(52).exists(),
        "98 of the old ones are left"
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        100 + 2,
        "with the key"
    );
}

#[tokio::test]
async fn other_grants_need_no_other_code() {
    let folder = tempfile::tempdir().unwrap();
    let admissions = admissions(folder.path());
    let candidate = Candidate::new(guest("a"), None);
    let all = Policy {
        grants: Grants::all(),
        ..Policy::default()
    };
    let fewer = Policy {
        grants: [Capability::Settings, Capability::Secrets]
            .into_iter()
            .collect(),
        ..Policy::default()
    };
    let _living = admissions.admit(&candidate, &all).await.unwrap();
    fs::remove_file(entries(folder.path()).first().unwrap()).unwrap();
    admissions.admit(&candidate, &fewer).await.unwrap();
    assert!(entries(folder.path()).is_empty(), "it was compiled again");
}

#[tokio::test]
async fn an_entry_that_the_host_did_not_write_is_compiled_anew() {
    let forgeries: [(&str, Forgery); 5] = [
        ("changed code", |entry| *entry.last_mut().unwrap() ^= 1),
        ("a changed tag", |entry| *entry.first_mut().unwrap() ^= 1),
        ("half an entry", |entry| entry.truncate(entry.len() / 2)),
        ("less than a tag", |entry| entry.truncate(31)),
        ("nothing", Vec::clear),
    ];
    for (name, forge) in forgeries {
        let folder = tempfile::tempdir().unwrap();
        let entry = admitted(folder.path(), "a").await;
        let mut forged = fs::read(&entry).unwrap();
        forge(&mut forged);
        fs::write(&entry, &forged).unwrap();
        let before = file(&entry);
        assert_eq!(admitted(folder.path(), "a").await, entry, "{name}");
        assert_ne!(fs::read(&entry).unwrap(), forged, "{name}");
        let after = file(&entry);
        assert_ne!(after, before, "{name}");
        admitted(folder.path(), "a").await;
        assert_eq!(file(&entry), after, "{name}: it is right again");
    }
}

#[tokio::test]
async fn an_entry_serves_under_its_own_name_alone() {
    let folder = tempfile::tempdir().unwrap();
    let a = admitted(folder.path(), "a").await;
    let b = admitted(folder.path(), "b").await;
    let code_of_a = fs::read(&a).unwrap();
    fs::write(&b, &code_of_a).unwrap();
    admitted(folder.path(), "b").await;
    assert_ne!(fs::read(&b).unwrap(), code_of_a);
}

#[tokio::test]
async fn code_for_another_engine_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let entry = admitted(folder.path(), "a").await;
    let other = entry.to_str().unwrap().rsplit_once('-').unwrap().0;
    let other = PathBuf::from(format!("{other}-0123456789abcdef"));
    fs::rename(&entry, &other).unwrap();
    admitted(folder.path(), "a").await;
    assert!(entry.exists() && other.exists());
}

#[tokio::test]
async fn code_under_another_key_is_compiled_anew() {
    let replacements: [(&str, Replacement); 3] = [
        ("gone", |key| fs::remove_file(key).unwrap()),
        ("too short", |key| fs::write(key, b"short").unwrap()),
        ("readable by others", |key| mode(key, 0o644)),
    ];
    for (name, replace) in replacements {
        let folder = tempfile::tempdir().unwrap();
        let entry = admitted(folder.path(), "a").await;
        let (before, key) = (file(&entry), folder.path().join("key"));
        let old = fs::read(&key).unwrap();
        replace(&key);
        admitted(folder.path(), "a").await;
        assert_ne!(fs::read(&key).unwrap(), old, "{name}");
        assert_ne!(file(&entry), before, "{name}");
    }
}

/// Whoever could write to the folder before it was closed to them may have left a
/// key that they know. Only root can try it: the others cannot read such a key.
#[tokio::test]
async fn the_key_of_another_user_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    admitted(folder.path(), "a").await;
    let key = folder.path().join("key");
    let planted = fs::read(&key).unwrap();
    if chown(&key, Some(65534), None).is_err() {
        return;
    }
    admitted(folder.path(), "a").await;
    assert_ne!(fs::read(&key).unwrap(), planted);
}

#[test]
fn a_folder_that_others_can_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for bits in [0o777, 0o770, 0o702] {
        mode(folder.path(), bits);
        let error = CodeCache::open(folder.path()).err().unwrap();
        assert!(matches!(error, CacheError::Exposed { .. }), "{bits:o}");
        assert!(error.to_string().contains("can be written by other users"));
    }
    mode(folder.path(), 0o755);
    assert!(CodeCache::open(folder.path()).is_ok());
}

#[test]
fn a_folder_that_is_not_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "").unwrap();
    symlink(folder.path(), &link).unwrap();
    let error = CodeCache::open(&file).err().unwrap();
    assert!(matches!(error, CacheError::Unusable { .. }), "{error}");
    let error = CodeCache::open(&link).err().unwrap();
    assert!(error.to_string().contains("is a link"), "{error}");
}

#[test]
fn a_new_folder_and_its_key_are_for_the_host_alone() {
    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("new").join("cache");
    CodeCache::open(&cache).unwrap();
    assert_eq!(fs::metadata(&cache).unwrap().mode() & 0o777, 0o700);
    let key = fs::metadata(cache.join("key")).unwrap();
    assert_eq!((key.mode() & 0o777, key.len()), (0o600, 32));
}

/// Admits a guest in a new runtime, and says where its code is kept.
async fn admitted(folder: &Path, text: &str) -> PathBuf {
    let candidate = Candidate::new(guest(text), None);
    let policy = Policy {
        grants: Grants::all(),
        ..Policy::default()
    };
    let plugin = admissions(folder).admit(&candidate, &policy).await.unwrap();
    let digest = plugin.digest().to_string();
    let hash = digest.trim_start_matches("sha256:");
    let mut entries = entries(folder).into_iter();
    entries
        .find(|entry| entry.to_str().unwrap().contains(hash))
        .unwrap()
}

fn admissions(folder: &Path) -> Admissions {
    Admissions::new(Runtime::new(Capacity::default()).unwrap())
        .with_cache(CodeCache::open(folder).unwrap())
}

fn guest(text: &str) -> Vec<u8> {
    let fields = format!(r#"(memory (export "memory") 1) (data (i32.const 2000) "{text}")"#);
    Guest {
        fields: &fields,
        ..Guest::default()
    }
    .component()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap();
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_name().unwrap() != "key")
        .collect()
}

/// Which file this is, and when it was put there.
fn file(path: &Path) -> (u64, i64, i64) {
    let found = fs::metadata(path).unwrap();
    (found.ino(), found.mtime(), found.mtime_nsec())
}

fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
}
