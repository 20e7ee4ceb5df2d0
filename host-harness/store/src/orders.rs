//! Orders and look-ups by their names, the same for every store: each is a rule of
//! [`chat_domain`] and one trip to the store.

use crate::{BrokenLog, Result, Store, StoreError};
use chat_domain::account::Selector;
use chat_domain::account::{Account, Profile, User};
use chat_domain::audit_log::Page;
use chat_domain::audit_log::check::{Check, Past, Report};
use chat_domain::directory::{AccountFilter, Member, Place};
use chat_domain::dossier::{Dossier, Question, Subject};
use chat_domain::member::Login;
use chat_domain::operator::{
    self, AddUser, Answer, ChangeRole, ChangeUser, Changed, CreateWorkspace, NewUser, NewWorkspace,
    Operation, Problem, Role, RoleChange, SetSetting, TokenSummary, UserChange,
};
use chat_domain::order::{Decided, Order};
use chat_domain::outbox::{Mail, RemoveMail, RetryMail, StoredMail};
use chat_domain::settings::{Setting, Settings};
use chat_domain::standing::{self, Standing};
use chat_domain::time::Timestamp;
use secrecy::SecretString;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Pages of logs that are held to their proofs at a time in a process, for requests: each takes a
/// processor for some 20 ms, and those who reset need one, too.
static CHECKS: Semaphore = Semaphore::const_new(1);

/// What a look at an audit log finds that must not take long.
#[derive(Debug, PartialEq)]
pub enum LogState {
    /// There is none yet.
    Empty,
    /// It was looked at.
    Checked(Report),
    /// It is too long for that.
    TooLong {
        /// Records that were ever logged.
        size: u64,
    },
    /// What is kept is no log.
    NoLog,
}

