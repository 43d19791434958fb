//! Whether a workload runs what was written to it. Pure.
//!
//! | | |
//! |---|---|
//! | [`RolloutView`], [`judge`] | what the workload says of itself, and what that means for its kind |
//! | [`Pods`], [`PodView`] | what the pods of its new revision say, and whose fault it is where they do not run |
//! | [`Following`] | what follows from both over time |

mod following;
mod pods;

pub use following::{Following, Judged, Pull, Times};
pub use pods::{Blame, ContainerView, End, FAULTS, Fault, PodView, Pods, without_words};

use std::{sync::Arc, time::Duration};

use super::workload::Kind;

/// What a workload says of its rollout: its `spec` and its `status`, whatever its kind. What is absent is 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RolloutView {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.observedGeneration`: what its controller has seen.
    pub observed: i64,
    /// `spec.replicas`, which is 1 where it is absent; of a DaemonSet `status.desiredNumberScheduled`.
    pub wanted: i64,
    /// `status.replicas`, or `currentNumberScheduled`.
    pub total: i64,
    /// `status.updatedReplicas`, or `updatedNumberScheduled`.
    pub updated: i64,
    /// `status.availableReplicas`, or `numberAvailable`.
    pub available: i64,
    /// `spec.paused`.
    pub is_paused: bool,
    /// Whether the strategy is `Recreate`.
    pub is_recreate: bool,
    /// Whether the update strategy is `OnDelete`.
    pub is_on_delete: bool,
    /// `spec.updateStrategy.rollingUpdate.partition`.
    pub partition: i64,
    /// `status.currentRevision` and `status.updateRevision`.
    pub revisions: [Arc<str>; 2],
    /// `spec.progressDeadlineSeconds`; `None` where there is no such thing, or it is as good as none (2147483647).
    pub deadline: Option<Duration>,
    /// `spec.minReadySeconds`: a pod that is ready is available that much later.
    pub min_ready: i64,
    /// What the condition `Progressing` says where it is False for `ProgressDeadlineExceeded`.
    pub overdue: Option<Arc<str>>,
    /// A hash of the pod template but for its images, where the whole object was read.
    pub template: Option<Arc<str>>,
    /// What the condition `ReplicaFailure` says where it is True: such as a quota.
    pub refused: Option<Arc<str>>,
}

/// What a workload's own words mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing brings the new image to its pods by itself; why.
    NotFollowed(&'static str),
    /// There are to be no pods that could prove anything.
    NotProved,
    /// Somebody paused it.
    Paused,
    /// It goes on.
    Going,
    /// Every pod that is to run the new revision does.
    Done,
    /// Its own deadline has passed, in its controller's words.
    Overdue(Arc<str>),
}

type Judge = fn(&RolloutView) -> State;

/// How the rollout of each kind is judged. What is not named here has none.
const JUDGES: &[(&str, Judge)] =
    &[("Deployment", deployment), ("StatefulSet", stateful_set), ("DaemonSet", daemon_set)];

/// Whether workloads of that kind have a rollout.
pub fn has_rollout(kind: &Kind) -> bool {
    JUDGES.iter().any(|(name, _)| *name == kind.as_str())
}

/// What a workload says of its rollout.
pub fn judge(kind: &Kind, view: &RolloutView) -> State {
    let judge = JUDGES.iter().find(|(name, _)| *name == kind.as_str());
    judge.map_or(State::NotFollowed("its next run uses the new image"), |(_, judge)| judge(view))
}

/// As `kubectl rollout status deployment` (Kubernetes: Deployments, "Deployment status").
fn deployment(view: &RolloutView) -> State {
    if view.wanted == 0 {
        State::NotProved
    } else if view.is_paused {
        State::Paused
    } else if view.observed < view.generation {
        State::Going
    } else if let Some(words) = &view.overdue {
        State::Overdue(words.clone())
    } else {
        let is_done = view.updated >= view.wanted && view.total == view.updated && view.available >= view.updated;
        done(is_done)
    }
}

/// Under a partition only the pods from that ordinal on are replaced (Kubernetes: StatefulSets, "Partitioned rolling
/// updates").
fn stateful_set(view: &RolloutView) -> State {
    let [current, update] = &view.revisions;
    if view.is_on_delete {
        State::NotFollowed("its update strategy is OnDelete: a pod gets the new image when somebody deletes it")
    } else if view.wanted <= view.partition {
        State::NotProved
    } else {
        done(
            view.observed >= view.generation
                && view.updated >= view.wanted - view.partition
                && view.available >= view.wanted
                && (view.partition > 0 || current == update),
        )
    }
}

