//! A plugin that has a whole interpreter in it, that of `new-plugin`, in a process
//! whose configuration gives it what it needs.

use crate::process::{Process, client, file};
use chat_testing::{ACME, Data, code_of};
use plugin_sandbox::digest::Digest;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// What `new-plugin` writes beside it.
const CONFIGURATION: &str = include_str!("../../templates/typescript/chat.toml");

/// Where this one listens, and the key of the tests' stores.
const LISTEN: &str = r#"listen = "127.0.0.1:0"
admin-listen = "127.0.0.1:0"
key-file = "store.key""#;

/// The documented call, of an administrator for another member.
async fn reset(process: &Process, code: Option<&str>, body: &'static str) -> String {
    let request = client()
        .post(format!("{}/api/v1/users.resetTOTP", process.url))
        .header("x-auth-token", "admin-token")
        .header("x-user-id", "admin")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    let request = match code {
        Some(code) => request
            .header("x-2fa-code", code)
            .header("x-2fa-method", "totp"),
        None => request,
    };
    let answer = request.send().await.unwrap();
    format!(
        "{} {}",
        answer.status().as_u16(),
        answer.text().await.unwrap()
    )
}

fn step() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        / 30
}

#[tokio::test]
async fn a_plugin_in_typescript_serves_the_documented_call() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/new-plugin/typescript");
    let plugin = folder.join("plugin.wasm").canonicalize();
    let plugin = plugin.expect("`cargo xtask test` makes it");
    let data = Data::closed().await;
    let digest = Digest::of(&std::fs::read(&plugin).unwrap()).to_string();
    let zeros = format!("sha256:{}", "0".repeat(64));
    // A debug build takes a minute to compile it.
    let cache = folder.join("cache");
    let mut configuration = CONFIGURATION.to_owned();
    for (theirs, ours) in [
        (r#"listen = "127.0.0.1:3000""#, LISTEN),
        (r#""cache""#, &format!("{cache:?}")),
        (r#""plugin.wasm"]"#, &format!("{plugin:?}]")),
        ("[workspaces.default]", "[workspaces.acme]"),
        (r#""chat.sqlite""#, r#""store.sqlite""#),
        (&*zeros, &*digest),
    ] {
        assert!(configuration.contains(theirs), "{theirs}");
        configuration = configuration.replace(theirs, ours);
    }
    std::fs::write(file(&data), configuration).unwrap();
    data.key_file();
    let mut process = Process::of(data, "exec \"$@\"");
    process.listens();

    const ALICE: &str = r#"{"userId":"alice"}"#;
    let required = r#"400 {"success":false,"error":"TOTP Required [totp-required]","errorType":"totp-required","details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}}"#;
    let invalid = r#"400 {"success":false,"error":"TOTP Invalid [totp-invalid]","errorType":"totp-invalid","details":{"method":"totp","codeGenerated":false}}"#;
    assert_eq!(reset(&process, None, ALICE).await, required);
    let malformed = reset(&process, None, "{").await;
    assert!(malformed.contains("invalid-params"), "{malformed}");

    let code = code_of(ACME, "admin", step());
    assert_eq!(
        reset(&process, Some(&code), ALICE).await,
        r#"200 {"success":true}"#
    );
    // That is spent, and no code of these steps.
    assert_eq!(reset(&process, Some(&code), ALICE).await, invalid);
    let around =
        [-1, 0, 1, 2].map(|offset| code_of(ACME, "admin", step().strict_add_signed(offset)));
    let wrong = ["000000", "000001", "000002", "000003", "000004"];
    let wrong = wrong
        .into_iter()
        .find(|code| !around.iter().any(|right| right == code));
    assert_eq!(reset(&process, wrong, ALICE).await, invalid);
}
