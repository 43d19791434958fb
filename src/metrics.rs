//! The metrics and their names: the one place where they are written. No label holds an unbounded value.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError, atomic::AtomicU64},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Labels of `supercargo_registry_requests_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    registry: String,
    /// `tags`, `manifest`, `blob` or `token`.
    class: &'static str,
    code: String,
}

/// Labels of `supercargo_hooks_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HookLabels {
    /// The sender's name in the path.
    pub sender: &'static str,
    /// `queued`, `unwatched`, `ignored`, `invalid`, `unauthorized`, `off`, `too-large`, `too-many`, `unavailable`; later also
    /// `not-found`, of a hint that was given up.
    pub outcome: &'static str,
}

/// Labels of `supercargo_updates_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct UpdateLabels {
    /// The workload's kind.
    pub kind: String,
    /// `applied`, `committed`, `proposed`, `blocked`, `stale`, `gone`, `refused`, `failed`.
    pub outcome: &'static str,
}

/// Labels of `supercargo_rollouts_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RolloutLabels {
    /// The workload's kind.
    pub kind: String,
    /// `succeeded`, `failed`, `stalled`, `superseded`, `not-followed`.
    pub outcome: &'static str,
}

/// Labels of `supercargo_reviews_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReviewLabels {
    /// `counted`, `repeated`, `stale`, `void`, `unmapped`, `unknown`, `too-many`.
    pub outcome: &'static str,
}

/// Labels of `supercargo_slack_requests_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SlackLabels {
    /// A method of the Web API, `response_url`, or `click`, of what comes from Slack.
    pub method: &'static str,
    /// `ok`, `rate-limited`, `unavailable`, `refused`; of what comes from Slack also `late`, `invalid`, `ignored`.
    pub outcome: &'static str,
}

/// Labels of `supercargo_problems`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProblemLabels {
    /// A reason code.
    pub category: &'static str,
}

/// Labels of `supercargo_detect_to_apply_seconds`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TriggerLabels {
    /// `poll`, `webhook` or `change`.
    pub trigger: &'static str,
}

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    registry_requests: Family<RequestLabels, Counter>,
    /// Registries that have a label of their own.
    hosts: Mutex<HashSet<Box<str>>>,
    /// Entries of tag lists that are no tags.
    pub registry_tags_dropped: Counter,
    /// Webhooks received.
    pub hooks: Family<HookLabels, Counter>,
    /// Updates by what came of them.
    pub updates: Family<UpdateLabels, Counter>,
    /// Rollouts by what came of them; one that stands still goes on.
    pub rollouts: Family<RolloutLabels, Counter>,
    /// Rollouts that are followed, now.
    pub rollouts_in_flight: Gauge,
    /// Updates that wait for people to approve them, now.
    pub approvals_waiting: Gauge,
    /// Votes by what became of them.
    pub reviews: Family<ReviewLabels, Counter>,
    /// What was asked of Slack, and what came from there.
    pub slack_requests: Family<SlackLabels, Counter>,
    /// Whether Slack's clicks are heard: 1 or 0.
    pub slack_connected: Gauge,
    /// Workloads and containers with a problem, now.
    pub problems: Family<ProblemLabels, Gauge>,
    /// Images and workloads that are held.
    pub holds: Gauge,
    /// Seconds from the hint to the written change.
    pub detect_to_apply: Family<TriggerLabels, Histogram>,
    /// Seconds by which the most overdue repository is late.
    pub poll_overdue: Gauge<f64, AtomicU64>,
    /// Seconds that the repository that waits longest for its registry has waited.
    pub registry_queue: Gauge<f64, AtomicU64>,
    /// Workloads with a policy.
    pub workloads: Gauge,
    /// Repositories that are looked at.
    pub repositories: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = || Histogram::new([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0]);
        let mut metrics = Self {
            registry: Registry::with_prefix("supercargo"),
            registry_requests: Family::default(),
            hosts: Mutex::default(),
            registry_tags_dropped: Counter::default(),
            hooks: Family::default(),
            updates: Family::default(),
            rollouts: Family::default(),
            rollouts_in_flight: Gauge::default(),
            approvals_waiting: Gauge::default(),
            reviews: Family::default(),
            slack_requests: Family::default(),
            slack_connected: Gauge::default(),
            problems: Family::default(),
            holds: Gauge::default(),
            detect_to_apply: Family::new_with_constructor(seconds),
            poll_overdue: Gauge::default(),
            registry_queue: Gauge::default(),
            workloads: Gauge::default(),
            repositories: Gauge::default(),
        };
        let r = &mut metrics.registry;
        r.register("registry_requests", "Requests to registries and token servers", metrics.registry_requests.clone());
        let dropped = metrics.registry_tags_dropped.clone();
        r.register("registry_tags_dropped", "Entries of tag lists that are no tags", dropped);
        r.register("hooks", "Webhooks received", metrics.hooks.clone());
        r.register("updates", "Updates by outcome", metrics.updates.clone());
        r.register("rollouts", "Rollouts by outcome", metrics.rollouts.clone());
        r.register("rollouts_in_flight", "Rollouts that are followed", metrics.rollouts_in_flight.clone());
        r.register("approvals_waiting", "Updates that wait for approval", metrics.approvals_waiting.clone());
        r.register("reviews", "Votes by outcome", metrics.reviews.clone());
        let what = "What was asked of Slack, and what came from there, by outcome";
        r.register("slack_requests", what, metrics.slack_requests.clone());
        r.register("slack_connected", "Whether clicks in Slack are heard", metrics.slack_connected.clone());
        r.register("problems", "Workloads and containers with a problem", metrics.problems.clone());
        r.register("holds", "Images and workloads that are held", metrics.holds.clone());
        r.register("detect_to_apply_seconds", "From the hint to the written change", metrics.detect_to_apply.clone());
        r.register("poll_overdue_seconds", "Lateness of the most overdue repository", metrics.poll_overdue.clone());
        let queue = metrics.registry_queue.clone();
        r.register("registry_queue_seconds", "Longest wait of a repository for its registry", queue);
        r.register("workloads", "Workloads with a policy", metrics.workloads.clone());
        r.register("repositories", "Repositories looked at", metrics.repositories.clone());
        metrics
    }
}

