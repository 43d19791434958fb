//! A workload's annotations as they were last in force. `kubectl rollout undo` restores those of the old revision with its
//! images, so that a policy or a gate that was written since is lost: it stays in force until somebody writes it again, or
//! says that all goes on.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LAST_UPDATE, hash};
use crate::domain::{
    poll::parse_duration,
    text::excerpt,
    workload::{PREFIX, Workload, WorkloadId},
};

/// As many keys are kept in force of a workload; a value that is longer than this is none that is read.
const KEPT_KEYS: usize = 32;
const VALUE: usize = 1024;

/// Keys that are no policy and hold up nothing: those of an old revision count.
const OTHERS: &[&str] = &["last-update", "poll", "notify", "group", "write", "rollback", "on-reapply"];

/// The annotations of a workload, and which of them are in force although they are not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenRule {
    /// As they were last in force.
    pub values: Arc<BTreeMap<String, String>>,
    /// What went together with an image that was moved back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptKey>,
    /// The policy itself went with it: by whom and when. Nothing is changed until a person says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<Box<TakenAway>>,
}

/// An annotation that is in force although it is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptKey {
    /// The key.
    pub key: String,
    /// The value that is in force.
    pub value: String,
    /// The one that is there instead, if there is one. Another one was written since, and counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

/// Who took a policy away, together with an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenAway {
    /// The field manager of the image.
    pub by: Arc<str>,
    /// When.
    pub at: Timestamp,
}

impl SeenRule {
    /// That the policy itself was taken away, and how it is put back.
    pub fn why_undone(&self, taken: &TakenAway, workload: &WorkloadId) -> String {
        let WorkloadId { kind, namespace, name } = workload;
        let kept: Vec<String> =
            self.kept.iter().map(|kept| format!("'{}={}'", kept.key, excerpt(&kept.value))).collect();
        format!(
            "the policy went together with the image that {} moved back (at {}): nothing is changed; `supercargo resume \
             {workload}` puts it in force again, or write it: `kubectl annotate -n {namespace} {}/{name} {}`",
            taken.by,
            taken.at,
            kind.as_str().to_lowercase(),
            kept.join(" ")
        )
    }

    /// A hash of the values.
    pub fn hash(&self) -> Arc<str> {
        hash(self.values.iter().filter(|(key, _)| *key != LAST_UPDATE).map(|(key, value)| format!("{key}={value}")))
    }

    /// Takes in the annotations of a workload whose images nobody has moved; whether anything is new that is to be remembered.
    pub(super) fn see(&mut self, workload: &Workload) -> bool {
        let before = self.kept.len();
        self.kept.retain(|kept| kept.is_left(&workload.annotations));
        self.settle();
        let now = self.over(workload);
        let is_new = before != self.kept.len() || !is_same(&self.values, &now);
        self.values = now;
        is_new
    }

    /// Takes in the annotations of a workload whose image was moved back: what is gone with it, or weaker than it was, stays
    /// in force.
    pub(super) fn keep(&mut self, workload: &Workload, taken: TakenAway) {
        let there = &workload.annotations;
        let is_ours = |key: &str| key.starts_with(PREFIX) || key.starts_with("keel.sh/");
        let gone = self.values.iter().filter(|(key, value)| {
            is_ours(key) && !is_other(key) && is_weaker(key, value, there.get(*key).map(String::as_str))
        });
        let gone =
            gone.map(|(key, value)| KeptKey { key: key.clone(), value: value.clone(), left: there.get(key).cloned() });
        let is_short = |kept: &KeptKey| kept.value.len().max(kept.left.as_ref().map_or(0, String::len)) <= VALUE;
        self.kept = gone.filter(is_short).take(KEPT_KEYS).collect();
        let has_policy = |map: &BTreeMap<String, String>| map.keys().any(|key| is_policy(key));
        self.undone = (has_policy(&self.values) && !has_policy(there)).then(|| Box::new(taken));
        self.values = self.over(workload);
    }

