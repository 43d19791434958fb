//! What follows over time from what a workload and its pods say of a rollout.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Blame, Fault, Pods, RolloutView, State, judge, pods};
use crate::domain::{rollback::Rollback, workload::Kind};

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

/// How often pods are deleted that stand in the way.
const FREE: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_millis(100);

/// A rollout that is followed. Times are those of the monotonic clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Following {
    /// The generation that our write made, where that is known: what was said of one before it is out of date.
    written: i64,
    view: Option<RolloutView>,
    /// Whether what fails is put back.
    pub rollback: Rollback,
    /// The pod template but for its images, and of which generation.
    template: Option<(i64, Arc<str>)>,
    /// When a pod was last to be deleted that stands in the way, and whether none may be.
    freed: Option<Duration>,
    may_not_free: bool,
    pods: Pods,
    times: Times,
    done: Option<Done>,
    fault: Option<AtFault>,
    /// Since when something else is.
    stuck: Option<Duration>,
    /// Since when its own deadline has passed: its controller says so of the rollout before too, for a moment.
    overdue: Option<Duration>,
    /// When it last went on, and how many pods were updated and available, where that is known.
    progress: Option<(Duration, Option<[i64; 2]>)>,
    /// For how long it had stood still by then, before the process started.
    stood: Duration,
    /// Whether people were told that it stands still.
    is_told: bool,
    /// What is known of images that cannot be pulled, by container.
    pulls: BTreeMap<(Arc<str>, bool), Pull>,
    /// When it is to be judged again, whatever comes.
    pub wakes_at: Option<Duration>,
}

/// All pods run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Done {
    first: Duration,
    /// Since when none has started again.
    since: Duration,
    restarts: i64,
}

/// Images are at fault.
#[derive(Debug, Clone, PartialEq)]
struct AtFault {
    /// Since when any of them is, and how many new pods were ready by then.
    since: Duration,
    ready: i64,
    /// Since when each of them is, by container.
    each: BTreeMap<(Arc<str>, bool), Duration>,
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
    /// It does not run, and why; the fault of each container whose image it is beyond doubt.
    Failed(String, Vec<Fault>),
}

impl Following {
    /// Of a write that made this generation, which is 0 where nobody knows, with that pod template but for its images.
    pub fn of(written: i64, template: Arc<str>) -> Self {
        Self { written, template: Some((written, template)), ..Self::default() }
    }

    /// The pod template but for its images, if it is known as it is now.
    pub fn template(&self) -> Option<&Arc<str>> {
        let view = self.view.as_ref()?;
        self.template.as_ref().filter(|(of, _)| *of == view.generation).map(|(_, template)| template)
    }

    /// Whether it is time to delete what stands in the way of a rollout that goes back, as long as that goes on.
    pub fn is_to_be_freed(&mut self, now: Duration) -> bool {
        let Some(view) = self.view.as_ref().filter(|_| !self.may_not_free) else { return false };
        let is_seen = view.observed >= view.generation && self.done.is_none() && !view.is_paused;
        let due = self.freed.map_or(now, |at| at + FREE);
        let is_due = is_seen && due <= now;
        if is_due {
            self.freed = Some(now);
        }
        self.wake(if is_due { now + FREE } else { due.max(now + SOON) });
        is_due
    }

    /// Nothing may be deleted; whether that is new.
    pub fn may_not_free(&mut self) -> bool {
        !std::mem::replace(&mut self.may_not_free, true)
    }

    /// Of one of which people were told that long ago, before the process started, that it stands still.
    pub fn stalled(ago: Duration) -> Self {
        Self { is_told: true, stood: ago, ..Self::default() }
    }

    /// Takes in what the workload says.
    pub fn view(&mut self, view: RolloutView, times: Times) {
        self.times = times;
        if let Some(template) = &view.template {
            self.template = Some((view.generation, template.clone()));
        }
        if view.generation >= self.written {
            self.view = Some(view);
        }
    }

    /// Takes in what its pods say.
    pub fn pods(&mut self, pods: Pods, times: Times) {
        (self.pods, self.times) = (pods, times);
    }

    /// Takes in what the registry says of an image that cannot be pulled.
    pub fn pulled(&mut self, container: (Arc<str>, bool), is_refused: bool, now: Duration) {
        if let Some(pull) = self.pulls.get_mut(&container) {
            *pull = if is_refused { Pull::Refused } else { Pull::Unsure(now) };
        }
    }

