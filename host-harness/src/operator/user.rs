//! `user`: add, show and change accounts.

use super::account::{changed_report, described, ended, told};
use super::enrolment;
use super::table::{aligned, headed, listed};
use super::{Desk, Even, Report, input};
use chat_domain::account::{Account, Email};
use chat_domain::attempts::Lock;
use chat_domain::operator::NewUser;
use chat_domain::operator::{Changed, Operation, UserChange, new_user_id};
use chat_domain::password;
use clap::{Args, Subcommand};
use lettre::Address;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add an account, and print its id.
    ///
    /// Example: host-harness user add alice --email alice@example.com --role user --password
    Add(Add),
    /// List the accounts.
    List,
    /// Show an account.
    Show(Who),
    /// Set an account's password, and end its sessions.
    ///
    /// The password is asked for without echo, or read as one line from standard
    /// input. Personal access tokens stay; `token revoke USER --all` ends those.
    Password(Who),
    /// Enrol TOTP for an account, show the secret and backup codes, and end its
    /// sessions.
    EnrolTotp(Who),
    /// Replace an account's backup codes, and show the new ones.
    BackupCodes(Who),
    /// Remove an account's TOTP and end all its tokens, for who has lost phone and codes
    /// when no administrator can reset it. The holder is told by e-mail.
    ResetTotp(Who),
    /// Forget an account's failed attempts and its code by e-mail, so that it can try again
    /// at once.
    Unlock {
        #[command(flatten)]
        who: Who,
        /// Even where so many codes in a row were wrong that the second factor is to be
        /// replaced.
        #[arg(long)]
        force: bool,
    },
    /// Keep an account from logging in, and end all its tokens.
    Deactivate {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        even: Even,
    },
    /// Let an account log in again.
    Activate(Who),
}

/// Which account.
#[derive(Args)]
pub(crate) struct Who {
    /// A username or an id.
    user: String,
}

/// A new account.
#[derive(Args)]
pub(crate) struct Add {
    /// To log in by; unique in the workspace without regard to case, and of the form that the
    /// setting username-pattern says.
    username: String,
    /// A verified address, at which mail is known to arrive; can be repeated.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    email: Vec<String>,
    /// An address that is not verified: no mail is sent there; can be repeated.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    unverified_email: Vec<String>,
    /// A role that it has; can be repeated.
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// Codes by e-mail are its second factor.
    #[arg(long, requires = "email")]
    email_two_factor: bool,
    /// It belongs to another server of a federation.
    #[arg(long)]
    federated: bool,
    /// Ask for a password without echo, or read it as one line from standard
    /// input. Without it, the account cannot log in by one.
    #[arg(long)]
    password: bool,
}

pub(super) async fn run(desk: &Desk, command: Command) -> anyhow::Result<Report> {
    match command {
        Command::Add(user) => add(desk, user).await,
        Command::List => list(desk).await,
        Command::Show(Who { user }) => show(desk, &user).await,
        Command::Password(Who { user }) => set_password(desk, &user).await,
        Command::EnrolTotp(Who { user }) => enrolment::enrol(desk, &user).await,
        Command::BackupCodes(Who { user }) => enrolment::replace_backup_codes(desk, &user).await,
        Command::ResetTotp(Who { user }) => enrolment::reset(desk, &user).await,
        Command::Unlock {
            who: Who { user },
            force,
        } => unlock(desk, &user, force).await,
        Command::Deactivate {
            who: Who { user },
            even,
        } => deactivate(desk, even.operation(desk), &user).await,
        Command::Activate(Who { user }) => activate(desk, &user).await,
    }
}

async fn add(desk: &Desk, add: Add) -> anyhow::Result<Report> {
    let password_hash = if add.password {
        let password = input::new_password(&add.username)?;
        Some(password::hash(
            &password::digest(&password),
            &mut rand::rng(),
        )?)
    } else {
        None
    };
    let emails = |addresses: Vec<String>, verified| {
        let email = move |address| Email { address, verified };
        addresses.into_iter().map(email)
    };
    let user = NewUser {
        id: new_user_id(&mut rand::rng()),
        username: add.username,
        password_hash,
        federated: add.federated,
        roles: add.role,
        emails: emails(add.email, true)
            .chain(emails(add.unverified_email, false))
            .collect(),
        email_two_factor: add.email_two_factor,
        ..NewUser::default()
    };
    let account = desk.store.add_user(desk.operation(), user).await??;
    Ok(Report {
        text: format!(
            "{} is added, with the id {}.",
            account.user.username, account.user.id
        ),
        json: described(&account),
    })
}