    /// The annotations that are in force: those that are there, and over them what is kept.
    pub fn over(&self, workload: &Workload) -> Arc<BTreeMap<String, String>> {
        if !self.kept.iter().any(|kept| kept.is_left(&workload.annotations)) {
            return workload.annotations.clone();
        }
        let mut all = (*workload.annotations).clone();
        let kept = self.kept.iter().filter(|kept| kept.is_left(&workload.annotations));
        all.extend(kept.map(|kept| (kept.key.clone(), kept.value.clone())));
        Arc::new(all)
    }

    /// A person says that it goes on: a policy that was taken away is in force from now on, with its gates; else those that are
    /// there count. Those that are in force from now on, and those that are not any more.
    pub(super) fn resume(&mut self) -> (Vec<KeptKey>, Vec<KeptKey>) {
        if self.undone.take().is_some() {
            return (self.kept.clone(), Vec::new());
        }
        let (policy, gone): (Vec<_>, Vec<_>) = self.kept.drain(..).partition(|kept| is_policy(&kept.key));
        self.kept = policy;
        (Vec::new(), gone)
    }

    /// A policy that somebody has written again is none that was taken away.
    fn settle(&mut self) {
        let is_kept = self.kept.iter().any(|kept| is_policy(&kept.key));
        self.undone.take_if(|_| !is_kept);
    }
}

impl KeptKey {
    /// That it is in force, and how that ends.
    pub fn why(&self, workload: &WorkloadId) -> String {
        let Self { key, value, .. } = self;
        format!(
            "`{key}: {}` went together with an image that was moved back, and stays in force until it is written again or \
             `supercargo resume {workload}`",
            excerpt(value)
        )
    }

    fn is_left(&self, there: &BTreeMap<String, String>) -> bool {
        there.get(&self.key) == self.left.as_ref()
    }
}