    /// What all that means now for a workload of that kind, of which these containers have changed.
    pub fn judge(&mut self, kind: &Kind, is_changed: impl Fn(&str, bool) -> bool, now: Duration) -> Judged {
        self.wakes_at = None;
        let Some(view) = &self.view else {
            self.went_on(now, None);
            return self.is_late(now);
        };
        let state = judge(kind, view);
        let far = [view.updated, view.available];
        let is_overdue = matches!(state, State::Overdue(_));
        self.overdue = is_overdue.then(|| self.overdue.unwrap_or(now));
        match state {
            State::NotFollowed(why) => return Judged::NotFollowed(why),
            State::NotProved => return Judged::NotProved,
            State::Paused => {
                // No clock runs.
                (self.done, self.fault, self.stuck, self.progress, self.stood) = Default::default();
                return Judged::Going;
            }
            State::Done => {
                (self.fault, self.stuck) = Default::default();
                return self.is_settled(is_changed, now);
            }
            State::Going | State::Overdue(_) => self.done = None,
        }
        self.went_on(now, Some(far));
        let old_fail = self.old_pods_fail();
        let is_ours = |fault: &&Fault| fault.container.as_ref().is_some_and(|(name, init)| is_changed(name, *init));
        let of = |blame: Blame| self.pods.faults.iter().filter(move |fault| fault.blame == blame).filter(is_ours);
        let pulls: Vec<Fault> = of(Blame::Pull).cloned().collect();
        let mut ours: Vec<Fault> = of(Blame::Image).cloned().collect();
        // What can be pulled again is asked for anew when it cannot.
        self.pulls.retain(|container, _| pulls.iter().any(|fault| fault.container.as_ref() == Some(container)));
        for fault in &pulls {
            let Some(container) = &fault.container else { continue };
            match self.pulls.get(container).copied() {
                Some(Pull::Refused) => {
                    let text = format!("{}; its registry does not have it, or not for this workload", fault.text);
                    // In another pod it may have been pulled, and crash.
                    if !ours.iter().any(|other| other.container == fault.container) {
                        ours.push(Fault { text, ..fault.clone() });
                    }
                }
                Some(Pull::Asked) => {}
                Some(Pull::Unsure(at)) if at + self.times.fault > now => self.wake(at + self.times.fault),
                Some(Pull::Unsure(_)) | None => {
                    self.pulls.insert(container.clone(), Pull::Asked);
                    self.wake(now + self.times.fault);
                    return Judged::Ask(container.0.clone(), container.1);
                }
            }
        }
        if !ours.is_empty() {
            return self.is_at_fault(ours, old_fail, now);
        }
        self.fault = None;
        // What of other containers does not run is no fault of what was written either.
        let other = self.pods.faults.first().map(|fault| fault.text.clone());
        let refused = self.view.as_ref().and_then(|view| view.refused.as_ref());
        match other.or_else(|| refused.map(|words| format!("its pods cannot be made: {words}"))) {
            Some(why) => self.is_stuck(why, now),
            None => self.is_late(now),
        }
    }

    fn wake(&mut self, at: Duration) {
        self.wakes_at = Some(self.wakes_at.map_or(at, |other| other.min(at)));
    }

    /// How far it has come now.
    fn went_on(&mut self, now: Duration, far: Option<[i64; 2]>) {
        let (at, before) = self.progress.unwrap_or((now, far));
        let is_further = |(now, before): (&i64, &i64)| now > before;
        let has_gone_on = before.zip(far).is_some_and(|(before, far)| far.iter().zip(&before).any(is_further));
        if has_gone_on {
            self.stood = Duration::ZERO;
        }
        self.progress = Some(if has_gone_on { (now, far) } else { (at, before.or(far)) });
    }

    /// It must stay so for a while. Where containers start again and again that were ready before, it is enough that it was
    /// so for as long as it might have stood still.
    fn is_settled(&mut self, is_changed: impl Fn(&str, bool) -> bool, now: Duration) -> Judged {
        let changed = self.pods.restarts.iter().filter(|((name, init), _)| is_changed(name, *init));
        let restarts = changed.fold(0_i64, |sum, (_, restarts)| sum.saturating_add(*restarts));
        let mut done = self.done.unwrap_or(Done { first: now, since: now, restarts });
        if restarts > done.restarts {
            done.since = now;
        }
        done.restarts = restarts;
        self.done = Some(done);
        let Times { settle, stall, .. } = self.times;
        let end = (done.since + settle).min(done.first + stall.max(settle));
        if end <= now {
            return Judged::Succeeded;
        }
        self.wake(end);
        Judged::Going
    }

