//! What people install, as they install it: a clean Debian boots and gets the package, a registry is
//! given the plugin and gives it back, and the plugin is built again in another folder.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must fail"
)]

use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::channel;
use std::thread;
use tempfile::TempDir;

/// What is packed, and the key by which it is signed.
struct Packed {
    folder: PathBuf,
    public_key: String,
}

static PACKED: LazyLock<Packed> = LazyLock::new(|| {
    let keys = tempfile::tempdir().unwrap();
    let [public, secret] = ["public", "secret"].map(|name| keys.path().join(name));
    let mut generate = Command::new("minisign");
    generate
        .args(["-G", "-W", "-p"])
        .arg(&public)
        .arg("-s")
        .arg(&secret);
    succeeds(&mut generate);
    let mut package = Command::new(env!("CARGO_BIN_EXE_xtask"));
    succeeds(package.args(["package", "--quick", "--sign"]).arg(&secret));
    let public = fs::read_to_string(public).unwrap();
    Packed {
        folder: workspace().join("target/package"),
        public_key: public.lines().last().unwrap().to_owned(),
    }
});

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
}

/// What it prints.
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn sha256(path: &Path) -> String {
    let line = succeeds(Command::new("sha256sum").arg(path));
    line.split(' ').next().unwrap().to_owned()
}

/// With another folder of cargo's, too, from whose sources the dependencies are compiled.
#[test]
fn the_plugin_is_the_same_to_the_byte_where_it_is_built_in_another_folder() {
    let there = tempfile::tempdir().unwrap();
    let sources = there.path().join("some/other folder");
    let files = succeeds(Command::new("git").current_dir(workspace()).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]));
    for file in files.split_terminator('\0') {
        let copy = sources.join(file);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(workspace().join(file), copy).unwrap();
    }
    let cargo_home = there.path().join("cargo");
    fs::create_dir(&cargo_home).unwrap();
    let usual = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let usual = usual.unwrap_or_else(|| std::env::home_dir().unwrap().join(".cargo"));
    for kept in ["registry", "config.toml"] {
        if usual.join(kept).exists() {
            symlink(usual.join(kept), cargo_home.join(kept)).unwrap();
        }
    }
    let mut build = Command::new(env!("CARGO"));
    build.args(["xtask", "build"]).current_dir(&sources);
    build
        .env("CARGO_HOME", &cargo_home)
        .env_remove("CARGO_TARGET_DIR");
    let told = succeeds(&mut build);
    let built = sha256(&sources.join("target/reset_totp.wasm"));
    assert_eq!(
        built,
        sha256(&PACKED.folder.join("reset_totp.wasm")),
        "{told}"
    );
}

/// Once it is there, it is only looked at.
fn clean_debian() -> PathBuf {
    let tree = workspace().join("target/bookworm");
    if !tree.exists() {
        let unfinished = tree.with_extension("new");
        let _ = fs::remove_dir_all(&unfinished);
        let mut make = Command::new("mmdebstrap");
        make.args(["--variant=apt", "--include=systemd-sysv,curl", "bookworm"]);
        succeeds(make.arg(&unfinished));
        fs::rename(&unfinished, &tree).unwrap();
    }
    tree
}

/// The machine has no network, and forgets what was written when it ends.
#[test]
fn a_clean_debian_installs_the_package_serves_and_purges_it() {
    let tree = clean_debian();
    let out = tempfile::tempdir().unwrap();
    let trial = workspace().join("host-harness/xtask/tests/packages");
    let bind = |option: &str, from: &Path, to: &str| format!("--{option}={}:{to}", from.display());
    let mut boot = Command::new("systemd-nspawn");
    boot.args([
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--private-network",
    ])
    .args([
        "--volatile=overlay",
        "--console=pipe",
        "--machine=clean-debian",
    ])
    .arg("--directory")
    .arg(tree)
    .arg(bind("bind", out.path(), "/out"))
    .arg(bind("bind-ro", &PACKED.folder, "/packages"))
    .arg(bind("bind-ro", &trial, "/trial"))
    .arg(bind(
        "bind-ro",
        &trial.join("admin.service"),
        "/etc/systemd/system/admin.service",
    ))
    .args(["--boot", "systemd.wants=admin.service"])
    .stdin(Stdio::null());
    let console = boot.output().unwrap();
    let log = fs::read_to_string(out.path().join("log")).unwrap_or_default();
    assert!(
        log.ends_with("all done\n"),
        "{log}\n{}\n{}\n{}",
        fs::read_to_string(out.path().join("apt")).unwrap_or_default(),
        String::from_utf8_lossy(&console.stdout),
        String::from_utf8_lossy(&console.stderr)
    );
}