/// Whether two maps say the same but for what we write ourselves.
fn is_same(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> bool {
    let said = |map| BTreeMap::iter(map).filter(|(key, _)| *key != LAST_UPDATE);
    std::ptr::eq(one, other) || said(one).eq(said(other))
}

fn name(key: &str) -> &str {
    let name = key.strip_prefix(PREFIX).unwrap_or_default();
    name.split_once('.').map_or(name, |(name, _)| name)
}

fn is_other(key: &str) -> bool {
    OTHERS.contains(&name(key))
}

fn is_policy(key: &str) -> bool {
    name(key) == "policy" || key == "keel.sh/policy"
}

/// Whether a value that is there asks for less than the one that was in force: where that cannot be said it does.
fn is_weaker(key: &str, was: &str, now: Option<&str>) -> bool {
    let Some(now) = now else { return true };
    const LEVELS: [&str; 5] = ["never", "patch", "minor", "major", "all"];
    let level = |text: &str| LEVELS.iter().position(|level| *level == text);
    let age = |text: &str| if text == "0s" { Some(std::time::Duration::ZERO) } else { parse_duration(text).ok() };
    let is_as_strict = match name(key) {
        _ if was == now => true,
        "policy" => level(was).zip(level(now)).is_some_and(|(was, now)| now <= was),
        "min-age" => age(was).zip(age(now)).is_some_and(|(was, now)| now >= was),
        "approvals" => was.parse::<u8>().ok().zip(now.parse::<u8>().ok()).is_some_and(|(was, now)| now >= was),
        "suspend" => now == "true",
        "allow-downgrade" => now == "false",
        "prerelease" => now == "never",
        _ => false,
    };
    !is_as_strict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(annotations: &[(&str, &str)]) -> Workload {
        let annotations: BTreeMap<String, String> =
            annotations.iter().map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned())).collect();
        Workload { annotations: annotations.into(), ..Workload::of("shop/Deployment/web".parse().unwrap(), Vec::new()) }
    }

    fn undone(before: &[(&str, &str)], after: &[(&str, &str)]) -> (SeenRule, Workload) {
        let mut rule = SeenRule::default();
        assert!(rule.see(&workload(before)));
        let after = workload(after);
        rule.keep(&after, TakenAway { by: "kubectl-rollout".into(), at: Timestamp::UNIX_EPOCH });
        (rule, after)
    }

    fn in_force(rule: &SeenRule, workload: &Workload) -> Vec<String> {
        rule.over(workload).iter().map(|(key, value)| format!("{}={value}", &key[PREFIX.len()..])).collect()
    }

    #[rstest::rstest]
    #[case("min-age", "3d", None, "3d")]
    #[case("min-age", "3d", Some("1h"), "3d")]
    #[case("min-age", "1h", Some("3d"), "3d")]
    #[case("approvals", "2", Some("1"), "2")]
    #[case("approvals", "1", Some("2"), "2")]
    #[case("policy", "patch", Some("major"), "patch")]
    #[case("policy", "minor", Some("patch"), "patch")]
    #[case("policy", "glob:a-*", Some("glob:b-*"), "glob:a-*")]
    #[case("policy.web", "patch", Some("minor"), "patch")]
    #[case("window", "Mon-Fri 09:00-17:00 UTC", Some("always"), "Mon-Fri 09:00-17:00 UTC")]
    #[case("suspend", "true", Some("false"), "true")]
    #[case("hold", "1.2.0", None, "1.2.0")]
    #[case("poll", "1m", Some("1h"), "1h")]
    fn what_is_gone_or_weaker_stays_in_force(
        #[case] key: &str,
        #[case] was: &str,
        #[case] now: Option<&str>,
        #[case] expected: &str,
    ) {
        let policy = ("policy.log", "minor");
        let after: Vec<(&str, &str)> = [policy].into_iter().chain(now.map(|now| (key, now))).collect();
        let (rule, after) = undone(&[policy, (key, was)], &after);
        assert!(in_force(&rule, &after).contains(&format!("{key}={expected}")), "{rule:?}");
        assert_eq!(rule.undone, None);
    }

    #[test]
    fn a_key_that_is_kept_ends_when_it_is_written_again_and_not_before() {
        let (mut rule, mut after) = undone(&[("policy", "minor"), ("min-age", "3d")], &[("policy", "minor")]);
        assert_eq!(in_force(&rule, &after), ["min-age=3d", "policy=minor"]);
        assert!(!rule.see(&after), "nothing is new");
        Arc::make_mut(&mut after.annotations).insert(format!("{PREFIX}poll"), "1h".to_owned());
        assert!(rule.see(&after));
        assert_eq!(in_force(&rule, &after), ["min-age=3d", "policy=minor", "poll=1h"]);
        Arc::make_mut(&mut after.annotations).insert(format!("{PREFIX}min-age"), "1h".to_owned());
        assert!(rule.see(&after));
        assert_eq!(in_force(&rule, &after), ["min-age=1h", "policy=minor", "poll=1h"]);
        assert_eq!(rule.kept, []);
    }

    #[test]
    fn a_policy_that_was_taken_away_waits_for_a_person_and_then_holds_with_its_gates() {
        let (mut rule, after) = undone(&[("policy", "minor"), ("min-age", "3d")], &[]);
        assert!(rule.undone.is_some());
        let why = rule.why_undone(rule.undone.as_deref().unwrap(), &after.id);
        assert!(
            why.contains(
                "kubectl annotate -n shop deployment/web 'supercargo.dev/min-age=3d' 'supercargo.dev/policy=minor'"
            ),
            "{why}"
        );
        assert_eq!(rule.resume().0.len(), 2);
        assert_eq!(
            (rule.undone.as_ref(), in_force(&rule, &after)),
            (None, vec!["min-age=3d".into(), "policy=minor".into()])
        );
        // Another time only the gates go.
        assert_eq!(rule.resume().1.len(), 1);
        assert_eq!(in_force(&rule, &after), ["policy=minor"]);
        // Or somebody writes it.
        let (mut rule, after) = undone(&[("policy", "minor")], &[]);
        assert!(rule.see(&workload(&[("policy", "patch")])));
        assert_eq!((rule.undone.as_ref(), in_force(&rule, &after)), (None, Vec::new()));
    }
}
