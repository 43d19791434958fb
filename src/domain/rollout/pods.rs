//! What the pods of a new revision say, and whose fault it is where they do not run.

use std::{collections::BTreeMap, sync::Arc};

use crate::domain::text::{excerpt, words};

/// As many faults are kept of a rollout.
pub const FAULTS: usize = 50;

/// A pod of the new revision. Texts are foreign.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: Arc<str>,
    /// Whether the condition `Ready` is True.
    pub is_ready: bool,
    /// Whether its phase is `Failed` or `Succeeded`: another one takes its place.
    pub is_over: bool,
    /// `status.reason` and `status.message`, as of one that was evicted.
    pub reason: Option<(String, String)>,
    /// What the condition `PodScheduled` says where it is False for `Unschedulable`.
    pub unscheduled: Option<String>,
    /// Its containers, those of init too.
    pub containers: Vec<ContainerView>,
}

/// A container of a pod, as `status.containerStatuses` has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerView {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it is one of `initContainerStatuses`.
    pub init: bool,
    /// `imageID`: where it was pulled from, with its digest.
    pub image_id: String,
    /// Whether it is ready, or as an init container has ended well.
    pub is_ready: bool,
    /// `restartCount`.
    pub restarts: i64,
    /// `state.waiting`: reason and message.
    pub waiting: Option<(String, String)>,
    /// `state.terminated`.
    pub ended: Option<End>,
    /// `lastState.terminated`.
    pub last: Option<End>,
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// `exitCode`.
    pub code: i64,
    /// `reason`, as in `OOMKilled`.
    pub reason: String,
    /// `message`: the last it said.
    pub message: String,
}

/// Whose fault it is that a pod does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blame {
    /// The image's.
    Image,
    /// It cannot be pulled: the registry can tell why.
    Pull,
    /// Not the image's.
    Infrastructure,
}

/// Why a pod does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whose fault it is.
    pub blame: Blame,
    /// The container, and whether it is one of init, where it is one's.
    pub container: Option<(Arc<str>, bool)>,
    /// Its `imageID`.
    pub image_id: String,
    /// Which pod, which container, what happened; in at most a few hundred bytes.
    pub text: String,
}

/// What all pods of the new revision say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pods {
    /// How many are ready.
    pub ready: i64,
    /// How often each container was started again, in all of them.
    pub restarts: BTreeMap<(Arc<str>, bool), i64>,
    /// Why others do not run: of each container no more than one fault of each kind of blame, in all at most [`FAULTS`],
    /// the image's first.
    pub faults: Vec<Fault>,
    /// Why they could not be read: then the workload's own words alone count.
    pub unread: Option<String>,
}

/// As many bytes of a pod's message are shown.
const MESSAGE: usize = 256;
/// The runtime could not start what the image says (exit codes of a shell and of runc).
const NOT_STARTED: [i64; 3] = [126, 127, 128];

impl Pods {
    /// Of these pods.
    pub fn of<'p>(pods: impl Iterator<Item = &'p PodView>) -> Self {
        let mut all = Self::default();
        let (over, live): (Vec<_>, Vec<_>) = pods.partition(|pod| pod.is_over);
        // One that has ended, such as an evicted one, says nothing any more where another one has taken its place.
        for pod in if live.is_empty() { over } else { live } {
            all.ready += i64::from(pod.is_ready);
            for ContainerView { name, init, restarts, .. } in &pod.containers {
                let sum = all.restarts.entry((name.clone(), *init)).or_default();
                *sum = sum.saturating_add(*restarts);
            }
            all.faults.extend(pod.faults());
        }
        let key = |fault: &Fault| (fault.blame, fault.container.clone(), fault.text.clone());
        all.faults.sort_by_cached_key(key);
        all.faults.dedup_by(|next, kept| (next.blame, &next.container) == (kept.blame, &kept.container));
        all.faults.truncate(FAULTS);
        all
    }
}

/// Why a rollout has failed by these faults of containers: who they are, and what happened to the first.
pub(super) fn why(faults: &[Fault]) -> String {
    let names: Vec<String> = faults.iter().filter_map(|fault| Some(excerpt(&fault.container.as_ref()?.0))).collect();
    let first = faults.first().map(|fault| fault.text.as_str()).unwrap_or_default();
    match names.len() {
        0 | 1 => first.to_owned(),
        _ => format!("containers {} do not run: {first}", words(&names.join(", "), MESSAGE)),
    }
}

/// What stands before a container's own words.
const SAYING: &str = ", saying: ";