fn daemon_set(view: &RolloutView) -> State {
    if view.is_on_delete {
        State::NotFollowed("its update strategy is OnDelete: a pod gets the new image when somebody deletes it")
    } else if view.observed < view.generation {
        State::Going
    } else if view.wanted == 0 {
        State::NotProved
    } else {
        done(view.updated >= view.wanted && view.available >= view.wanted)
    }
}

fn done(is_done: bool) -> State {
    if is_done { State::Done } else { State::Going }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three pods, all of them new.
    fn whole() -> RolloutView {
        let revision: Arc<str> = "r2".into();
        RolloutView {
            uid: "u".into(),
            generation: 2,
            observed: 2,
            wanted: 3,
            total: 3,
            updated: 3,
            available: 3,
            revisions: [revision.clone(), revision],
            ..RolloutView::default()
        }
    }

    fn with(change: impl FnOnce(&mut RolloutView)) -> RolloutView {
        let mut view = whole();
        change(&mut view);
        view
    }

    fn of(kind: &'static str, view: &RolloutView) -> State {
        judge(&Kind(kind.into()), view)
    }

    #[rstest::rstest]
    #[case::whole(with(|_| ()), State::Done)]
    #[case::not_observed(with(|view| view.observed = 1), State::Going)]
    #[case::generation_went_back(with(|view| view.generation = 1), State::Done)]
    #[case::not_all_updated(with(|view| view.updated = 2), State::Going)]
    #[case::old_ones_left(with(|view| view.total = 4), State::Going)]
    #[case::not_all_available(with(|view| view.available = 2), State::Going)]
    #[case::no_status(with(|view| (view.observed, view.total, view.updated, view.available) = (0, 0, 0, 0)), State::Going)]
    #[case::paused(with(|view| view.is_paused = true), State::Paused)]
    #[case::overdue(with(|view| view.overdue = Some("late".into())), State::Overdue("late".into()))]
    #[case::an_old_deadline(with(|view| (view.overdue, view.observed) = (Some("late".into()), 1)), State::Going)]
    #[case::none_wanted(with(|view| view.wanted = 0), State::NotProved)]
    fn a_deployment(#[case] view: RolloutView, #[case] expected: State) {
        assert_eq!(of("Deployment", &view), expected);
    }

    #[rstest::rstest]
    #[case::whole(with(|_| ()), State::Done)]
    #[case::not_observed(with(|view| view.observed = 1), State::Going)]
    #[case::two_revisions(with(|view| view.revisions[0] = "r1".into()), State::Going)]
    #[case::partition(with(|view| (view.partition, view.updated, view.revisions[0]) = (2, 1, "r1".into())), State::Done)]
    #[case::below_its_partition(with(|view| (view.partition, view.updated) = (1, 1)), State::Going)]
    #[case::partition_not_available(with(|view| (view.partition, view.available) = (2, 2)), State::Going)]
    #[case::none_wanted(with(|view| view.wanted = 0), State::NotProved)]
    #[case::none_from_its_partition_on(with(|view| (view.partition, view.updated) = (3, 0)), State::NotProved)]
    fn a_stateful_set(#[case] view: RolloutView, #[case] expected: State) {
        assert_eq!(of("StatefulSet", &view), expected);
    }

    #[rstest::rstest]
    #[case::whole(with(|_| ()), State::Done)]
    #[case::not_observed(with(|view| view.observed = 1), State::Going)]
    #[case::not_all_updated(with(|view| view.updated = 2), State::Going)]
    #[case::not_all_available(with(|view| view.available = 2), State::Going)]
    #[case::no_node(with(|view| view.wanted = 0), State::NotProved)]
    fn a_daemon_set(#[case] view: RolloutView, #[case] expected: State) {
        assert_eq!(of("DaemonSet", &view), expected);
    }

    #[test]
    fn what_nobody_brings_to_its_pods_is_not_followed() {
        let on_delete = RolloutView { is_on_delete: true, ..whole() };
        for kind in ["StatefulSet", "DaemonSet"] {
            assert!(matches!(of(kind, &on_delete), State::NotFollowed(_)));
        }
        assert!(matches!(of("CronJob", &whole()), State::NotFollowed(_)));
        let followed = |kind: &'static str| has_rollout(&Kind(kind.into()));
        assert!(followed("Deployment") && !followed("CronJob"));
    }
}
