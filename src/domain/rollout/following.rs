//! What follows over time from what a workload and its pods say of a rollout.

use std::{sync::Arc, time::Duration};

use super::{Blame, Fault, Pods, RolloutView, State, has_deadline, judge};
use crate::domain::workload::Kind;

/// How long is waited for what (`rollout` of the configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// All pods must run for that long, and none of them start again, for the rollout to have succeeded.
    pub settle: Duration,
    /// A fault must last for that long.
    pub fault: Duration,
    /// A rollout that has no deadline of its own, or is held up by what is not the image's fault, may stand still for
    /// that long.
    pub stall: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { settle: Duration::from_secs(60), fault: Duration::from_secs(30), stall: Duration::from_secs(600) }
    }
}

/// A rollout that is followed. Times are those of the monotonic clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Following {
    view: Option<RolloutView>,
    pods: Pods,
    times: Times,
    /// Since when all is done, and how often containers had been started again by then.
    done: Option<(Duration, i64)>,
    /// Since when the image is at fault, and how many new pods were ready by then.
    fault: Option<(Duration, i64)>,
    /// Since when something else is.
    stuck: Option<Duration>,
    /// When it last went on, and how far it was.
    progress: Option<(Duration, [i64; 3])>,
    /// Whether people were told that it stands still.
    is_told: bool,
    pull: Option<Pull>,
    /// When it is to be judged again, whatever comes.
    pub wakes_at: Option<Duration>,
}

/// What is known of an image that cannot be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// The registry is being asked.
    Asked,
    /// It does not have the image, or does not give it to the workload.
    Refused,
    /// It has it, or does not answer; asked at that time.
    Unsure(Duration),
}

/// What is to be said of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub enum Judged {
    /// It goes on.
    Going,
    /// It goes on, and the registry is to be asked whether that container's image can be pulled.
    Ask(Arc<str>, bool),
    /// It goes on, but stands still for what is not the image's fault: said once.
    Stalled(String),
    /// It runs.
    Succeeded,
    /// Nobody can tell, and why.
    NotFollowed(&'static str),
    /// There is no pod that could tell.
    NotProved,
    /// It does not run, and why; the fault, where it is the image's beyond doubt.
    Failed(String, Option<Fault>),
}

impl Following {
    /// Takes in what the workload says.
    pub fn view(&mut self, view: RolloutView, times: Times) {
        (self.view, self.times) = (Some(view), times);
    }

    /// Takes in what its pods say.
    pub fn pods(&mut self, pods: Pods, times: Times) {
        (self.pods, self.times) = (pods, times);
    }

    /// Takes in what the registry says of an image that cannot be pulled.
    pub fn pulled(&mut self, is_refused: bool, now: Duration) {
        self.pull = Some(if is_refused { Pull::Refused } else { Pull::Unsure(now) });
    }

    /// What all that means now for a workload of that kind, of which these containers have changed.
    pub fn judge(&mut self, kind: &Kind, is_changed: impl Fn(&str, bool) -> bool, now: Duration) -> Judged {
        self.wakes_at = None;
        let Some(view) = &self.view else { return Judged::Going };
        let state = judge(kind, view);
        match state {
            State::NotFollowed(why) => return Judged::NotFollowed(why),
            State::NotProved => return Judged::NotProved,
            State::Paused => {
                // No clock runs.
                (self.done, self.fault, self.stuck, self.progress) = Default::default();
                return Judged::Going;
            }
            State::Done => {
                (self.fault, self.stuck) = Default::default();
                return self.is_settled(now);
            }
            State::Going | State::Overdue(_) => self.done = None,
        }
        let far = [view.observed, view.updated, view.available];
        if self.progress.is_none_or(|(_, before)| far.iter().zip(&before).any(|(now, before)| now > before)) {
            self.progress = Some((now, far));
        }
        let refused = view.refused.clone();
        let old_fail = self.old_pods_fail();
        let is_ours = |fault: &&Fault| fault.container.as_ref().is_some_and(|(name, init)| is_changed(name, *init));
        let of = |blame: Blame| self.pods.faults.iter().filter(move |fault| fault.blame == blame);
        let pull = of(Blame::Pull).find(is_ours).cloned();
        let ours =
            of(Blame::Image).find(is_ours).or(pull.as_ref().filter(|_| self.pull == Some(Pull::Refused))).cloned();
        if let Some(fault) = ours {
            return self.is_at_fault(fault, old_fail, now);
        }
        self.fault = None;
        if let Some((container, init)) = pull.as_ref().and_then(|fault| fault.container.clone()) {
            let again = |at: Duration| at + self.times.fault;
            match self.pull {
                None => {
                    self.pull = Some(Pull::Asked);
                    return Judged::Ask(container, init);
                }
                Some(Pull::Unsure(at)) if again(at) <= now => {
                    self.pull = Some(Pull::Asked);
                    return Judged::Ask(container, init);
                }
                Some(Pull::Unsure(at)) => self.wake(again(at)),
                Some(Pull::Asked | Pull::Refused) => {}
            }
        }
        // What of other containers does not run is no fault of what was written either.
        let other = self.pods.faults.first().map(|fault| fault.text.clone());
        let other = other.or_else(|| refused.map(|words| format!("its pods cannot be made: {words}")));
        match other {
            Some(why) => self.is_stuck(why, now),
            None => self.is_late(kind, &state, now),
        }
    }