/// A text about faults without the words of containers, which may hold anything.
pub fn without_words(text: &str) -> &str {
    text.split_once(SAYING).map_or(text, |(before, _)| before)
}

impl PodView {
    /// Whether it is worth more room than another: one that does not run tells more.
    pub fn is_broken(&self) -> bool {
        !self.faults().is_empty()
    }

    /// Why it does not run, as far as that is known.
    pub fn faults(&self) -> Vec<Fault> {
        if self.is_ready {
            return Vec::new();
        }
        let of_pod = |what: &str, message: &str| Fault {
            blame: Blame::Infrastructure,
            container: None,
            image_id: String::new(),
            text: format!("pod {}: {what}: {}", excerpt(&self.name), words(message, MESSAGE)),
        };
        if let Some((reason, message)) = &self.reason {
            return vec![of_pod(&excerpt(reason), message)];
        }
        if let Some(message) = &self.unscheduled {
            return vec![of_pod("Unschedulable", message)];
        }
        self.containers.iter().filter_map(|container| container.fault(&self.name)).collect()
    }
}

impl ContainerView {
    fn fault(&self, pod: &str) -> Option<Fault> {
        if self.is_ready {
            return None;
        }
        let ends = || self.ended.iter().chain(&self.last);
        let waits = |reasons: &[&str]| {
            self.waiting.as_ref().filter(|(reason, _)| reasons.contains(&reason.as_str())).map(|_| ())
        };
        let is_out_of_memory = |end: &End| end.reason == "OOMKilled";
        let blame = if waits(&["InvalidImageName", "RunContainerError"]).is_some()
            || ends().any(|end| NOT_STARTED.contains(&end.code) || end.reason == "StartError")
            // One that ends again and again runs in between.
            || self.restarts >= 2 && (waits(&["CrashLoopBackOff"]).is_some() || ends().next().is_some())
            || ends().filter(|end| is_out_of_memory(end)).count() == 2
        {
            Blame::Image
        } else if waits(&["ErrImagePull", "ImagePullBackOff"]).is_some() {
            Blame::Pull
        } else if waits(&["ContainerCreating", "CreateContainerConfigError", "CreateContainerError"]).is_some() {
            Blame::Infrastructure
        } else {
            return None;
        };
        Some(Fault {
            blame,
            container: Some((self.name.clone(), self.init)),
            image_id: self.image_id.clone(),
            text: format!("pod {}, container {}: {}", excerpt(pod), excerpt(&self.name), self.story()),
        })
    }

