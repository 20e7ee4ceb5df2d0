//! Tests a plugin of your own: first that it keeps every promise of the contract,
//! then a journey that matters to you.
//!
//! `cargo run --example own_plugin -- target/reset_totp.wasm`

use host_harness::harness::{Harness, User};
use host_harness::scenarios::Report;
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let plugin = std::env::args().nth(1).ok_or("which plugin?")?;
    let harness = Harness::load(plugin)?;

    let report = Report::of(&harness, "", |tried| eprintln!("{}", tried.line())).await;
    println!("{}", report.text());

    let server = harness
        .server()
        .user(User::named("ada").role("admin"))
        .user(User::named("bob"))
        .start()
        .await?;
    let before = server.snapshot()?;
    let request = server.post("ada").code(server.code("ada"));
    let answer = request.json(r#"{"username":"bob"}"#).send().await?;
    println!("{}", answer.text());
    for change in before.changes(&server.snapshot()?) {
        println!("{change}");
    }
    Ok(())
}