    fn wake(&mut self, at: Duration) {
        self.wakes_at = Some(self.wakes_at.map_or(at, |other| other.min(at)));
    }

    /// It must stay so for a while.
    fn is_settled(&mut self, now: Duration) -> Judged {
        let restarts = self.pods.restarts;
        let (since, before) = *self.done.get_or_insert((now, restarts));
        let since = if restarts > before { now } else { since };
        self.done = Some((since, restarts));
        let end = since + self.times.settle;
        if end <= now {
            return Judged::Succeeded;
        }
        self.wake(end);
        Judged::Going
    }

    /// The image is at fault, as long as not more of its pods run.
    fn is_at_fault(&mut self, fault: Fault, old_fail: bool, now: Duration) -> Judged {
        self.stuck = None;
        let ready = self.pods.ready;
        let (since, before) = *self.fault.get_or_insert((now, ready));
        let since = if ready > before { now } else { since };
        self.fault = Some((since, before.max(ready)));
        let end = since + self.times.fault;
        if end <= now {
            let text = match old_fail {
                true => format!("{}; pods of the old revision do not run either", fault.text),
                false => fault.text.clone(),
            };
            return Judged::Failed(text, (!old_fail).then_some(fault));
        }
        self.wake(end);
        Judged::Going
    }

    /// Something else is: it is told, and waited for.
    fn is_stuck(&mut self, why: String, now: Duration) -> Judged {
        let since = *self.stuck.get_or_insert(now);
        let told = since + self.times.fault;
        let end = self.stands_still_until(now).max(told);
        if end <= now {
            return Judged::Failed(why, None);
        }
        let is_news = !self.is_told && told <= now;
        self.is_told |= is_news;
        self.wake(if self.is_told { end } else { told });
        if is_news { Judged::Stalled(why) } else { Judged::Going }
    }

    /// Nothing is known to be wrong but that it takes long. A Deployment has a deadline of its own.
    fn is_late(&mut self, kind: &Kind, state: &State, now: Duration) -> Judged {
        self.stuck = None;
        if let State::Overdue(words) = state {
            return Judged::Failed(words.to_string(), None);
        }
        if has_deadline(kind) {
            return Judged::Going;
        }
        let end = self.stands_still_until(now);
        if end <= now {
            return Judged::Failed("its pods run, and are not ready".to_owned(), None);
        }
        self.wake(end);
        Judged::Going
    }

    /// Until when it may stand still.
    fn stands_still_until(&self, now: Duration) -> Duration {
        self.progress.map_or(now, |(at, _)| at) + self.times.stall
    }

    /// Whether pods of the old revision are there that are not available: then it may not be the image.
    fn old_pods_fail(&self) -> bool {
        let Some(view) = self.view.as_ref().filter(|_| self.pods.unread.is_none()) else { return false };
        let (old, available) = (view.total - view.updated, view.available - self.pods.ready);
        old > 0 && available < old
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{ContainerView, PodView, pods::tests::*},
        *,
    };

    const TIMES: Times =
        Times { settle: Duration::from_secs(60), fault: Duration::from_secs(30), stall: Duration::from_secs(600) };

    /// A rollout of a kind whose container `web` has changed.
    struct Case {
        kind: Kind,
        following: Following,
    }

    impl Case {
        fn of(kind: &'static str) -> Self {
            Self { kind: Kind(kind.into()), following: Following::default() }
        }

        fn judge(&mut self, at: u64) -> Judged {
            self.following.judge(&self.kind, |name, init| (name, init) == ("web", false), Duration::from_secs(at))
        }