    /// What happened to it.
    fn story(&self) -> String {
        let mut said: Vec<String> = Vec::new();
        let said_of = |reason: &str, message: &str| match message.is_empty() {
            true => excerpt(reason),
            false => format!("{}: {}", excerpt(reason), words(message, MESSAGE)),
        };
        said.extend(self.waiting.iter().map(|(reason, message)| said_of(reason, message)));
        if self.restarts > 0 {
            said.push(format!("started again {} times", self.restarts));
        }
        if let Some(End { code, reason, message }) = self.ended.as_ref().or(self.last.as_ref()) {
            let words = words(message, MESSAGE);
            let words = if words.is_empty() { words } else { format!("{SAYING}{words}") };
            said.push(format!("ended with exit code {code} ({}){words}", excerpt(reason)));
        }
        said.join("; ")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn container(change: impl FnOnce(&mut ContainerView)) -> ContainerView {
        let mut container = ContainerView { name: "web".into(), ..ContainerView::default() };
        change(&mut container);
        container
    }

    pub(crate) fn pod(containers: Vec<ContainerView>) -> PodView {
        PodView { name: "web-1".into(), containers, ..PodView::default() }
    }

    fn waits(reason: &str) -> Option<(String, String)> {
        Some((reason.to_owned(), "why".to_owned()))
    }

    fn end(code: i64, reason: &str) -> Option<End> {
        Some(End { code, reason: reason.to_owned(), message: String::new() })
    }

    #[rstest::rstest]
    #[case::crash(container(|c| (c.waiting, c.restarts, c.last) = (waits("CrashLoopBackOff"), 2, end(1, "Error"))), Some(Blame::Image))]
    #[case::crash_once(container(|c| (c.waiting, c.restarts, c.last) = (waits("CrashLoopBackOff"), 1, end(1, "Error"))), None)]
    #[case::between_two_crashes(container(|c| (c.restarts, c.last) = (2, end(1, "Error"))), Some(Blame::Image))]
    #[case::no_command(container(|c| c.ended = end(127, "Error")), Some(Blame::Image))]
    #[case::not_executable(container(|c| c.ended = end(126, "Error")), Some(Blame::Image))]
    #[case::not_started(container(|c| c.last = end(128, "StartError")), Some(Blame::Image))]
    #[case::memory_once(container(|c| (c.last, c.restarts) = (end(137, "OOMKilled"), 1)), None)]
    #[case::memory_twice(container(|c| (c.ended, c.last, c.restarts) = (end(137, "OOMKilled"), end(137, "OOMKilled"), 1)), Some(Blame::Image))]
    #[case::name(container(|c| c.waiting = waits("InvalidImageName")), Some(Blame::Image))]
    #[case::run(container(|c| c.waiting = waits("RunContainerError")), Some(Blame::Image))]
    #[case::pull(container(|c| c.waiting = waits("ErrImagePull")), Some(Blame::Pull))]
    #[case::pull_again(container(|c| c.waiting = waits("ImagePullBackOff")), Some(Blame::Pull))]
    #[case::mount(container(|c| c.waiting = waits("ContainerCreating")), Some(Blame::Infrastructure))]
    #[case::no_config_map(container(|c| c.waiting = waits("CreateContainerConfigError")), Some(Blame::Infrastructure))]
    #[case::starting(container(|c| c.waiting = waits("PodInitializing")), None)]
    #[case::running(container(|_| ()), None)]
    #[case::ready_again(container(|c| (c.is_ready, c.restarts, c.last) = (true, 5, end(1, "Error"))), None)]
    fn a_container_tells_whose_fault_it_is(#[case] container: ContainerView, #[case] expected: Option<Blame>) {
        assert_eq!(pod(vec![container]).faults().first().map(|fault| fault.blame), expected);
    }

    #[test]
    fn a_pod_that_has_no_node_or_was_evicted_is_no_fault_of_the_image() {
        let unscheduled = PodView { unscheduled: Some("0/3 nodes".into()), ..pod(vec![]) };
        let evicted = PodView { reason: Some(("Evicted".into(), "disk".into())), ..pod(vec![]) };
        let text = |pod: &PodView| pod.faults().pop().map(|fault| (fault.blame, fault.text)).unwrap();
        assert_eq!(text(&unscheduled), (Blame::Infrastructure, "pod web-1: Unschedulable: 0/3 nodes".to_owned()));
        assert_eq!(text(&evicted), (Blame::Infrastructure, "pod web-1: Evicted: disk".to_owned()));
    }

    #[test]
    fn of_many_pods_one_fault_of_each_container_is_kept() {
        let crash = |name: &'static str| {
            container(|c| (c.name, c.waiting, c.restarts) = (name.into(), waits("CrashLoopBackOff"), 3))
        };
        let both = || pod(vec![crash("aaa"), crash("web")]);
        let mut pods: Vec<PodView> = std::iter::repeat_with(both).take(10).collect();
        pods.push(PodView { unscheduled: Some("full".into()), ..pod(vec![]) });
        pods.push(PodView { is_ready: true, ..pod(vec![]) });
        let all = Pods::of(pods.iter());
        let faults: Vec<_> =
            all.faults.iter().map(|fault| (fault.blame, fault.container.as_ref().map(|(name, _)| &**name))).collect();
        assert_eq!(faults, [(Blame::Image, Some("aaa")), (Blame::Image, Some("web")), (Blame::Infrastructure, None)]);
        assert_eq!((all.ready, all.restarts[&("web".into(), false)]), (1, 30));
    }

    #[test]
    fn one_that_was_evicted_says_nothing_where_another_one_runs_in_its_place() {
        let evicted = PodView { is_over: true, reason: Some(("Evicted".into(), "disk".into())), ..pod(vec![]) };
        assert_eq!(Pods::of([&evicted].into_iter()).faults.len(), 1);
        let starting = pod(vec![container(|_| ())]);
        assert_eq!(Pods::of([&evicted, &starting].into_iter()).faults, []);
    }

    #[test]
    fn what_a_fault_says_is_short_and_escaped() {
        let long = || Some(End { code: 1, reason: "Error".into(), message: "x\n\u{1b}".repeat(10_000) });
        let pod = pod(vec![container(|c| (c.waiting, c.restarts, c.last) = (waits("CrashLoopBackOff"), 3, long()))]);
        let text = pod.faults().remove(0).text;
        assert!(text.len() < 1024 && !text.contains(['\n', '\u{1b}']), "{text}");
        let begin =
            "pod web-1, container web: CrashLoopBackOff: why; started again 3 times; ended with exit code 1 (Error)";
        assert!(text.starts_with(&format!("{begin}, saying: x ")), "{text}");
        assert_eq!(without_words(&text), begin);
    }
}
