//! The workspaces of a configuration file, in this process.

use crate::component::plugin_bytes;
use crate::support::{Data, now};
use host_harness::admin::Control;
use host_harness::clock::Clock;
use host_harness::config::Config;
use host_harness::digest::Digest;
use host_harness::hosting::Hosting;
use std::path::Path;
use std::time::Duration;

/// Serves acme under its name, with these settings.
fn write(file: &Path, store: &Path, settings: &str) {
    let (plugin, digest) = (file.with_extension("wasm"), Digest::of(&plugin_bytes()));
    std::fs::write(&plugin, plugin_bytes()).unwrap();
    let (plugin, store) = (plugin.display(), store.display());
    let text = format!(
        r#"
[plugins]
files = ["{plugin}"]
[workspaces.acme]
hosts = ["acme"]
store = "{store}"
plugin = "{digest}"
grants = ["wall-clock", "users", "permissions", "settings", "secrets"]
{settings}
"#
    );
    std::fs::write(file, text).unwrap();
}

/// Otherwise a plugin that takes long to compile, or a store that is stuck, blinds
/// whoever has to see to it.
#[tokio::test]
async fn operators_are_answered_while_a_configuration_is_taken() {
    let data = Data::closed().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("host.toml");
    write(&file, &data.path(), "");
    let config = Config::read(&file).unwrap();
    let hosting = Hosting::start(config, Some(file.clone()), Clock::new(now));
    let hosting = hosting.await.unwrap();
    write(&file, &data.path(), "settings.totp-window = 3");
    let lock = data.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let look = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let look = async { (hosting.breakers().await.len(), hosting.snapshot().await) };
        let look = tokio::time::timeout(Duration::from_secs(1), look).await;
        lock.execute_batch("ROLLBACK").unwrap();
        look.unwrap().1.workspaces
    };
    let (loaded, workspaces) = tokio::join!(hosting.reload(), look);
    assert_eq!((loaded.unwrap().settings, workspaces), (1, 1));
}
