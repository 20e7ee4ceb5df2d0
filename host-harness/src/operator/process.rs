//! `reload` and `breaker`: what a process that serves is told, by its admin
//! listener.

use super::table::headed;
use super::{Report, count};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// Which process, and how to answer.
#[derive(Args)]
#[command(next_help_heading = "Where, and how to answer")]
pub(crate) struct Process {
    /// Where it answers operators: `admin-listen` of its configuration.
    #[arg(
        long,
        global = true,
        env = "HOST_HARNESS_ADMIN",
        value_name = "ADDR",
        default_value = "127.0.0.1:3001"
    )]
    admin: SocketAddr,
    /// Print one line of JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// How long a process may take to say how it is: it gives its stores two seconds.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// How long a process may take to do something: a reload compiles plugins.
const WORK_LIMIT: Duration = Duration::from_secs(10 * 60);

#[derive(Subcommand)]
pub(crate) enum Breaker {
    /// List the workspaces whose plugin is left alone because it keeps failing.
    List,
    /// Let a workspace's plugin be called again at once.
    Reset {
        /// The workspace. Default: all.
        workspace: Option<String>,
    },
}

/// Has the process read its configuration again.
pub(super) async fn reload(process: &Process) -> anyhow::Result<Report> {
    let json = process.ask(Method::POST, "/reload", String::new()).await?;
    let number = |name| number(&json, name);
    let text = format!(
        "{} served: {} changed, {} removed; {} written",
        count(number("workspaces")?, "workspace"),
        number("changed")?,
        number("removed")?,
        count(number("settings")?, "setting")
    );
    Ok(Report { text, json })
}

pub(super) async fn breaker(process: &Process, command: Breaker) -> anyhow::Result<Report> {
    match command {
        Breaker::List => list(process).await,
        Breaker::Reset { workspace } => reset(process, workspace).await,
    }
}

async fn list(process: &Process) -> anyhow::Result<Report> {
    let json = process.ask(Method::GET, "/breakers", String::new()).await?;
    let breakers = json.get("breakers").and_then(Value::as_array);
    let cell = |breaker: &Value, name: &str| match breaker.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(seconds)) => format!("{seconds} s"),
        _ => "-".to_owned(),
    };
    let names = ["workspace", "state", "probeInSeconds", "plugin"];
    let rows = breakers.into_iter().flatten();
    let rows: Vec<_> = rows.map(|b| names.map(|name| cell(b, name))).collect();
    let text = match rows.is_empty() {
        true => "every breaker is closed".to_owned(),
        false => headed(["WORKSPACE", "STATE", "NEXT TRY IN", "PLUGIN"], rows),
    };
    Ok(Report { text, json })
}

async fn reset(process: &Process, workspace: Option<String>) -> anyhow::Result<Report> {
    let body = workspace.map_or(json!({}), |workspace| json!({"workspace": workspace}));
    let json = process
        .ask(Method::POST, "/breakers/reset", body.to_string())
        .await?;
    Ok(Report {
        text: count(number(&json, "closed")?, "breaker") + " closed",
        json,
    })
}

/// A number of an answer; zero where there is none.
fn number(answer: &Value, name: &str) -> anyhow::Result<usize> {
    let number = answer.get(name).and_then(Value::as_u64);
    Ok(number.unwrap_or_default().try_into()?)
}

impl Process {
    /// Whether it is ready, and if not, why.
    pub(super) async fn readiness(&self) -> anyhow::Result<Vec<String>> {
        let (_, answer) = self.answer(Method::GET, "/readyz", String::new()).await?;
        let reasons = answer.get("reasons").and_then(Value::as_array);
        let reasons = reasons.into_iter().flatten().filter_map(Value::as_str);
        Ok(reasons.map(str::to_owned).collect())
    }

    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<Value> {
        let (is_success, answer) = self.answer(method, path, body).await?;
        if !is_success {
            let problem = answer.get("error").and_then(Value::as_str);
            bail!("{}", problem.unwrap_or("the process refused"));
        }
        Ok(answer)
    }

    /// Whether it is a success, and the answer.
    async fn answer(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<(bool, Value)> {
        let limit = match method == Method::GET {
            true => LOOK_LIMIT,
            false => WORK_LIMIT,
        };
        let client = Client::builder().no_proxy().timeout(limit).build()?;
        let url = format!("http://{}{path}", self.admin);
        let response = client.request(method, url).body(body).send().await;
        let response = response.with_context(|| {
            format!(
                "no process answers operators at {}; name it by --admin",
                self.admin
            )
        })?;
        let is_success = response.status().is_success();
        let answer: Value = serde_json::from_str(&response.text().await?)
            .with_context(|| format!("{} is no admin listener of a host", self.admin))?;
        Ok((is_success, answer))
    }
}