    /// Images are at fault, as long as not more of its pods run. Where one has been for long enough, one that has not is not
    /// said to be.
    fn is_at_fault(&mut self, mut faults: Vec<Fault>, old_fail: bool, now: Duration) -> Judged {
        self.stuck = None;
        let ready = self.pods.ready;
        let before = self.fault.take().filter(|before| ready <= before.ready);
        let AtFault { since, ready, each } = before.unwrap_or(AtFault { since: now, ready, each: BTreeMap::new() });
        let begun = |fault: &Fault| fault.container.as_ref().and_then(|of| each.get(of)).copied().unwrap_or(now);
        let still = faults.iter().filter_map(|fault| Some((fault.container.clone()?, begun(fault)))).collect();
        self.fault = Some(AtFault { since, ready, each: still });
        let end = since + self.times.fault;
        if end > now {
            self.wake(end);
            return Judged::Going;
        }
        let has_lasted = |fault: &Fault| begun(fault) + self.times.fault <= now;
        if faults.iter().any(has_lasted) {
            faults.retain(has_lasted);
        }
        let why = pods::why(&faults);
        match old_fail {
            true => Judged::Failed(format!("{why}; pods of the old revision do not run either"), Vec::new()),
            false => Judged::Failed(why, faults),
        }
    }

    /// Something else is: it is told, and waited for.
    fn is_stuck(&mut self, why: String, now: Duration) -> Judged {
        let since = *self.stuck.get_or_insert(now);
        let told = since + self.times.fault;
        let end = self.stands_still_until(now, self.times.stall).max(told);
        if end <= now {
            return Judged::Failed(why, Vec::new());
        }
        let is_news = !self.is_told && told <= now;
        self.is_told |= is_news;
        self.wake(if self.is_told { end } else { told });
        if is_news { Judged::Stalled(why) } else { Judged::Going }
    }

    /// Nothing is known to be wrong but that it takes long. A Deployment says itself when its deadline has passed, but not
    /// always: no more once all has run.
    fn is_late(&mut self, now: Duration) -> Judged {
        self.stuck = None;
        let words = self.view.as_ref().and_then(|view| view.overdue.clone());
        if let (Some(since), Some(words)) = (self.overdue, words) {
            let end = since + self.times.fault;
            if end <= now {
                return Judged::Failed(words.to_string(), Vec::new());
            }
            self.wake(end);
        }
        let own = self.view.as_ref().and_then(|view| view.deadline).unwrap_or_default();
        let end = self.stands_still_until(now, self.times.stall.max(own));
        if end > now {
            self.wake(end);
            return Judged::Going;
        }
        let words = match &self.view {
            None => "nothing was heard of its rollout".to_owned(),
            Some(view) if view.observed < view.generation => "its controller has not taken it up".to_owned(),
            Some(RolloutView { wanted, updated, available, .. }) => {
                format!("it stands still: of {wanted} pods {updated} are updated, and {available} are available")
            }
        };
        Judged::Failed(words, Vec::new())
    }

    /// Until when it may stand still.
    fn stands_still_until(&self, now: Duration, most: Duration) -> Duration {
        (self.progress.map_or(now, |(at, _)| at) + most).saturating_sub(self.stood)
    }

