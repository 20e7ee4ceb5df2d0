//! What operators do to roles.

use super::{Answer, Granted, Operation, Role, require_role};
use crate::account::EDIT_OTHER_USER_TOTP;
use crate::audit::Action;
use crate::dossier::{Administrator, Dossier, Question};
use crate::order::{Change, Decided, Order};

/// What an operator does to a role.
#[derive(Clone, Debug)]
pub enum RoleChange {
    /// Grants this permission; makes the role where there is none.
    Allow(String),
    /// Takes this permission away.
    Deny(String),
}

/// Changes a role, and answers it as it is then.
#[derive(Clone, Debug)]
pub struct ChangeRole {
    /// Where and when.
    pub operation: Operation,
    /// Its name.
    pub role: String,
    /// What is done.
    pub change: RoleChange,
}

impl Order for ChangeRole {
    type Answer = Answer<Role>;

    fn question(&self) -> Question {
        let question = self.operation.question();
        let question = question.with_role_names().with_role(&self.role);
        match self.change {
            RoleChange::Deny(_) => question.with_administrators(),
            RoleChange::Allow(_) => question,
        }
    }

    fn decide(&self, dossier: &Dossier) -> Decided<Self::Answer> {
        Operation::decided(self.grant(dossier))
    }
}

impl ChangeRole {
    fn grant(&self, dossier: &Dossier) -> Granted<Role> {
        self.operation.require_workspace(dossier)?;
        let name = &self.role;
        let mut role = dossier.role.clone().unwrap_or_else(|| Role {
            name: name.clone(),
            permissions: Vec::new(),
            members: Vec::new(),
        });
        let (action, permission, mut changes) = match &self.change {
            RoleChange::Allow(permission) => {
                if let Err(place) = role.permissions.binary_search(permission) {
                    role.permissions.insert(place, permission.clone());
                }
                let (role, permission) = (name.clone(), permission);
                let changes = vec![
                    Change::AddRole { role: role.clone() },
                    Change::AllowPermission {
                        role,
                        permission: permission.clone(),
                    },
                ];
                (Action::AllowPermission, permission, changes)
            }
            RoleChange::Deny(permission) => {
                require_role(dossier, name)?;
                let is_gone =
                    |held: &Administrator| held.role == *name && permission == EDIT_OTHER_USER_TOTP;
                self.operation.leaves_an_administrator(dossier, is_gone)?;
                role.permissions.retain(|granted| granted != permission);
                let denied = Change::DenyPermission {
                    role: name.clone(),
                    permission: permission.clone(),
                };
                (Action::DenyPermission, permission, vec![denied])
            }
        };
        let detail = Some(format!("{name}: {permission}"));
        let record = self.operation.record(action, None, detail);
        changes.push(Change::Record(record));
        Ok((role, changes))
    }
}