/// # Errors
///
/// Every function fails with [`StoreError`] as [`Store`] does; what an operator can
/// mend is a [`Problem`].
impl dyn Store + '_ {
    /// Decides `order` and commits what it changes.
    pub async fn decide<O>(&self, order: O) -> Result<O::Answer>
    where
        O: Order + Send + 'static,
        O::Answer: Send + 'static,
    {
        let question = order.question();
        let answer = Arc::new(Mutex::new(None));
        let decided = answer.clone();
        let decide = move |dossier: &Dossier| {
            let Decided { answer, changes } = order.decide(dossier);
            *decided.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            changes
        };
        self.transact(question, Box::new(decide)).await?;
        let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.ok_or_else(|| StoreError("nothing was decided".into()))
    }

    /// The settings of a workspace; none where there is no such workspace.
    pub async fn settings(&self, workspace: &str) -> Result<Option<Settings>> {
        let question = Question::of(workspace).with_settings();
        Ok(self.read(&question).await?.settings)
    }

    /// The account `user`, if it is active and holds the token with this hash
    /// at `now`, and what it may.
    pub async fn standing(
        &self,
        workspace: &str,
        user: &str,
        token_hash: &str,
        now: Timestamp,
    ) -> Result<Option<Standing>> {
        let question = Standing::question(workspace, user, token_hash);
        Ok(Standing::of(&self.read(&question).await?, now))
    }

    /// The account that holds the token with this hash at `now`, if it is
    /// active.
    pub async fn token_holder(
        &self,
        workspace: &str,
        token_hash: &str,
        now: Timestamp,
    ) -> Result<Option<Account>> {
        let question = standing::resume_question(workspace, token_hash);
        Ok(standing::resume(self.read(&question).await?, now))
    }

    /// What a log-in by this username, or by an address where it holds an `@`,
    /// is checked against; none where no active account has it.
    pub async fn find_login(
        &self,
        workspace: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<Login>> {
        let question = Login::question(workspace, name);
        Ok(Login::of(self.read(&question).await?, now))
    }

    /// The account that `selector` names.
    pub async fn find_user(&self, workspace: &str, selector: Selector) -> Result<Option<User>> {
        let question = Question::of(workspace).about(Subject::new(selector));
        let dossier = self.read(&question).await?;
        let found = dossier.accounts.into_iter().next().flatten();
        Ok(found.map(|profile| profile.user))
    }

    /// Creates a workspace with everything in it. False, and nothing is done,
    /// where the store has a workspace of that id.
    pub async fn create_workspace(&self, workspace: NewWorkspace) -> Result<bool> {
        self.decide(CreateWorkspace(workspace)).await
    }

    /// All accounts, ordered by username.
    pub async fn users(&self, workspace: &str, now: Timestamp) -> Result<Answer<Vec<Account>>> {
        let Some(settings) = self.settings(workspace).await? else {
            return Ok(Err(Problem::UnknownWorkspace(workspace.to_owned())));
        };
        let profiles = self.profiles(workspace).await?.into_iter();
        let accounts = profiles.map(|profile| Account::of(profile, &settings, now));
        Ok(Ok(accounts.collect()))
    }

    /// A page of accounts, as those see them who may reset them, where these settings hold, and
    /// where the next are. Of those of whom a lock is asked for, only the ones who are locked at
    /// `now`.
    pub async fn members(
        &self,
        workspace: &str,
        mut filter: AccountFilter,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<(Vec<Member>, Option<Place>)> {
        /// Pages that are looked through for members who are locked: so many locks that are over
        /// are few.
        const MOST_PAGES: u32 = 10;
        let mut members = Vec::new();
        for _ in 0..MOST_PAGES {
            let page = self.accounts(workspace, &filter).await?;
            let profiles = page.profiles.into_iter();
            let found = profiles.map(|profile| Member::of(profile, settings, now));
            members
                .extend(found.filter(|found| !filter.lock_noted || found.account.lock.is_some()));
            filter.after = page.next;
            if filter.after.is_none() || !filter.lock_noted || !members.is_empty() {
                break;
            }
        }
        Ok((members, filter.after))
    }

    /// The account that an operator calls `user`: a username, in any case, or an id.
    pub async fn user(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Answer<Account>> {
        let named = self.named(workspace, user).await?;
        Ok(named.map(|(profile, settings)| Account::of(profile, &settings, now)))
    }

    /// The tokens of `user` that are valid at `now`: personal access tokens by
    /// name, then sessions by their end.
    pub async fn tokens(
        &self,
        workspace: &str,
        user: &str,
        now: Timestamp,
    ) -> Result<Answer<Vec<TokenSummary>>> {
        let named = self.named(workspace, user).await?;
        Ok(named.map(|(profile, _)| TokenSummary::of(profile, now)))
    }

    /// All roles, ordered by name.
    pub async fn roles(&self, workspace: &str) -> Result<Answer<Vec<Role>>> {
        match self.find_workspace(workspace).await? {
            Ok(()) => Ok(Ok(self.all_roles(workspace).await?)),
            Err(problem) => Ok(Err(problem)),
        }
    }

    /// Adds an account.
    pub async fn add_user(&self, operation: Operation, user: NewUser) -> Result<Answer<Account>> {
        self.decide(AddUser { operation, user }).await
    }

    /// Changes the account that an operator calls `user`.
    pub async fn change_user(
        &self,
        operation: Operation,
        user: &str,
        change: UserChange,
    ) -> Result<Answer<Changed>> {
        let user = user.to_owned();
        let order = ChangeUser {
            operation,
            user,
            change,
        };
        self.decide(order).await
    }

    /// Changes the role `role`, and gives it as it is then.
    pub async fn change_role(
        &self,
        operation: Operation,
        role: &str,
        change: RoleChange,
    ) -> Result<Answer<Role>> {
        let role = role.to_owned();
        let order = ChangeRole {
            operation,
            role,
            change,
        };
        self.decide(order).await
    }

    /// Sets a setting, whatever it was before.
    pub async fn set_setting(
        &self,
        operation: Operation,
        setting: &'static Setting,
        value: SecretString,
    ) -> Result<Answer<()>> {
        let order = SetSetting {
            operation,
            setting,
            value,
        };
        self.decide(order).await
    }

    /// The mails that wait and the dead letters, oldest first.
    pub async fn list_mail(&self, workspace: &str, now: Timestamp) -> Result<Answer<Vec<Mail>>> {
        if let Err(problem) = self.find_workspace(workspace).await? {
            return Ok(Err(problem));
        }
        let mails = self.all_mails(workspace).await?;
        Ok(Ok(mails
            .into_iter()
            .map(|mail| Mail::of(mail, now))
            .collect()))
    }

    /// The same, whether or not there is such a workspace.
    pub async fn all_mails(&self, workspace: &str) -> Result<Vec<StoredMail>> {
        self.mails(workspace, i64::MIN, u32::MAX).await
    }

    /// The mail with this id.
    pub async fn find_mail(
        &self,
        workspace: &str,
        id: i64,
        now: Timestamp,
    ) -> Result<Answer<Mail>> {
        let question = Question::of(workspace).with_existence().with_mail(id);
        let dossier = self.read(&question).await?;
        if let Err(problem) = operator::require_workspace(workspace, &dossier) {
            return Ok(Err(problem));
        }
        let mail = dossier.mail.map(|mail| Mail::of(mail, now));
        Ok(mail.ok_or(Problem::UnknownMail(id)))
    }

    /// Makes a mail due at once; a dead letter has the workspace's whole time
    /// again.
    pub async fn retry_mail(&self, operation: Operation, id: i64) -> Result<Answer<()>> {
        self.decide(RetryMail { operation, id }).await
    }

    /// Removes a mail; one that is being sent may still arrive.
    pub async fn remove_mail(&self, operation: Operation, id: i64) -> Result<Answer<()>> {
        self.decide(RemoveMail { operation, id }).await
    }

    /// Has `look` see a workspace's audit log, from the first part to the last; gives the last,
    /// none where there is no log. What is appended meanwhile is seen, too.
    pub async fn read_log(
        &self,
        workspace: &str,
        mut look: impl FnMut(&Page),
    ) -> Result<Option<Page>> {
        let mut from = Page::FIRST;
        while let Some(page) = self.log(workspace, from).await? {
            look(&page);
            // After the last place there is, no page follows.
            match page.next.and_then(|next| i64::try_from(next).ok()) {
                Some(next) => from = next,
                None => return Ok(Some(page)),
            }
        }
        Ok(None)
    }

    /// Whether a workspace's audit log is whole, and goes on from the `past` one; none where there
    /// is no log.
    pub async fn check_log(&self, workspace: &str, past: Option<Past>) -> Result<Option<Report>> {
        let mut check = Check::new(past);
        let last = self.read_log(workspace, |page| check.page(page)).await?;
        Ok(last.map(|last| check.finish(&last)))
    }

    /// The same, of a log that has not more records than these. It waits its turn, so that few are
    /// looked at for requests at a time, and is in nobody's way meanwhile.
    pub async fn look_at_log(&self, workspace: &str, most: u64) -> Result<LogState> {
        let mut check = Check::new(None);
        let mut from = Page::FIRST;
        loop {
            let mut page = match self.log(workspace, from).await {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(LogState::Empty),
                Err(error) if error.0.is::<BrokenLog>() => return Ok(LogState::NoLog),
                Err(error) => return Err(error),
            };
            let size = page.head.size();
            if size > most {
                return Ok(LogState::TooLong { size });
            }
            let turn = CHECKS
                .acquire()
                .await
                .map_err(|closed| StoreError(closed.into()))?;
            let checked = spawn_blocking(move || {
                // Also where nobody waits for it any more.
                let _turn = turn;
                check.page(&page);
                (check, page)
            });
            (check, page) = checked.await.map_err(|panic| StoreError(panic.into()))?;
            // After the last place there is, no page follows.
            match page.next.and_then(|next| i64::try_from(next).ok()) {
                Some(next) => from = next,
                None => return Ok(LogState::Checked(check.finish(&page))),
            }
        }
    }

    async fn named(&self, workspace: &str, name: &str) -> Result<Answer<(Profile, Settings)>> {
        let question = operator::named_question(workspace, name);
        let dossier = self.read(&question).await?;
        let profile = operator::named(workspace, name, &dossier).cloned();
        let settings = dossier.settings.unwrap_or_default();
        Ok(profile.map(|profile| (profile, settings)))
    }

    /// Whether there is such a workspace.
    pub async fn find_workspace(&self, workspace: &str) -> Result<Answer<()>> {
        let dossier = self.read(&Question::of(workspace).with_existence()).await?;
        Ok(operator::require_workspace(workspace, &dossier))
    }
}