#[test]
fn the_package_is_as_debian_wants_it() {
    let mut inspect = Command::new("lintian");
    inspect.args(["--allow-root", "--fail-on", "error,warning,info"]);
    inspect.args(["--tag-display-limit", "0"]).arg(deb());
    let output = inspect.output().unwrap();
    let (told, problem) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{told}{problem}");
}

fn deb() -> PathBuf {
    let files = fs::read_dir(&PACKED.folder).unwrap();
    let mut paths = files.map(|file| file.unwrap().path());
    paths
        .find(|path| path.extension() == Some(OsStr::new("deb")))
        .unwrap()
}

/// A registry that is empty, and ends with the test.
struct Registry {
    process: Child,
    address: String,
    folder: TempDir,
}

impl Registry {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.yml");
        let kept = folder.path().display();
        let text = format!(
            "version: 0.1\nlog: {{ formatter: json }}\nhttp: {{ addr: '127.0.0.1:0' }}\n\
             storage: {{ filesystem: {{ rootdirectory: '{kept}' }} }}\n"
        );
        fs::write(&config, text).unwrap();
        let mut start = Command::new("docker-registry");
        start.arg("serve").arg(config).stdout(Stdio::null());
        let mut process = start.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (sender, address) = channel();
        // To the end, so that it never waits for who reads.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let said: Value = serde_json::from_str(&line).unwrap_or_default();
                let said = said["msg"].as_str().unwrap_or_default();
                if let Some(address) = said.strip_prefix("listening on ") {
                    sender.send(address.to_owned()).unwrap();
                }
            }
        });
        Self {
            process,
            address: address.recv().unwrap(),
            folder,
        }
    }

    fn push(&self, layout: &str, tag: &str) {
        let layout = PACKED.folder.join("oci").join(layout);
        let name = layout.file_name().unwrap().to_str().unwrap();
        let mut push = Command::new("skopeo");
        push.args(["copy", "--all", "--dest-tls-verify=false"])
            .arg(format!("oci:{}:{tag}", layout.display()))
            .arg(format!("docker://{}/chat/{name}:{tag}", self.address));
        succeeds(&mut push);
    }

    /// As a developer's machine is told of this registry.
    fn wkg(&self, command: &str) -> Command {
        let config = self.folder.path().join("wkg.toml");
        let address = &self.address;
        let text = format!(
            "[namespace_registries]\nchat = '{address}'\n\
             [registry.'{address}']\ntype = 'oci'\n\
             [registry.'{address}'.oci]\nprotocol = 'http'\n"
        );
        fs::write(&config, text).unwrap();
        let mut wkg = Command::new(workspace().join("target/tools/bin/wkg"));
        wkg.arg(command).arg("--config").arg(config);
        wkg.arg("--cache").arg(self.folder.path().join("cache"));
        wkg
    }

    /// Without a client of registries, so that nothing but bytes is between.
    fn get(&self, path: &str, into: &Path) {
        let url = format!("http://{}/v2/chat/{path}", self.address);
        let accept = "Accept: application/vnd.oci.image.manifest.v1+json, \
                      application/vnd.oci.image.index.v1+json";
        let mut get = Command::new("curl");
        get.args(["--silent", "--fail", "--header", accept, "--output"]);
        succeeds(get.arg(into).arg(url));
    }

    fn manifest(&self, repository: &str, reference: &str) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("manifest");
        self.get(&format!("{repository}/manifests/{reference}"), &file);
        if let Some(digest) = reference.strip_prefix("sha256:") {
            assert_eq!(sha256(&file), digest);
        }
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }

    /// Saves the only layer under its own name.
    fn layer(&self, repository: &str, manifest: &Value, folder: &Path) -> PathBuf {
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 1, "{manifest}");
        let layer = &layers[0];
        let file = folder.join(text(
            &layer["annotations"]["org.opencontainers.image.title"],
        ));
        let digest = text(&layer["digest"]);
        self.get(&format!("{repository}/blobs/{digest}"), &file);
        assert_eq!(format!("sha256:{}", sha256(&file)), digest);
        file
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The program in the package, unpacked into a folder.
fn host_harness(folder: &Path) -> Command {
    if !folder.join("usr").exists() {
        let mut unpack = Command::new("dpkg-deb");
        succeeds(unpack.arg("--extract").arg(deb()).arg(folder));
    }
    let mut command = Command::new(folder.join("usr/bin/host-harness"));
    command.stdin(Stdio::null());
    command
}

