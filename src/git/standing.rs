//! How updates stand that were brought to a target before: read, and changed by nobody.

use std::sync::Arc;

use super::{
    command::GitError,
    find::{Asked, Finding},
    request::{self, RoundError},
    target::{Edits, Look, Target, Work, partly},
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
        let asked: Vec<Asked> = plans.iter().map(Asked::from).collect();
        let mut all = vec![Standing::Due; asked.len()];
        for (way, indices) in request::ways(&asked) {
            let asked: Arc<Vec<Asked>> = Arc::new(indices.iter().map(|&index| asked[index].clone()).collect());
            let found = match (way, &self.requests) {
                (None, _) => self.branch_standings(&mut work, &asked).await.map_err(RoundError::from),
                (Some(_), Some(requests)) => request::standings(self, requests, &mut work, &asked).await,
                (Some(_), None) => Ok(vec![Standing::Failed(self.no_requests()); asked.len()]),
            };
            let found = found.unwrap_or_else(|trouble| {
                if matches!(trouble, RoundError::Git(_)) {
                    work.mirror.reset();
                }
                vec![Standing::Failed(format!("{}: {trouble}", self.place())); asked.len()]
            });
            for (index, standing) in indices.into_iter().zip(found) {
                all[index] = standing;
            }
        }
        all
    }

    async fn branch_standings(&self, work: &mut Work, asked: &Arc<Vec<Asked>>) -> Result<Vec<Standing>, GitError> {
        let Look { findings, left, .. } = self.look(work, asked).await?;
        let Edits { findings, refused, .. } = self.edit(work, findings).await?;
        let standing = |((index, finding), left): ((usize, Finding), Vec<LeftOut>)| match (finding, refused.get(&index))
        {
            (_, Some(why)) => Standing::Blocked(self.misfit(why)),
            (Finding::Blocked(reason), _) => Standing::Blocked(reason),
            (Finding::There(places), _) => Standing::InGit(partly(self.has(&places), &left), left),
            (Finding::Edits(..), _) => Standing::Due,
        };
        Ok(findings.into_iter().enumerate().zip(left).map(standing).collect())
    }
}
