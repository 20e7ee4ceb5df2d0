//! What ten thousand workspaces cost that nobody uses: how long the process takes
//! to take their configuration, and how much memory they hold. They share one
//! store and one plugin.

use chat_domain::operator::NewWorkspace;
use chat_domain::settings::Settings;
use chat_server::clock::Clock;
use chat_server::config::Config;
use chat_server::hosting::Hosting;
use chat_store::seal::{KeySource, Seal};
use chat_store::sqlite::Sqlite;
use rusqlite::Connection;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

const COUNT: usize = 10_000;

/// Bytes in a page of memory, as the kernel counts it.
const PAGE: usize = 4096;

type Measured<T> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Measured<()> {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = temporary.join("workspaces");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    let plugin = temporary.with_file_name("reset_totp.wasm");
    std::fs::copy(plugin, folder.join("reset_totp.wasm"))?;
    fill(&folder.join("chat.sqlite")).await?;
    // The first start compiles the plugin, which the second finds compiled.
    for (workspaces, what) in [
        (1, "1 workspace, compiling"),
        (1, "1 workspace"),
        (COUNT, "10,000 workspaces"),
    ] {
        let file = folder.join("chat.toml");
        std::fs::write(
            &file,
            configuration(&folder.join("reset_totp.wasm"), workspaces)?,
        )?;
        let (before, start) = (resident()?, Instant::now());
        let config = Config::read(&file)?;
        let hosting = Hosting::start(config, None, KeySource::Nowhere, Clock::system()).await?;
        let (time, memory) = (start.elapsed(), resident()? - before);
        let memory = memory as f64 / 1_048_576.0;
        println!(
            "{what:24} {:8.1} ms to start  {memory:6.1} MiB more",
            time.as_secs_f64() * 1e3
        );
        drop(hosting);
    }
    println!(
        "the process holds {:.1} MiB in all",
        resident()? as f64 / 1_048_576.0
    );
    Ok(())
}

/// A store with the workspaces.
async fn fill(path: &Path) -> Measured<()> {
    let store = Sqlite::open_or_create(path, &Seal::none()).await?;
    let first = NewWorkspace {
        id: "w0".to_owned(),
        settings: Settings::default(),
        roles: Vec::new(),
        users: Vec::new(),
    };
    store.create_workspace(first).await?;
    let mut rows = "BEGIN;".to_owned();
    for number in 1..COUNT {
        write!(rows, "INSERT INTO workspace (id) VALUES ('w{number}');")?;
    }
    Connection::open(path)?.execute_batch(&(rows + "COMMIT;"))?;
    Ok(())
}

fn configuration(plugin: &Path, workspaces: usize) -> Measured<String> {
    let digest = plugin_sandbox::digest::Digest::of(&std::fs::read(plugin)?);
    let mut text = format!(
        "[host]\ncache = \"code\"\n[plugins]\nfiles = [\"reset_totp.wasm\"]\n[defaults]\n\
         store = \"chat.sqlite\"\nplugin = \"{digest}\"\n\
         grants = [\"wall-clock\", \"users\", \"permissions\", \"settings\", \"secrets\"]\n"
    );
    for number in 0..workspaces {
        write!(
            text,
            "[workspaces.w{number}]\nhosts = [\"w{number}.example\"]\n"
        )?;
    }
    Ok(text)
}

/// The process's memory, in bytes.
fn resident() -> Measured<usize> {
    let memory = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = memory
        .split(' ')
        .nth(1)
        .ok_or("no memory is told")?
        .parse()?;
    Ok(pages * PAGE)
}