#[test]
fn a_registry_gives_back_the_plugin_its_signature_and_what_it_is_made_of() {
    let registry = Registry::start();
    let repository = "reset-totp-plugin";
    let index = PACKED
        .folder
        .join("oci")
        .join(repository)
        .join("index.json");
    let index: Value = serde_json::from_slice(&fs::read(index).unwrap()).unwrap();
    for tagged in index["manifests"].as_array().unwrap() {
        registry.push(
            repository,
            text(&tagged["annotations"]["org.opencontainers.image.ref.name"]),
        );
    }
    let digest = text(&index["manifests"][0]["digest"]);
    let manifest = registry.manifest(repository, digest);
    assert_eq!(
        manifest,
        registry.manifest(repository, env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    for (name, said) in [
        ("authors", "The reset-totp authors"),
        ("licenses", "Apache-2.0"),
        ("version", env!("CARGO_PKG_VERSION")),
        (
            "description",
            "A sandboxed plugin that removes a member's TOTP second factor",
        ),
    ] {
        let name = format!("org.opencontainers.image.{name}");
        assert_eq!(manifest["annotations"][&name], said);
    }
    let folder = tempfile::tempdir().unwrap();
    let plugin = registry.layer(repository, &manifest, folder.path());
    assert_eq!(
        sha256(&plugin),
        sha256(&PACKED.folder.join("reset_totp.wasm"))
    );
    let referrers = registry.manifest(repository, &digest.replace(':', "-"));
    let mut kinds = Vec::new();
    for referrer in referrers["manifests"].as_array().unwrap() {
        let manifest = registry.manifest(repository, text(&referrer["digest"]));
        kinds.push(text(&manifest["artifactType"]).to_owned());
        assert_eq!(manifest["subject"]["digest"], digest);
        registry.layer(repository, &manifest, folder.path());
    }
    let known = [
        "application/vnd.cyclonedx+json",
        "application/vnd.minisign.signature",
    ];
    assert_eq!(kinds, known);
    let list = fs::read_to_string(folder.path().join("reset_totp.cdx.json")).unwrap();
    assert!(list.contains("pkg:cargo/totp-lite@") && !list.contains("pkg:cargo/wasmtime@"));
    for command in ["inspect", "admit"] {
        let mut trusting = host_harness(folder.path());
        trusting.arg(command).arg(&plugin);
        succeeds(trusting.args(["--trust", &PACKED.public_key]));
    }
    fs::remove_file(folder.path().join("reset_totp.wasm.minisig")).unwrap();
    let mut unsigned = host_harness(folder.path());
    unsigned.arg("admit").arg(&plugin);
    unsigned.args(["--trust", &PACKED.public_key]);
    assert!(!unsigned.output().unwrap().status.success());
}

#[test]
fn a_registry_gives_back_the_contract() {
    let registry = Registry::start();
    registry.push("reset-totp", "0.1.0");
    let manifest = registry.manifest("reset-totp", "0.1.0");
    let description = text(&manifest["annotations"]["org.opencontainers.image.description"]);
    assert!(description.starts_with("Removing a member's TOTP second factor"));
    let folder = tempfile::tempdir().unwrap();
    let package = registry.layer("reset-totp", &manifest, folder.path());
    let contract = wit_component::decode(&fs::read(package).unwrap()).unwrap();
    let resolve = contract.resolve();
    let name = &resolve.packages[contract.package()].name;
    assert_eq!(name.to_string(), "chat:reset-totp@0.1.0");
    let (_, secrets) = resolve
        .interfaces
        .iter()
        .find(|(_, i)| i.name.as_deref() == Some("secrets"))
        .unwrap();
    assert!(
        secrets
            .docs
            .contents
            .as_deref()
            .unwrap()
            .contains("second factor")
    );
}

/// The CNCF's tool for packages of WebAssembly.
#[test]
fn wkg_gets_what_was_pushed_and_publishes_the_same() {
    let registry = Registry::start();
    let tag = env!("CARGO_PKG_VERSION");
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("plugin.wasm");
    registry.push("reset-totp-plugin", tag);
    let mut pull = Command::new(workspace().join("target/tools/bin/wkg"));
    pull.args(["oci", "pull", "--insecure", &registry.address])
        .arg(format!("{}/chat/reset-totp-plugin:{tag}", registry.address))
        .arg("--output");
    succeeds(pull.arg(&plugin));
    assert_eq!(
        sha256(&plugin),
        sha256(&PACKED.folder.join("reset_totp.wasm"))
    );
    registry.push("reset-totp", tag);
    let packed = PACKED.folder.join("chat_reset-totp.wasm");
    let got = folder.path().join("contract.wasm");
    let name = format!("chat:reset-totp@{tag}");
    let mut get = registry.wkg("get");
    succeeds(get.arg(&name).arg("--output").arg(&got));
    assert_eq!(sha256(&got), sha256(&packed));
    let text = got.with_extension("wit");
    let mut get = registry.wkg("get");
    succeeds(
        get.arg(&name)
            .args(["--format", "wit", "--output"])
            .arg(&text),
    );
    let text = fs::read_to_string(text).unwrap();
    assert!(text.contains("world reset-totp-plugin"), "{text}");

    let other = Registry::start();
    succeeds(other.wkg("publish").arg(&packed));
    let (ours, wkgs) = (
        registry.manifest("reset-totp", tag),
        other.manifest("reset-totp", tag),
    );
    assert_eq!(ours["layers"][0]["digest"], wkgs["layers"][0]["digest"]);
    assert_eq!(
        ours["layers"][0]["mediaType"],
        wkgs["layers"][0]["mediaType"]
    );
    assert_eq!(ours["config"]["mediaType"], wkgs["config"]["mediaType"]);
    let (ours, wkgs) = (
        &ours["annotations"],
        wkgs["annotations"].as_object().unwrap(),
    );
    assert!(!wkgs.is_empty());
    for (name, said) in wkgs {
        assert_eq!(&ours[name], said, "{name}");
    }
}

#[test]
fn the_host_lists_what_it_is_made_of_with_licenses_and_nothing_says_where_it_was_built() {
    let list = fs::read_to_string(PACKED.folder.join("host-harness.cdx.json")).unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["metadata"]["component"]["name"], "host-harness");
    let names: Vec<_> = list["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| text(&c["name"]))
        .collect();
    assert!(
        names.contains(&"wasmtime")
            && names.contains(&"rusqlite")
            && !names.contains(&"expect-test")
    );
    let texts = fs::read_to_string(PACKED.folder.join("host-harness.licenses.txt")).unwrap();
    for component in list["components"].as_array().unwrap() {
        let is_ours = component["purl"]
            .as_str()
            .is_none_or(|purl| purl.contains("download_url=file:"));
        let named = format!(
            "{} {}",
            text(&component["name"]),
            text(&component["version"])
        );
        let mut lines = texts.lines();
        let is_there =
            lines.any(|line| line == named || line.starts_with(&format!("{named}, by ")));
        assert!(is_there != is_ours, "{named}");
    }
    assert!(texts.contains("Permission is hereby granted, free of charge"));
    assert!(texts.contains("TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION"));
    let here = workspace().to_str().unwrap().as_bytes();
    for entry in fs::read_dir(&PACKED.folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() != Some(OsStr::new("deb")) && path.is_file() {
            let bytes = fs::read(&path).unwrap();
            assert!(
                !bytes.windows(here.len()).any(|at| at == here),
                "{}",
                path.display()
            );
        }
    }
}