        /// So many of three pods are updated and available.
        fn view(&mut self, at: u64, updated: i64, change: impl FnOnce(&mut RolloutView)) -> Judged {
            let mut view = RolloutView {
                generation: 2,
                observed: 2,
                wanted: 3,
                total: 3,
                updated,
                available: 3,
                ..RolloutView::default()
            };
            change(&mut view);
            self.following.view(view, TIMES);
            self.judge(at)
        }

        fn pods(&mut self, at: u64, pods: &[PodView]) -> Judged {
            self.following.pods(Pods::of(pods.iter()), TIMES);
            self.judge(at)
        }

        fn wakes_at(&self) -> Option<u64> {
            self.following.wakes_at.map(|at| at.as_secs())
        }
    }

    fn waiting(reason: &str, restarts: i64) -> ContainerView {
        container(|c| (c.waiting, c.restarts) = (Some((reason.to_owned(), "why".to_owned())), restarts))
    }

    fn crashing() -> PodView {
        pod(vec![waiting("CrashLoopBackOff", 2)])
    }

    fn ready(restarts: i64) -> PodView {
        PodView { is_ready: true, ..pod(vec![container(|c| (c.is_ready, c.restarts) = (true, restarts))]) }
    }

    fn failed(judged: &Judged) -> bool {
        matches!(judged, Judged::Failed(..))
    }

    #[test]
    fn all_must_run_for_a_while_and_none_start_again() {
        let mut case = Case::of("Deployment");
        assert_eq!(case.judge(0), Judged::Going, "nothing is known");
        assert_eq!(case.view(0, 1, |_| ()), Judged::Going);
        assert_eq!(case.view(10, 3, |_| ()), Judged::Going);
        assert_eq!(case.wakes_at(), Some(70));
        // A restart begins the time anew.
        assert_eq!(case.pods(50, &[ready(1)]), Judged::Going);
        assert_eq!(case.wakes_at(), Some(110));
        assert_eq!(case.judge(109), Judged::Going);
        assert_eq!(case.judge(110), Judged::Succeeded);
    }

    #[test]
    fn a_fault_of_the_image_must_last_while_no_more_pods_run() {
        let mut case = Case::of("Deployment");
        case.view(0, 1, |view| view.total = 4);
        assert_eq!(case.pods(5, &[crashing()]), Judged::Going);
        assert_eq!(case.wakes_at(), Some(35));
        case.view(20, 2, |view| (view.total, view.available) = (5, 4));
        assert_eq!(case.pods(20, &[crashing(), ready(0)]), Judged::Going);
        assert_eq!(case.wakes_at(), Some(50));
        let judged = case.judge(50);
        let Judged::Failed(text, Some(fault)) = judged else { panic!("{judged:?}") };
        assert_eq!(text, "pod web-1, container web: CrashLoopBackOff: why; started again 2 times");
        assert_eq!(fault.container, Some(("web".into(), false)));
    }

    #[test]
    fn where_old_pods_fail_too_or_another_container_does_it_is_not_the_images_fault() {
        let mut case = Case::of("Deployment");
        case.view(0, 1, |view| (view.total, view.available) = (4, 2));
        case.pods(0, &[crashing()]);
        let judged = case.judge(30);
        assert!(matches!(&judged, Judged::Failed(text, None) if text.contains("old revision")), "{judged:?}");
        let mut case = Case::of("Deployment");
        case.view(0, 1, |_| ());
        let other = ContainerView { name: "sidecar".into(), ..waiting("CrashLoopBackOff", 5) };
        case.pods(0, &[pod(vec![other])]);
        assert!(matches!(case.judge(30), Judged::Stalled(_)));
        assert!(matches!(case.judge(600), Judged::Failed(_, None)));
    }

