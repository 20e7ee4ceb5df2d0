//! `role`: show and change roles, and who has them.

use super::account::changed_report;
use super::table::{headed, listed};
use super::{Desk, Even, Report, name};
use chat_domain::operator::{Operation, Role, RoleChange, UserChange};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Members of a role that are named to people: a role such as `user` has
/// everybody.
const NAMED_MEMBERS: usize = 8;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the roles, what they grant and who has them.
    List,
    /// Let those who have a role do something; makes the role where there is
    /// none.
    ///
    /// This host asks for two permissions: edit-other-user-totp (reset another
    /// member's TOTP) and api-bypass-rate-limit.
    ///
    /// Example: host-harness role allow helpdesk edit-other-user-totp
    Allow(Grant),
    /// Take a permission from a role.
    Deny {
        #[command(flatten)]
        grant: Grant,
        #[command(flatten)]
        even: Even,
    },
    /// Give a role to a user.
    Give(Membership),
    /// Take a role from a user.
    Take {
        #[command(flatten)]
        membership: Membership,
        #[command(flatten)]
        even: Even,
    },
}

/// A permission of a role.
#[derive(Args)]
pub(crate) struct Grant {
    /// The role.
    #[arg(value_parser = name)]
    role: String,
    /// For example edit-other-user-totp.
    #[arg(value_parser = name)]
    permission: String,
}

/// A role of a user.
#[derive(Args)]
pub(crate) struct Membership {
    /// The role.
    role: String,
    /// A username or an id.
    user: String,
}

pub(super) async fn run(desk: &Desk, command: Command) -> anyhow::Result<Report> {
    match command {
        Command::List => list(desk).await,
        Command::Allow(Grant { role, permission }) => {
            let allowed = RoleChange::Allow(permission);
            change(desk, desk.operation(), &role, allowed).await
        }
        Command::Deny {
            grant: Grant { role, permission },
            even,
        } => {
            let denied = RoleChange::Deny(permission);
            change(desk, even.operation(desk), &role, denied).await
        }
        Command::Give(Membership { role, user }) => {
            let given = UserChange::GiveRole(role);
            change_membership(desk, desk.operation(), &user, given).await
        }
        Command::Take {
            membership: Membership { role, user },
            even,
        } => {
            let taken = UserChange::TakeRole(role);
            change_membership(desk, even.operation(desk), &user, taken).await
        }
    }
}

async fn list(desk: &Desk) -> anyhow::Result<Report> {
    let roles = desk.store.roles(&desk.workspace).await??;
    let row = |role: &Role| [role.name.clone(), listed(&role.permissions), members(role)];
    Ok(Report {
        text: headed(
            ["ROLE", "PERMISSIONS", "MEMBERS"],
            roles.iter().map(row).collect(),
        ),
        json: roles.iter().map(described).collect(),
    })
}

async fn change(
    desk: &Desk,
    operation: Operation,
    role: &str,
    change: RoleChange,
) -> anyhow::Result<Report> {
    let role = desk.store.change_role(operation, role, change).await??;
    Ok(Report {
        text: format!("{} grants: {}", role.name, listed(&role.permissions)),
        json: described(&role),
    })
}

async fn change_membership(
    desk: &Desk,
    operation: Operation,
    user: &str,
    change: UserChange,
) -> anyhow::Result<Report> {
    let changed = desk.change_by(operation, user, change).await?;
    Ok(changed_report(&changed, |username| {
        format!(
            "{username} has the roles: {}",
            listed(&changed.account.roles)
        )
    }))
}

fn members(role: &Role) -> String {
    let named: Vec<_> = role.members.iter().take(NAMED_MEMBERS).collect();
    let others = role.members.len() - named.len();
    let named = listed(&named);
    if others == 0 {
        return named;
    }
    format!("{named} and {others} more")
}

fn described(role: &Role) -> Value {
    json!({"name": role.name, "permissions": role.permissions, "members": role.members})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_a_large_role_are_counted() {
        for (count, expected) in [
            (0, "-"),
            (2, "0, 1"),
            (8, "0, 1, 2, 3, 4, 5, 6, 7"),
            (10, "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"),
        ] {
            let role = Role {
                name: "user".to_owned(),
                permissions: Vec::new(),
                members: (0..count).map(|number| number.to_string()).collect(),
            };
            assert_eq!(members(&role), expected);
        }
    }
}