/// Images name hosts without end: more registries than this are counted together.
const MAX_HOSTS: usize = 256;
const OTHER: &str = "other";

impl Metrics {
    /// Counts a request to a registry, or for it to its token server. `status` is `None` where no answer came.
    pub fn count_request(&self, registry: &str, class: &'static str, status: Option<u16>) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() < MAX_HOSTS && !hosts.contains(registry) {
            hosts.insert(registry.into());
        }
        let registry = if hosts.contains(registry) { registry } else { OTHER };
        let code = match status {
            None => "error".to_owned(),
            Some(known @ (200 | 301..=303 | 307 | 308 | 400 | 401 | 403..=406 | 429 | 500 | 502..=504)) => {
                known.to_string()
            }
            Some(_) => OTHER.to_owned(),
        };
        let labels = RequestLabels { registry: registry.to_owned(), class, code };
        self.registry_requests.get_or_create(&labels).inc();
    }

    /// The text exposition format (OpenMetrics).
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_metric() {
        let page = include_str!("../docs/install.md");
        let rest = include_str!("metrics.rs").split("r.register(\"").skip(1);
        let names: Vec<&str> = rest.filter_map(|rest| rest.split('"').next()).collect();
        assert!(names.len() >= 10, "{names:?}");
        for name in names {
            assert!(page.contains(&format!("| `supercargo_{name}")), "{name}");
        }
    }

    #[test]
    fn hosts_and_statuses_without_end_are_counted_together() {
        let metrics = Metrics::default();
        for n in 0..10_000 {
            metrics.count_request(&format!("r{n}.example"), "tags", Some(100 + n % 900));
            metrics.count_request("r0.example", "tags", Some(200));
        }
        let text = metrics.encode();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("supercargo_registry_requests_")).collect();
        assert!(lines.len() < 2 * MAX_HOSTS, "{} lines", lines.len());
        assert!(lines.iter().any(|line| line.contains(r#"registry="r0.example",class="tags",code="200"} 1000"#)));
        let sum: u64 = lines.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(sum, 20_000);
    }
}
