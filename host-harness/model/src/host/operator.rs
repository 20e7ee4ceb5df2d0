//! What operators do, and what a host does by itself.

use super::{Answer, Host};
use crate::acme::{self, access, key};
use crate::deed::Deed;
use crate::ledger::Ledger;
use crate::schedule::{Intervention, PLACES, Switch};
use chat_domain::account::Email;
use chat_domain::account::TotpFactor;
use chat_domain::operator::{
    AddUser, ChangeRole, ChangeUser, CreateWorkspace, FixSettings, NewUser, Operation, RoleChange,
    SetSetting, UserChange,
};
use chat_domain::retention::Prune;
use chat_domain::settings::Setting;
use chat_domain::totp::code_hash;
use std::collections::BTreeMap;

/// What begins the ids of accounts that are added.
pub(super) const ADDED: &str = "member-";

impl Host<'_> {
    pub(super) fn operate(&mut self, id: &str, deed: Intervention) -> Answer<()> {
        let codes = self.codes();
        let backup_code_hashes = codes.iter().map(|code| code_hash(code)).collect();
        let username = &self.account(id).user.username;
        let change = ChangeUser {
            operation: self.operation(),
            user: match self.made % 3 {
                0 => username.to_uppercase(),
                _ => id.to_owned(),
            },
            change: match deed {
                Intervention::SetPassword => {
                    UserChange::SetPassword(format!("password-{}", self.made).into())
                }
                Intervention::EnrolTotp => UserChange::EnrolTotp(TotpFactor {
                    key: self.new_key(),
                    last_step: None,
                    backup_code_hashes,
                    spent_code_hashes: Vec::new(),
                }),
                Intervention::ReplaceBackupCodes => {
                    UserChange::ReplaceBackupCodes { backup_code_hashes }
                }
                Intervention::ResetTotp => UserChange::ResetTotp,
                Intervention::Unlock => UserChange::Unlock,
                Intervention::Activate => UserChange::Activate,
                Intervention::Deactivate => UserChange::Deactivate,
                Intervention::GiveRole => UserChange::GiveRole("admin".to_owned()),
                Intervention::TakeRole => UserChange::TakeRole("admin".to_owned()),
                Intervention::CreateToken(bypass) => {
                    let name = format!("token-{}", self.made);
                    UserChange::CreateToken(access(&name, &name, bypass))
                }
                Intervention::RevokeToken => {
                    let mut tokens = self.account(id).tokens.iter();
                    let name = tokens.find_map(|token| token.name.clone());
                    UserChange::RevokeToken(name.unwrap_or_else(|| "nonesuch".to_owned()))
                }
                Intervention::RevokeAllTokens => UserChange::RevokeAllTokens,
            },
        };
        self.made += 1;
        let deed = |answer: &Result<_, _>| Deed::Operation {
            change: ChangeUser {
                user: id.to_owned(),
                ..change.clone()
            },
            done: answer.is_ok(),
            issued: codes,
        };
        self.ask(&change, deed).map(drop)
    }

    pub(super) fn configure(&mut self, switch: Switch) -> Answer<()> {
        let (name, value) = switch.setting();
        let order = SetSetting {
            operation: self.operation(),
            setting: Setting::named(name).unwrap(),
            value: value.into(),
        };
        let deed = |answer: &Result<(), _>| Deed::Settings {
            records: answer.is_ok().into(),
        };
        self.ask(&order, deed).map(drop)
    }

    pub(super) fn fix(&mut self, one: Switch, other: Switch) -> Answer<()> {
        let mut settings: BTreeMap<_, _> = [one.setting(), other.setting()].into();
        if self.made.is_multiple_of(4) {
            settings.clear();
        }
        let said = settings.into_iter().map(|(name, value)| {
            let setting = Setting::named(name).unwrap();
            (setting, value.into(), format!("chat.toml:{}", self.made))
        });
        let order = FixSettings {
            operation: self.operation(),
            settings: said.collect(),
        };
        let deed = |answer: &Result<usize, _>| Deed::Settings {
            records: *answer.as_ref().unwrap_or(&0),
        };
        self.ask(&order, deed).map(drop)
    }

    pub(super) fn change_role(&mut self, role: u8, permission: u8, allowed: bool) -> Answer<()> {
        const ROLES: [&str; 5] = ["admin", "helpdesk", "user", "auditor", "admin"];
        const PERMISSIONS: [&str; 3] = [
            "edit-other-user-totp",
            "view-history",
            "api-bypass-rate-limit",
        ];
        let permission = PERMISSIONS
            .get(usize::from(permission))
            .unwrap()
            .to_string();
        let order = ChangeRole {
            operation: self.operation(),
            role: ROLES.get(usize::from(role)).unwrap().to_string(),
            change: match allowed {
                true => RoleChange::Allow(permission),
                false => RoleChange::Deny(permission),
            },
        };
        self.made += 1;
        let forced = order.operation.forced;
        let deed = |answer: &Result<_, _>| Deed::Role {
            done: answer.is_ok(),
            forced,
        };
        self.ask(&order, deed).map(drop)
    }

    /// Some that cannot be added among them.
    pub(super) fn add_user(&mut self, kind: u8) -> Answer<()> {
        let number = self.made;
        let issued = self.codes();
        self.made += 1;
        let id = format!("{ADDED}{number}");
        let username = match kind {
            0 => "ALICE".to_owned(),
            1 => "admln".to_owned(),
            2 => "a b".to_owned(),
            3 => "aIice".to_owned(),
            _ => format!("Member.{number}"),
        };
        let address = match kind {
            4 => self
                .account("alice")
                .emails
                .first()
                .map(|email| email.address.clone()),
            _ => Some(format!("{id}@{}.example", self.place)),
        };
        let emails = address.map(|address| Email {
            address,
            verified: kind.is_multiple_of(2),
        });
        let user = NewUser {
            id: id.clone(),
            username,
            password_hash: kind
                .is_multiple_of(3)
                .then(|| format!("password-{number}").into()),
            roles: match kind {
                5 => vec!["nonesuch".to_owned()],
                6 => vec!["user".to_owned(), "user".to_owned()],
                7 => vec!["admin".to_owned()],
                _ => vec!["user".to_owned()],
            },
            emails: emails.into_iter().collect(),
            email_two_factor: kind.is_multiple_of(4),
            totp: (kind > 10).then(|| TotpFactor {
                key: key(&id),
                last_step: None,
                backup_code_hashes: issued.iter().map(|code| code_hash(code)).collect(),
                spent_code_hashes: Vec::new(),
            }),
            ..NewUser::default()
        };
        let order = AddUser {
            operation: self.operation(),
            user,
        };
        let deed = |answer: &Result<_, _>| Deed::NewUser {
            id,
            done: answer.is_ok(),
            issued,
        };
        self.ask(&order, deed).map(drop)
    }

    pub(super) fn prune(&mut self) -> Answer<()> {
        let order = Prune(self.operation());
        let now = self.now;
        let deed = |answer: &Result<bool, _>| Deed::Prune {
            done: matches!(answer, Ok(true)),
            now,
        };
        self.ask(&order, deed).map(drop)
    }

    pub(super) fn create(&mut self, place: &'static str) -> Answer<()> {
        let order = CreateWorkspace(acme::new(place));
        let is_new = !self.model.has(place);
        let answer = self.ask(&order, |created| {
            assert_eq!(*created, is_new);
            Deed::Created
        });
        if is_new && self.model.has(place) {
            let ledger = Ledger::new(place, self.model.workspace(place), self.seen);
            self.ledgers.insert(place, ledger);
            if place == PLACES[2] {
                self.seen.note("a workspace was created");
            }
        }
        answer.map(drop)
    }

    pub(super) fn operation(&self) -> Operation {
        Operation {
            workspace: self.place.to_owned(),
            now: self.now,
            request_id: "request".to_owned(),
            forced: self.made.is_multiple_of(2),
        }
    }
}