async fn list(desk: &Desk) -> anyhow::Result<Report> {
    let accounts = desk.store.users(&desk.workspace, desk.now).await??;
    let row = |account: &Account| {
        let totp = if account.backup_codes.is_some() {
            "yes"
        } else {
            "no"
        };
        [
            account.user.username.clone(),
            account.user.id.clone(),
            state(account).to_owned(),
            totp.to_owned(),
            listed(&account.roles),
        ]
    };
    Ok(Report {
        text: headed(
            ["USERNAME", "ID", "STATE", "TOTP", "ROLES"],
            accounts.iter().map(row).collect(),
        ),
        json: accounts.iter().map(described).collect(),
    })
}

async fn show(desk: &Desk, user: &str) -> anyhow::Result<Report> {
    let account = desk.store.user(&desk.workspace, user, desk.now).await??;
    let row = |name: &str, value: String| [name.to_owned(), value];
    let emails: Vec<_> = account.emails.iter().map(email_text).collect();
    let totp = match account.backup_codes {
        Some(left) => format!("enrolled, {left} backup codes left"),
        None => "not enrolled".to_owned(),
    };
    let failures = match account.lock {
        Some(Lock::UntilReplaced) => format!(
            "{}: the second factor is to be replaced, by `user reset-totp` for example",
            account.failures
        ),
        Some(Lock::Until(until)) => format!("{}, locked until {until}", account.failures),
        None => account.failures.to_string(),
    };
    let set = |set: bool, yes: &str, no: &str| if set { yes } else { no }.to_owned();
    Ok(Report {
        text: aligned(&[
            row("username", account.user.username.clone()),
            row("id", account.user.id.clone()),
            row("state", state(&account).to_owned()),
            row("server", set(account.user.federated, "another", "this")),
            row("roles", listed(&account.roles)),
            row("e-mail", listed(&emails)),
            row("password", set(account.has_password, "set", "not set")),
            row("TOTP", totp),
            row(
                "e-mail codes",
                set(account.email_two_factor, "opted in", "not opted in"),
            ),
            row("failures", failures),
        ]),
        json: described(&account),
    })
}

async fn set_password(desk: &Desk, user: &str) -> anyhow::Result<Report> {
    // Who does not exist is said before a password is asked for.
    let account = desk.store.user(&desk.workspace, user, desk.now).await??;
    let password = input::new_password(&account.user.username)?;
    let hash = password::hash(&password::digest(&password), &mut rand::rng())?;
    let changed = desk.change(user, UserChange::SetPassword(hash)).await?;
    Ok(changed_report(&changed, |username| {
        let ended = ended(changed.ended_tokens, "session");
        let told = told(&changed.account);
        format!("{username} has a new password; {ended}. Personal access tokens stay. {told}")
    }))
}

async fn unlock(desk: &Desk, user: &str, force: bool) -> anyhow::Result<Report> {
    let operation = Operation {
        forced: force,
        ..desk.operation()
    };
    let changed = desk.change_by(operation, user, UserChange::Unlock).await?;
    Ok(changed_report(&changed, |username| {
        format!("{username} can try again at once: the failures are forgotten.")
    }))
}

async fn deactivate(desk: &Desk, operation: Operation, user: &str) -> anyhow::Result<Report> {
    let changed = desk
        .change_by(operation, user, UserChange::Deactivate)
        .await?;
    Ok(changed_report(&changed, |username| {
        let ended = ended(changed.ended_tokens, "token");
        format!("{username} is deactivated; {ended}.")
    }))
}

async fn activate(desk: &Desk, user: &str) -> anyhow::Result<Report> {
    let changed = desk.change(user, UserChange::Activate).await?;
    Ok(changed_report(&changed, |username| {
        format!("{username} is active.")
    }))
}

impl Desk {
    pub(super) async fn change(&self, user: &str, change: UserChange) -> anyhow::Result<Changed> {
        self.change_by(self.operation(), user, change).await
    }

    pub(super) async fn change_by(
        &self,
        operation: Operation,
        user: &str,
        change: UserChange,
    ) -> anyhow::Result<Changed> {
        Ok(self.store.change_user(operation, user, change).await??)
    }
}

fn state(account: &Account) -> &'static str {
    match account.lock {
        _ if account.deactivated => "deactivated",
        Some(_) => "locked",
        None => "active",
    }
}

fn email_text(email: &Email) -> String {
    let verified = if email.verified {
        "verified"
    } else {
        "not verified"
    };
    format!("{} ({verified})", email.address)
}

fn address(text: &str) -> Result<String, String> {
    match text.parse::<Address>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err("an address is like alice@example.com".to_owned()),
    }
}