    #[test]
    fn what_is_not_the_images_fault_is_told_once_and_waited_for() {
        let full = || PodView { unscheduled: Some("full".into()), ..pod(vec![]) };
        for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
            let mut case = Case::of(kind);
            case.view(0, 1, |_| ());
            assert_eq!(case.pods(0, &[full()]), Judged::Going);
            assert_eq!(case.wakes_at(), Some(30));
            assert_eq!(case.judge(30), Judged::Stalled("pod web-1: Unschedulable: full".into()));
            assert_eq!((case.judge(40), case.wakes_at()), (Judged::Going, Some(600)));
            // It goes on: more time.
            assert_eq!(case.view(100, 2, |_| ()), Judged::Going);
            assert_eq!(case.wakes_at(), Some(700));
            assert_eq!(case.judge(700), Judged::Failed("pod web-1: Unschedulable: full".into(), None));
        }
        // As much is a quota, which only the Deployment tells of.
        let mut case = Case::of("Deployment");
        let judged = |case: &mut Case, at| case.view(at, 0, |view| view.refused = Some("exceeded quota".into()));
        assert_eq!(judged(&mut case, 0), Judged::Going);
        assert_eq!(judged(&mut case, 30), Judged::Stalled("its pods cannot be made: exceeded quota".into()));
    }

    #[test]
    fn what_is_only_slow_has_until_its_deadline() {
        let mut case = Case::of("Deployment");
        case.view(0, 1, |_| ());
        assert_eq!((case.judge(10_000), case.wakes_at()), (Judged::Going, None));
        let judged = case.view(10_001, 1, |view| view.overdue = Some("it timed out".into()));
        assert_eq!(judged, Judged::Failed("it timed out".into(), None));
        let mut case = Case::of("StatefulSet");
        case.view(0, 1, |_| ());
        assert_eq!((case.judge(10), case.wakes_at()), (Judged::Going, Some(600)));
        assert!(failed(&case.judge(600)));
    }

    #[test]
    fn while_it_is_paused_no_clock_runs() {
        let mut case = Case::of("Deployment");
        case.view(0, 1, |_| ());
        case.pods(0, &[crashing()]);
        let pause = |case: &mut Case, at| case.view(at, 1, |view| view.is_paused = true);
        assert_eq!((pause(&mut case, 10), case.wakes_at()), (Judged::Going, None));
        assert_eq!(pause(&mut case, 1000), Judged::Going);
        assert_eq!(case.view(1001, 1, |_| ()), Judged::Going);
        assert_eq!(case.wakes_at(), Some(1031));
    }

    #[test]
    fn whether_an_image_cannot_be_pulled_or_a_registry_is_away_the_registry_says() {
        let unpulled = || [pod(vec![waiting("ImagePullBackOff", 0)])];
        let mut case = Case::of("Deployment");
        case.view(0, 1, |_| ());
        assert_eq!(case.pods(0, &unpulled()), Judged::Ask("web".into(), false));
        assert_eq!(case.pods(1, &unpulled()), Judged::Going, "it is asked once at a time");
        case.following.pulled(false, Duration::from_secs(2));
        assert_eq!((case.judge(2), case.wakes_at()), (Judged::Going, Some(31)));
        assert!(matches!(case.judge(31), Judged::Stalled(_)));
        assert_eq!(case.judge(32), Judged::Ask("web".into(), false), "asked again");
        case.following.pulled(true, Duration::from_secs(33));
        assert_eq!((case.judge(33), case.wakes_at()), (Judged::Going, Some(63)));
        assert!(matches!(case.judge(63), Judged::Failed(_, Some(_))));
    }

    #[test]
    fn where_pods_cannot_be_read_the_workload_alone_is_believed() {
        let mut case = Case::of("Deployment");
        case.following.pods(Pods { unread: Some("no right".into()), ..Pods::default() }, TIMES);
        case.view(0, 1, |view| view.total = 4);
        let judged = case.view(600, 1, |view| view.overdue = Some("it timed out".into()));
        assert_eq!(judged, Judged::Failed("it timed out".into(), None));
    }

    #[test]
    fn what_cannot_be_followed_ends_at_once() {
        assert!(matches!(Case::of("CronJob").view(0, 0, |_| ()), Judged::NotFollowed(_)));
        assert_eq!(Case::of("Deployment").view(0, 0, |view| view.wanted = 0), Judged::NotProved);
    }

    proptest! {
        #[test]
        fn what_is_done_never_fails_but_by_a_restart(
            steps in prop::collection::vec((0_u64..400, 0_i64..4, 0_i64..4, 0_i64..3, 0_usize..4), 1..40),
        ) {
            let mut case = Case::of("Deployment");
            let mut now = 0;
            for (later, updated, available, restarts, fault) in steps {
                now += later;
                let pods = [ready(restarts), crashing(), pod(vec![waiting("ContainerCreating", 0)])];
                case.following.pods(Pods::of(pods.iter().take(fault)), TIMES);
                let mut is_done = false;
                let judged = case.view(now, updated, |view| {
                    view.available = available;
                    is_done = judge(&Kind("Deployment".into()), view) == State::Done;
                });
                prop_assert!(!is_done || matches!(judged, Judged::Going | Judged::Succeeded), "{judged:?}");
                prop_assert!(judged != Judged::Succeeded || is_done);
            }
        }
    }
}
