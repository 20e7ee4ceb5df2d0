//! `new-plugin` and `componentize`.

use crate::served::Dev;
use crate::{host_harness, run};
use chat_testing::guest::PLUGIN;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What was written and built in this language.
fn built(language: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/new-plugin");
    let folder = target.join(language);
    assert!(
        folder.join("plugin.wasm").is_file(),
        "`cargo xtask test` makes it"
    );
    folder
}

/// What is written in a language builds, keeps the contract, and is served; `more` is what its
/// README adds to the commands.
fn is_whole(language: &str, more: &[&str]) {
    let folder = built(language);
    let (passes, report, log) = run(host_harness(["check", "plugin.wasm"])
        .args(more)
        .current_dir(&folder));
    assert!(passes, "{report}{log}");

    let config = folder.join("chat.toml");
    let more = more.iter().map(|word| match *word {
        "chat.toml" => config.to_str().unwrap(),
        word => word,
    });
    let more: Vec<_> = more.collect();
    let (dev, told) = Dev::start(&folder.join("plugin.wasm"), &more);
    let imports = "it may use wall-clock, users, permissions, settings, secrets\n";
    assert!(told.contains(imports), "{told}");
    let wrong = dev.paste(Some(("userId\"", "userld\"")));
    assert!(wrong.contains("invalid-params"), "{wrong}");
    assert_eq!(dev.paste(None), r#"{"success":true}"#);
    let again = dev.paste(None);
    assert!(again.contains("[totp-invalid]"), "{again}");
}

#[test]
fn a_new_plugin_in_rust_keeps_the_contract_and_answers_the_documented_call() {
    is_whole("rust", &[]);
}

#[test]
fn a_new_plugin_in_typescript_keeps_the_contract_and_answers_the_documented_call() {
    is_whole("typescript", &["--config", "chat.toml"]);
}

#[test]
fn a_new_plugin_in_python_keeps_the_contract_and_answers_the_documented_call() {
    is_whole("python", &["--config", "chat.toml"]);
}

/// As it was when it was written: what was built since lies beside.
#[test]
fn a_folder_has_the_contract_and_the_configuration_that_the_commands_take() {
    for language in ["rust", "typescript", "python"] {
        let folder = built(language);
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        for file in ["world.wit", "secrets.wit", "deps/clocks/wall-clock.wit"] {
            let text = |folder: &Path| std::fs::read_to_string(folder.join(file)).unwrap();
            assert_eq!(text(&folder.join("wit")), text(&wit));
        }
        let inspect = ["inspect", "plugin.wasm", "--config", "chat.toml"];
        let (admissible, report, log) = run(host_harness(inspect).current_dir(&folder));
        assert!(admissible, "{report}{log}");
    }
}

#[test]
fn a_folder_is_written_whole_and_under_its_name() {
    let parent = tempfile::tempdir().unwrap();
    std::fs::create_dir(parent.path().join("empty")).unwrap();
    for name in ["own-2fa", "empty"] {
        let new = ["new-plugin", "--language", "typescript", name];
        let (written, told, log) = run(host_harness(new).current_dir(parent.path()));
        assert!(written, "{log}");
        assert!(told.contains("README.md"), "{told}");
        let text = |file| std::fs::read_to_string(parent.path().join(name).join(file)).unwrap();
        assert!(text("package.json").contains(&format!(r#""name": "{name}""#)));
        assert!(text("package-lock.json").contains(&format!(r#""name": "{name}""#)));
        assert!(text("README.md").starts_with(&format!("# {name}\n")));
    }
    // Nothing else was left there.
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 2);
}

/// Files that git sees in the folder and does not ignore.
fn seen_by_git(folder: &Path) -> BTreeSet<String> {
    let status = ["status", "--porcelain", "--untracked-files=all"];
    let (told, files, log) = run(Command::new("git").args(status).current_dir(folder));
    assert!(told, "{log}");
    let files = files.lines().map(|line| line.trim_start_matches("?? "));
    files.map(str::to_owned).collect()
}

/// The commands of the README that sign the plugin and make a workspace. What those before them make lies in the
/// folder that was built; those beside them write nothing but what is in there, too.
fn sign_and_serve(folder: &Path) {
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let commands: Vec<_> = readme
        .lines()
        .filter(|line| line.starts_with("minisign ") || line.starts_with("host-harness workspace "))
        // A key without a password: nobody is there to type one.
        .map(|line| line.replace("minisign -G", "minisign -G -W"))
        .collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    let program = Path::new(env!("CARGO_BIN_EXE_host-harness"));
    for command in commands {
        let command = command.replace("host-harness", program.to_str().unwrap());
        let (done, _, log) = run(Command::new("sh")
            .args(["-c", &command])
            .stdin(Stdio::null())
            .current_dir(folder));
        assert!(done, "{command}: {log}");
    }
}

/// The secret key, the accounts, and what is built again: what is shared is the source, and the public key.
#[test]
fn git_sees_nothing_of_what_the_commands_of_a_readme_make_but_the_public_key() {
    let parent = tempfile::tempdir().unwrap();
    for language in ["rust", "typescript", "python"] {
        let new = ["new-plugin", "--language", language, language];
        let (written, _, log) = run(host_harness(new).current_dir(parent.path()));
        assert!(written, "{log}");
        let folder = parent.path().join(language);
        let (initialised, _, log) = run(Command::new("git").args(["init", "--quiet"]).arg(&folder));
        assert!(initialised, "{log}");
        let mut expected = seen_by_git(&folder);
        for entry in std::fs::read_dir(built(language)).unwrap() {
            let entry = entry.unwrap();
            let made = folder.join(entry.file_name());
            if made.exists() {
                continue;
            }
            if entry.path().is_file() {
                std::fs::copy(entry.path(), made).unwrap();
            } else {
                std::fs::create_dir(&made).unwrap();
                std::fs::write(made.join("made"), "").unwrap();
            }
        }
        sign_and_serve(&folder);
        // As long as a host serves.
        for beside in ["chat.sqlite-wal", "chat.sqlite-shm"] {
            std::fs::write(folder.join(beside), "").unwrap();
        }
        expected.insert("plugin.pub".to_owned());
        if language == "rust" {
            expected.insert("Cargo.lock".to_owned());
        }
        assert_eq!(seen_by_git(&folder), expected, "{language}");
    }
}

#[test]
fn what_is_there_is_left_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let path = |name: &str| parent.path().join(name);
    std::fs::create_dir(path("full")).unwrap();
    std::fs::write(path("full/notes"), "mine").unwrap();
    std::fs::write(path("file"), "mine").unwrap();
    for name in ["full", "file", "missing/plugin"] {
        let new = ["new-plugin", "--language", "rust", name];
        let (written, _, log) = run(host_harness(new).current_dir(parent.path()));
        assert!(!written);
        assert!(log.contains(&format!("cannot write {name}")), "{log}");
    }
    let text = |name| std::fs::read_to_string(path(name)).unwrap();
    assert_eq!((&*text("full/notes"), &*text("file")), ("mine", "mine"));
    assert_eq!(std::fs::read_dir(path("full")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 2);
}

#[test]
fn a_name_that_a_package_could_not_have_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let long = "a".repeat(65);
    for name in [
        "2fa",
        "My-Plugin",
        "my_plugin",
        "-x",
        ".",
        "..",
        "a b",
        &long,
    ] {
        let new = ["new-plugin", "--language", "python", "--", name];
        let (written, _, log) = run(host_harness(new).current_dir(parent.path()));
        assert!(!written, "{name}");
        assert!(log.contains("is no name for a plugin"), "{log}");
    }
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_module_with_a_contract_is_made_no_component() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    std::fs::write(path("text"), "no module").unwrap();
    std::fs::write(path("made"), "as it was").unwrap();
    for module in [path("text"), path("missing"), PLUGIN.into()] {
        let componentize = [Path::new("componentize"), &module, &path("made")];
        let (made, _, log) = run(&mut host_harness(componentize));
        assert!(!made, "{}", module.display());
        assert!(log.contains(module.to_str().unwrap()), "{log}");
        assert_eq!(std::fs::read_to_string(path("made")).unwrap(), "as it was");
    }
}

/// Nothing is waited for for ever, nor taken into memory without end.
#[test]
fn what_is_no_file_of_a_modules_size_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    let sparse = std::fs::File::create(&large).unwrap();
    sparse.set_len((256 << 20) + 1).unwrap();
    for (module, problem) in [
        (Path::new("/dev/null"), "it is no regular file"),
        (&large, "it is larger than 268435456 bytes"),
    ] {
        let made = folder.path().join("made");
        let componentize = [Path::new("componentize"), module, &made];
        let (is_made, _, log) = run(&mut host_harness(componentize));
        assert!(!is_made && !made.exists());
        assert!(log.contains(problem), "{log}");
    }
}