    /// Whether pods of the old revision are there that are not available, beyond doubt: then it may not be the image.
    fn old_pods_fail(&self) -> bool {
        let Some(view) = self.view.as_ref().filter(|_| self.pods.unread.is_none()) else { return false };
        // A new pod that is ready is not available before it has been so for long enough.
        let new = if view.min_ready > 0 { 0 } else { self.pods.ready };
        let (old, available) = (view.total - view.updated, view.available - new);
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

    fn containers(faults: &[Fault]) -> Vec<&str> {
        faults.iter().filter_map(|fault| Some(&*fault.container.as_ref()?.0)).collect()
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
        let Judged::Failed(text, faults) = judged else { panic!("{judged:?}") };
        assert_eq!(text, "pod web-1, container web: CrashLoopBackOff: why; started again 2 times");
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].container, Some(("web".into(), false)));
    }

    #[test]
    fn of_several_images_each_is_at_fault_that_has_been_for_long_enough() {
        let both = |name: &str, init: bool| [("web", false), ("side", false)].contains(&(name, init));
        let crashing = |names: &[&'static str]| {
            let one = |name: &&'static str| ContainerView { name: (*name).into(), ..waiting("CrashLoopBackOff", 2) };
            Pods::of([pod(names.iter().map(one).collect())].iter())
        };
        // When which containers crash, and which are at fault in the end.
        for (first, then, expected) in [
            (&["side", "web"][..], &["side", "web"][..], &["side", "web"][..]),
            (&["web"], &["side", "web"], &["web"]),
            (&["web"], &["side"], &["side"]),
        ] {
            let mut case = Case::of("Deployment");
            case.view(0, 1, |view| view.total = 4);
            let mut at = |seconds: u64, names| {
                case.following.pods(crashing(names), TIMES);
                case.following.judge(&case.kind, both, Duration::from_secs(seconds))
            };
            assert_eq!([at(0, first), at(20, then)], [Judged::Going, Judged::Going]);
            let judged = at(30, then);
            let Judged::Failed(text, faults) = judged else { panic!("{judged:?}") };
            assert_eq!(containers(&faults), expected);
            let names_all = text.starts_with("containers side, web do not run: pod web-1, container side: Crash");
            assert_eq!(names_all, expected.len() > 1, "{text}");
        }
    }

    #[test]
    fn where_old_pods_fail_too_or_another_container_does_it_is_not_the_images_fault() {
        let mut case = Case::of("Deployment");
        case.view(0, 1, |view| (view.total, view.available) = (4, 2));
        case.pods(0, &[crashing()]);
        let judged = case.judge(30);
        assert!(
            matches!(&judged, Judged::Failed(text, faults) if text.contains("old revision") && faults.is_empty()),
            "{judged:?}"
        );
        let mut case = Case::of("Deployment");
        case.view(0, 1, |_| ());
        let other = ContainerView { name: "sidecar".into(), ..waiting("CrashLoopBackOff", 5) };
        case.pods(0, &[pod(vec![other])]);
        assert!(matches!(case.judge(30), Judged::Stalled(_)));
        assert!(matches!(case.judge(600), Judged::Failed(_, faults) if faults.is_empty()));
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
            assert_eq!(case.judge(700), Judged::Failed("pod web-1: Unschedulable: full".into(), vec![]));
        }
        // As much is a quota, which only the Deployment tells of.
        let mut case = Case::of("Deployment");
        let judged = |case: &mut Case, at| case.view(at, 0, |view| view.refused = Some("exceeded quota".into()));
        assert_eq!(judged(&mut case, 0), Judged::Going);
        assert_eq!(judged(&mut case, 30), Judged::Stalled("its pods cannot be made: exceeded quota".into()));
    }

    #[test]
    fn what_is_only_slow_has_until_its_deadline() {
        // A Deployment does not say that its own has passed once all has run: then that of others counts.
        for (kind, own, end) in
            [("StatefulSet", None, 600), ("Deployment", Some(15), 600), ("Deployment", Some(3600), 3600)]
        {
            let mut case = Case::of(kind);
            let view = |case: &mut Case, at| case.view(at, 1, |view| view.deadline = own.map(Duration::from_secs));
            view(&mut case, 0);
            assert_eq!((view(&mut case, 10), case.wakes_at()), (Judged::Going, Some(end)));
            let words = "it stands still: of 3 pods 1 are updated, and 3 are available";
            assert_eq!(view(&mut case, end), Judged::Failed(words.into(), vec![]));
        }
        let mut case = Case::of("DaemonSet");
        case.view(0, 0, |view| view.observed = 1);
        assert_eq!(case.judge(600), Judged::Failed("its controller has not taken it up".into(), vec![]));
        let mut case = Case::of("DaemonSet");
        assert_eq!((case.judge(0), case.wakes_at()), (Judged::Going, Some(600)));
        assert_eq!(case.judge(600), Judged::Failed("nothing was heard of its rollout".into(), vec![]));
    }

    #[test]
    fn a_deadline_has_passed_when_its_controller_says_so_for_a_while() {
        let mut case = Case::of("Deployment");
        let overdue = |case: &mut Case, at| case.view(at, 1, |view| view.overdue = Some("it timed out".into()));
        // That of the rollout before is said until its controller has begun this one.
        assert_eq!((overdue(&mut case, 0), case.wakes_at()), (Judged::Going, Some(30)));
        assert_eq!(case.view(1, 1, |_| ()), Judged::Going);
        assert_eq!(overdue(&mut case, 100), Judged::Going);
        assert_eq!(case.judge(130), Judged::Failed("it timed out".into(), vec![]));
    }

    #[test]
    fn what_was_said_of_an_older_generation_does_not_count() {
        let mut case = Case { following: Following::of(3, "".into()), ..Case::of("Deployment") };
        assert_eq!(case.view(0, 0, |view| view.wanted = 0), Judged::Going);
        assert_eq!(case.view(0, 0, |view| (view.generation, view.wanted) = (3, 0)), Judged::NotProved);
    }

    #[test]
    fn of_two_containers_that_crash_the_one_that_has_changed_counts() {
        let mut case = Case::of("Deployment");
        case.view(0, 1, |view| view.total = 4);
        let sidecar = ContainerView { name: "aaa".into(), ..waiting("CrashLoopBackOff", 5) };
        case.pods(0, &[pod(vec![sidecar, waiting("CrashLoopBackOff", 2)])]);
        let judged = case.judge(30);
        assert!(matches!(&judged, Judged::Failed(_, faults) if containers(faults) == ["web"]), "{judged:?}");
    }

    #[test]
    fn a_new_pod_that_is_ready_and_not_available_yet_is_none_of_the_old_ones() {
        let mut case = Case::of("Deployment");
        let four_old_two_new = |view: &mut RolloutView| {
            (view.wanted, view.total, view.available, view.min_ready) = (4, 6, 4, 60);
        };
        case.view(0, 2, four_old_two_new);
        case.pods(0, &[crashing(), ready(0)]);
        assert!(matches!(case.judge(30), Judged::Failed(_, faults) if faults.len() == 1));
        let mut case = Case::of("Deployment");
        case.view(0, 2, |view| {
            four_old_two_new(view);
            view.available = 3;
        });
        case.pods(0, &[crashing(), ready(0)]);
        assert!(matches!(case.judge(30), Judged::Failed(_, faults) if faults.is_empty()));
    }

    #[test]
    fn where_containers_start_again_for_ever_it_has_run_for_long_enough_in_the_end() {
        let mut case = Case::of("Deployment");
        for n in 0..60_i64 {
            assert_eq!(case.pods(10 * n.unsigned_abs(), &[ready(n)]), Judged::Going);
            assert_eq!(case.view(10 * n.unsigned_abs(), 3, |_| ()), Judged::Going);
        }
        assert_eq!(case.pods(600, &[ready(60)]), Judged::Succeeded);
        // Containers that have not changed do not count at all.
        let mut case = Case::of("Deployment");
        let sidecar = |restarts| PodView {
            is_ready: true,
            ..pod(vec![container(|c| (c.name, c.is_ready, c.restarts) = ("sidecar".into(), true, restarts))])
        };
        case.view(0, 3, |_| ());
        case.pods(0, &[sidecar(1)]);
        assert_eq!(case.pods(60, &[sidecar(2)]), Judged::Succeeded);
    }

    #[test]
    fn what_people_were_told_before_a_restart_is_not_told_again_and_its_time_goes_on() {
        let full = || [PodView { unscheduled: Some("full".into()), ..pod(vec![]) }];
        let mut case = Case { following: Following::stalled(Duration::from_secs(500)), ..Case::of("Deployment") };
        case.pods(0, &full());
        assert_eq!((case.view(0, 1, |_| ()), case.wakes_at()), (Judged::Going, Some(100)));
        assert_eq!(case.judge(30), Judged::Going);
        assert!(failed(&case.judge(100)));
        // It has gone on since.
        let mut case = Case { following: Following::stalled(Duration::from_secs(500)), ..Case::of("Deployment") };
        case.pods(0, &full());
        case.view(0, 1, |_| ());
        assert_eq!((case.view(10, 2, |_| ()), case.wakes_at()), (Judged::Going, Some(610)));
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
        let web = || ("web".into(), false);
        case.following.pulled(web(), false, Duration::from_secs(2));
        assert_eq!((case.judge(2), case.wakes_at()), (Judged::Going, Some(31)));
        assert!(matches!(case.judge(31), Judged::Stalled(_)));
        assert_eq!(case.judge(32), Judged::Ask("web".into(), false), "asked again");
        case.following.pulled(web(), true, Duration::from_secs(33));
        assert_eq!((case.judge(33), case.wakes_at()), (Judged::Going, Some(63)));
        // It could be pulled after all, and then not again: that is another matter.
        assert_eq!(case.pods(40, &[]), Judged::Going);
        assert_eq!(case.pods(50, &unpulled()), Judged::Ask("web".into(), false));
        case.following.pulled(web(), true, Duration::from_secs(50));
        assert_eq!(case.judge(50), Judged::Going);
        let judged = case.judge(80);
        assert!(
            matches!(&judged, Judged::Failed(text, faults) if text.contains("its registry does not have it") && faults.len() == 1),
            "{judged:?}"
        );
    }

    #[test]
    fn where_pods_cannot_be_read_the_workload_alone_is_believed() {
        let mut case = Case::of("Deployment");
        case.following.pods(Pods { unread: Some("no right".into()), ..Pods::default() }, TIMES);
        case.view(0, 1, |view| view.total = 4);
        case.view(500, 1, |view| view.overdue = Some("it timed out".into()));
        assert_eq!(case.judge(530), Judged::Failed("it timed out".into(), vec![]));
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
