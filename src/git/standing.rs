//! How updates stand that were brought to a target before: read, and changed by nobody.

use std::{convert::Infallible, sync::Arc};

use futures::FutureExt as _;

use super::{
    asked::Asked,
    command::GitError,
    find::Finding,
    part::partly,
    request::{self, RoundError},
    target::Target,
    work::{Edits, Look, Work},
};
use crate::{
    domain::{
        plan::{Approved, Plan},
        update::LeftOut,
    },
    ports::Standing,
};

impl Target {
    /// How each stands.
    pub(super) async fn standings(&self, plans: Vec<Plan<Approved>>) -> Vec<Standing> {
        let mut work = self.work.lock().await;
        let found = self.each_way(&mut work, &plans, |target, work, asked, by_request| {
            async move { Ok::<_, Infallible>(target.way_standings(work, &asked, by_request).await) }.boxed()
        });
        found.await.unwrap_or_else(|never| match never {})
    }

    async fn way_standings(&self, work: &mut Work, asked: &Arc<Vec<Asked>>, by_request: bool) -> Vec<Standing> {
        let found = match (by_request, &self.requests) {
            (false, _) => self.branch_standings(work, asked).await.map_err(RoundError::from),
            (true, Some(requests)) => request::standings(requests, work, asked).await,
            (true, None) => Ok(vec![Standing::Failed(self.no_requests()); asked.len()]),
        };
        found.unwrap_or_else(|trouble| {
            if matches!(trouble, RoundError::Git(_)) {
                work.mirror.reset();
            }
            vec![Standing::Failed(format!("{}: {trouble}", self.settings.place())); asked.len()]
        })
    }

    async fn branch_standings(&self, work: &mut Work, asked: &Arc<Vec<Asked>>) -> Result<Vec<Standing>, GitError> {
        let Look { findings, left, .. } = work.look(asked).await?;
        let Edits { findings, refused, .. } = work.edit(findings).await?;
        let standing = |((index, finding), left): ((usize, Finding), Vec<LeftOut>)| match (finding, refused.get(&index))
        {
            (_, Some(why)) => Standing::Blocked(self.settings.misfit(why)),
            (Finding::Blocked(reason), _) => Standing::Blocked(reason),
            (Finding::MovedBack(moved), _) => moved.standing(),
            (Finding::There(places), _) => Standing::InGit(partly(self.settings.has(&places), &left), left),
            (Finding::Edits(..), _) => Standing::Due,
        };
        Ok(findings.into_iter().enumerate().zip(left).map(standing).collect())
    }
}
