//! What a target would do with plans: the same reading and the same edits in memory, and nothing is sent.

use std::sync::Arc;

use futures::FutureExt as _;

use super::{
    asked::Asked,
    command::GitError,
    find::{Finding, Places, told},
    known::{GroupState, read_group},
    proposal::Memo,
    request::{self, RoundError, branch_of},
    target::Target,
    work::{Edits, Look, Work},
};
use crate::{
    domain::{
        plan::{Approved, Plan},
        reason::{Code, Reason},
        update::LeftOut,
    },
    ports::Outcome,
};

/// Where an update would be written, or why it would not be.
type Shown = Result<Places, Reason>;

impl Target {
    /// Where each plan would be written, as `file:line`, or why it would not be. Nothing is changed, in Git and at the
    /// forge.
    pub async fn preview(&self, plans: Vec<Plan<Approved>>) -> Result<Vec<Result<Places, Reason>>, String> {
        let mut work = self.work.lock().await;
        let foreseen = work.open.foreseen();
        let before = std::mem::replace(&mut work.open, foreseen);
        let shown = self.each_way(&mut work, &plans, |target, work, asked, by_request| {
            async move { target.foresee(work, &asked, by_request).await }.boxed()
        });
        let shown = shown.await;
        work.open = before;
        shown.map_err(|error| format!("{}: {error}", self.settings.place()))
    }

    async fn foresee(
        &self,
        work: &mut Work,
        asked: &Arc<Vec<Asked>>,
        by_request: bool,
    ) -> Result<Vec<Shown>, GitError> {
        if !by_request {
            let Look { findings, left, .. } = work.look(asked).await?;
            return Ok(self.shown(work.edit(findings).await?, left));
        }
        match self.foresee_request(work, asked).await {
            Ok(shown) => Ok(shown),
            Err(RoundError::Git(error)) => Err(error),
            Err(RoundError::Forge(error)) => {
                let reason = match request::failed(&error, &self.settings.place()) {
                    Outcome::Refused(why) => Reason::new(Code::GitRefused, why),
                    _ => Reason::new(Code::WriteFailed, format!("{}: {error}", self.settings.place())),
                };
                Ok(vec![Err(reason); asked.len()])
            }
        }
    }

    async fn foresee_request(&self, work: &mut Work, asked: &[Asked]) -> Result<Vec<Shown>, RoundError> {
        let (Some(requests), Some(first)) = (&self.requests, asked.first()) else {
            return Ok(vec![Err(Reason::new(Code::WriteFailed, self.no_requests())); asked.len()]);
        };
        let GroupState { known, all, findings, left, .. } = read_group(requests, work, asked).await?;
        let edits = work.edit(findings).await?;
        // What it would open or close counts for the groups behind it.
        let wanted: Vec<Asked> = edits.made().map(|(at, _)| all[at].clone()).collect();
        let branch = branch_of(&self.settings.name, first.update.route.group());
        if !wanted.is_empty() {
            work.open.saw(&branch, Some(Memo::of(&wanted, known.refused).namespaces));
        } else if edits.findings.iter().all(|finding| matches!(finding, Finding::There(_))) {
            work.open.saw(&branch, None);
        }
        Ok(self.shown(edits, left))
    }

    fn shown(&self, Edits { findings, refused, .. }: Edits, left: Vec<Vec<LeftOut>>) -> Vec<Shown> {
        let told = told(findings, &refused, &self.settings.place());
        told.into_iter().zip(left).map(|(told, left)| told.map(|places| places.without(left))).collect()
    }
}
