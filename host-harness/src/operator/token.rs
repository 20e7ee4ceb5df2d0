//! `token`: create, list and revoke login tokens.

use super::account::{changed_report, ended};
use super::table::{aligned, headed};
use super::{Desk, Report, name};
use chat_domain::account::Token;
use chat_domain::operator::{TokenSummary, UserChange};
use chat_domain::token;
use clap::Subcommand;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create a personal access token, which does not expire, and print it once.
    Create {
        /// A username or an id.
        user: String,
        /// To revoke it by; unique among the user's.
        #[arg(value_parser = name)]
        name: String,
        /// It needs no second factor, where the setting bypass-token-allowed is
        /// true.
        #[arg(long)]
        bypass_two_factor: bool,
    },
    /// List a user's valid tokens; never the tokens themselves.
    List {
        /// A username or an id.
        user: String,
    },
    /// Revoke a user's token, or all.
    #[command(override_usage = "host-harness token revoke [OPTIONS] <USER> <NAME|--all>")]
    Revoke {
        /// A username or an id.
        user: String,
        /// The personal access token of this name.
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// All of them, and the sessions.
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
}

pub(super) async fn run(desk: &Desk, command: Command) -> anyhow::Result<Report> {
    match command {
        Command::Create {
            user,
            name,
            bypass_two_factor,
        } => create(desk, &user, name, bypass_two_factor).await,
        Command::List { user } => list(desk, &user).await,
        Command::Revoke { user, name, .. } => {
            let change = name.map_or(UserChange::RevokeAllTokens, UserChange::RevokeToken);
            revoke(desk, &user, change).await
        }
    }
}

async fn create(
    desk: &Desk,
    user: &str,
    name: String,
    bypass_two_factor: bool,
) -> anyhow::Result<Report> {
    let token = token::generate(&mut rand::rng());
    let change = UserChange::CreateToken(Token {
        hash: token::hash(&token),
        expires: None,
        name: Some(name.clone()),
        bypass_two_factor,
    });
    let account = desk.change(user, change).await?.account;
    let row = |name: &str, value: &str| [name.to_owned(), value.to_owned()];
    let headers = aligned(&[
        row("X-User-Id", &account.user.id),
        row("X-Auth-Token", token.expose_secret()),
    ]);
    Ok(Report {
        text: format!("{headers}\n\nThe token is not shown again."),
        json: json!({
            "userId": account.user.id,
            "name": name,
            "token": token.expose_secret(),
            "bypassTwoFactor": bypass_two_factor,
        }),
    })
}

async fn list(desk: &Desk, user: &str) -> anyhow::Result<Report> {
    let tokens = desk.store.tokens(&desk.workspace, user, desk.now).await??;
    let row = |token: &TokenSummary| {
        let expires = token.expires.map(|expires| expires.to_string());
        let bypass = if token.bypass_two_factor { "yes" } else { "no" };
        [
            kind(token).to_owned(),
            token.name.clone().unwrap_or_else(|| "-".to_owned()),
            expires.unwrap_or_else(|| "never".to_owned()),
            bypass.to_owned(),
        ]
    };
    Ok(Report {
        text: headed(
            ["KIND", "NAME", "EXPIRES", "BYPASSES 2FA"],
            tokens.iter().map(row).collect(),
        ),
        json: tokens.iter().map(described).collect(),
    })
}

async fn revoke(desk: &Desk, user: &str, change: UserChange) -> anyhow::Result<Report> {
    let changed = desk.change(user, change).await?;
    Ok(changed_report(&changed, |username| {
        let ended = ended(changed.ended_tokens, "token");
        format!("{username}: {ended}.")
    }))
}

fn described(token: &TokenSummary) -> Value {
    json!({
        "kind": kind(token),
        "name": token.name,
        "expires": token.expires.map(|expires| expires.to_string()),
        "bypassTwoFactor": token.bypass_two_factor,
    })
}

fn kind(token: &TokenSummary) -> &'static str {
    match token.expires {
        None => "personal",
        Some(_) => "session",
    }
}
