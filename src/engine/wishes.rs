//! What is wished for the workloads whose images may stand at the same places in Git.

use std::{collections::HashSet, sync::Arc};

use jiff::Timestamp;

use crate::{
    domain::{
        image::{ImageRef, Repository},
        plan::{Approved, Origin, Plan, Wish, WishedImage, Wishes},
        reason::Code,
        report::Verdict,
        workload::{Owner, WorkloadId},
    },
    engine::{
        index::{entry::WorkloadEntry, state::State},
        report::rows::{Assessment, assess},
        updates::board::Board,
    },
};

/// Gives plans for Git the wishes of all workloads that have an image of one of their repositories. One pass over the
/// workloads for all plans, and none where there is no plan.
pub(crate) fn among(state: &State, board: &Board, plans: Vec<Plan<Approved>>, now: Timestamp) -> Vec<Plan<Approved>> {
    if plans.is_empty() {
        return plans;
    }
    let changes = plans.iter().flat_map(|plan| plan.update().changes());
    let repositories: HashSet<&Repository> = changes.flat_map(|c| [&c.from.repository, &c.to.repository]).collect();
    let wishes: Wishes =
        state.workloads().filter_map(|id| Some((id.clone(), wish(state, board, id, &repositories, now)?))).collect();
    let wishes = Arc::new(wishes);
    plans.into_iter().map(|plan| plan.among(wishes.clone())).collect()
}

/// None if it has no image of these repositories.
fn wish(
    state: &State,
    board: &Board,
    id: &WorkloadId,
    repositories: &HashSet<&Repository>,
    now: Timestamp,
) -> Option<Wish> {
    let entry = state.entry(id)?;
    let parsed: Vec<_> =
        entry.workload.containers.iter().map(|container| (container, ImageRef::parse(&container.image).ok())).collect();
    // What is no image may become one.
    if !parsed.iter().any(|(_, image)| image.as_ref().is_none_or(|image| repositories.contains(&image.repository))) {
        return None;
    }
    let watched = entry.rule.watched || !entry.rule.problems.is_empty();
    let assessment = if watched { assess(state, board, id, "", now) } else { None };
    let images = parsed.into_iter().map(|(container, now)| WishedImage {
        container: container.name.clone(),
        init: container.init,
        to: to(assessment.as_ref(), &container.name, container.init),
        now,
    });
    let images = images.collect();
    Some(Wish { watched, origin: origin(state, entry), instance: entry.workload.instance.clone(), images })
}

fn origin(state: &State, entry: &WorkloadEntry) -> Origin {
    match (entry.rule.write.target(), state.owner(&entry.workload)) {
        (Some(target), _) => Origin::Target(target.clone()),
        (None, Some(Owner::Elsewhere(_))) if !entry.rule.overrides_owner => {
            Origin::Unsaid(state.settings.targets.serving(&entry.workload.id.namespace).cloned().collect())
        }
        (None, _) => Origin::Cluster,
    }
}

/// The image that a container is to have, or why it stays as it is.
fn to(assessment: Option<&Assessment>, container: &str, init: bool) -> Result<ImageRef, Code> {
    let Some(Assessment { reports, plan, .. }) = assessment else { return Err(Code::NotWatched) };
    let mut changes = plan.iter().flat_map(|plan| plan.update().changes());
    if let Some(change) = changes.find(|change| *change.container == *container && change.init == init) {
        return Ok(change.to.clone());
    }
    let row = reports.iter().find(|row| *row.container == *container || row.container.is_empty());
    let reason = row.filter(|row| row.decision != Verdict::UpToDate || row.to.is_none());
    Err(reason
        .and_then(|row| row.reasons.iter().find(|reason| reason.tag.is_none()))
        .map_or(Code::UpToDate, |r| r.code))
}
