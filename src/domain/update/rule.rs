//! A workload's annotations as they were last in force. `kubectl rollout undo` restores those of the old revision with its
//! images, so that a policy or a gate that was written since is lost: it stays in force until somebody writes it again, or
//! says that all goes on.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LAST_UPDATE, hash};
use crate::domain::{
    hours::to_the_second,
    keel::is_keels,
    poll::parse_duration,
    text::{escape, excerpt},
    workload::{PREFIX, Workload, WorkloadId},
};

/// As many keys are kept in force of a workload: none is let go, as that would open its gate.
const KEPT_KEYS: usize = 8192;

/// The longest command that is told.
const COMMAND: usize = 600;

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
    /// A person has put it in force again, with its gates: it stays so until it is written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
}

/// An annotation that is in force although it is not there, or that is not although it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptKey {
    /// The key.
    pub key: String,
    /// The value that is in force; none where there was none before the image was moved back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
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
    /// What was taken away, or came back, with an image.
    pub fn why(&self, workload: &WorkloadId) -> String {
        match &self.undone {
            Some(taken) => self.why_undone(taken, workload),
            None => self.whys(workload).collect::<Vec<_>>().join("; "),
        }
    }

    /// That the policy itself was taken away, and how it is put back.
    pub fn why_undone(&self, taken: &TakenAway, workload: &WorkloadId) -> String {
        let WorkloadId { kind, namespace, name } = workload;
        let written = |kept: &KeptKey| {
            let value = kept.value.as_deref().map(|value| format!("={}", escape(value)));
            // Without a value it is taken away.
            quoted(&format!("{}{}", kept.key, value.as_deref().unwrap_or("-")))
        };
        let kept: Vec<String> = self.kept.iter().map(written).collect();
        let is_over = self.kept.iter().any(|kept| kept.value.is_some() && kept.left.is_some());
        let (kind, overwrite) = (kind.as_str().to_lowercase(), if is_over { " --overwrite" } else { "" });
        let command = format!("kubectl annotate{overwrite} -n {namespace} {kind}/{name} {}", kept.join(" "));
        // One that is cut would write something else.
        let or = if command.len() > COMMAND { String::new() } else { format!(", or write it: `{command}`") };
        format!(
            "the policy was taken away with the image that {} moved back (at {}): nothing is changed; `supercargo resume \
             {workload}` puts it in force again{or}",
            taken.by,
            to_the_second(taken.at),
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
        self.drop_undone();
        let now = self.over(workload);
        let is_new = before != self.kept.len() || !is_same(&self.values, &now);
        self.values = now;
        is_new
    }

    /// Takes in the annotations of a workload whose image was moved back: what is gone with it, or weaker than it was, stays
    /// in force.
    pub(super) fn keep(&mut self, workload: &Workload, taken: TakenAway) {
        let there = &workload.annotations;
        let is_ours = |key: &str| key.starts_with(PREFIX) || is_keels(key);
        let keys = self.values.keys().chain(there.keys().filter(|key| !self.values.contains_key(*key)));
        let kept = keys.filter(|key| is_ours(key) && !is_other(key)).filter_map(|key| {
            let (value, left) = (self.values.get(key), there.get(key));
            let is_weaker = is_weaker(key, value.map(String::as_str), left.map(String::as_str));
            is_weaker.then(|| KeptKey { key: key.clone(), value: value.cloned(), left: left.cloned() })
        });
        self.kept = kept.take(KEPT_KEYS).collect();
        let has_policy = |map: &BTreeMap<String, String>| map.keys().any(|key| is_policy(key));
        self.resumed = false;
        self.undone = (has_policy(&self.values) && !has_policy(there)).then(|| Box::new(taken));
        self.values = self.over(workload);
    }

    /// The annotations that are in force: those that are there, and over them what is kept.
    pub fn over(&self, workload: &Workload) -> Arc<BTreeMap<String, String>> {
        if !self.kept.iter().any(|kept| kept.is_left(&workload.annotations)) {
            return workload.annotations.clone();
        }
        let mut all = (*workload.annotations).clone();
        for KeptKey { key, value, .. } in self.kept.iter().filter(|kept| kept.is_left(&workload.annotations)) {
            match value {
                Some(value) => all.insert(key.clone(), value.clone()),
                None => all.remove(key),
            };
        }
        Arc::new(all)
    }

    /// A person says that it goes on: a policy that was taken away is in force from now on, with its gates; else those that are
    /// there count. Those that are in force from now on, and those that are not any more.
    pub(super) fn resume(&mut self) -> (Vec<KeptKey>, Vec<KeptKey>) {
        if self.undone.take().is_some() {
            self.resumed = true;
            return (self.kept.clone(), Vec::new());
        }
        (Vec::new(), if self.resumed { Vec::new() } else { std::mem::take(&mut self.kept) })
    }

    /// What is said of each key that is in force as it was.
    pub fn whys(&self, workload: &WorkloadId) -> impl Iterator<Item = String> {
        let resume = match self.resumed {
            true => String::new(),
            false => format!(" or `supercargo resume {workload}`"),
        };
        self.kept.iter().map(move |kept| kept.why(&resume))
    }

    /// A policy that somebody has written again is none that was taken away.
    fn drop_undone(&mut self) {
        let is_kept = self.kept.iter().any(KeptKey::is_policy);
        self.undone.take_if(|_| !is_kept);
        self.resumed &= is_kept;
    }
}

impl KeptKey {
    /// That it is in force, and how that ends.
    fn why(&self, resume: &str) -> String {
        let Self { key, value, left } = self;
        let until = format!("until it is written again{resume}");
        match value {
            Some(value) => format!(
                "`{key}: {}` was taken away with the image that was moved back; it stays in force {until}",
                excerpt(value)
            ),
            None => format!(
                "`{key}: {}` came back with the image that was moved back; it is not in force {until}",
                excerpt(left.as_deref().unwrap_or_default())
            ),
        }
    }

    fn is_policy(&self) -> bool {
        is_policy(&self.key) && self.value.is_some()
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
    name(key) == "policy" || matches!(key, "keel.sh/policy" | "keel.observer/policy")
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Whether a value that is there asks for less than the one that was in force: where that cannot be said it does. What was
/// not there may stand above what the Namespace or another key asks for.
fn is_weaker(key: &str, was: Option<&str>, now: Option<&str>) -> bool {
    let Some(now) = now else { return was.is_some() };
    let is_full = matches!((name(key), now), ("suspend", "true") | ("hold", "all"));
    let Some(was) = was else { return !is_full };
    const LEVELS: [&str; 5] = ["never", "patch", "minor", "major", "all"];
    let level = |text: &str| LEVELS.iter().position(|level| *level == text);
    let age = |text: &str| if text == "0s" { Some(std::time::Duration::ZERO) } else { parse_duration(text).ok() };
    let is_as_strict = match name(key) {
        _ if was == now => true,
        "policy" => level(was).zip(level(now)).is_some_and(|(was, now)| now <= was),
        "min-age" => age(was).zip(age(now)).is_some_and(|(was, now)| now >= was),
        "approvals" => was.parse::<u8>().ok().zip(now.parse::<u8>().ok()).is_some_and(|(was, now)| now >= was),
        _ if is_full => true,
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
    #[case("hold", "1.2.0", Some("all"), "all")]
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

    #[rstest::rstest]
    #[case("allow-downgrade", "true", false)]
    #[case("min-age", "0s", false)]
    #[case("min-age.web", "0s", false)]
    #[case("suspend", "false", false)]
    #[case("policy.web", "all", false)]
    #[case("hold", "1.0.0", false)]
    #[case("suspend", "true", true)]
    #[case("hold", "all", true)]
    #[case("poll", "1h", true)]
    fn what_comes_back_with_an_image_opens_no_gate(#[case] key: &str, #[case] now: &str, #[case] counts: bool) {
        let policy = ("policy", "minor");
        let (mut rule, mut after) = undone(&[policy], &[policy, (key, now)]);
        let both = |rule: &SeenRule, workload: &Workload| in_force(rule, workload).contains(&format!("{key}={now}"));
        assert_eq!(both(&rule, &after), counts, "{rule:?}");
        assert!(!rule.see(&after), "nothing is new");
        assert_eq!(both(&rule, &after), counts, "{rule:?}");
        let why = rule.kept.first().map(|kept| kept.why(""));
        assert!(why.is_none_or(|why| why.contains("came back with the image")));
        // Written again it counts, and so it does after a resume.
        let (again, mut resumed) = (format!("{PREFIX}{key}"), rule.clone());
        resumed.resume();
        assert!(both(&resumed, &after));
        Arc::make_mut(&mut after.annotations).insert(again, "7".to_owned());
        rule.see(&after);
        assert!(rule.kept.is_empty() && in_force(&rule, &after).contains(&format!("{key}=7")));
    }

    #[test]
    fn a_policy_that_comes_back_is_no_policy() {
        let (mut rule, after) = undone(&[("min-age", "3d")], &[("min-age", "3d"), ("policy", "major")]);
        assert_eq!((in_force(&rule, &after), rule.undone.is_some()), (vec!["min-age=3d".to_owned()], false));
        assert_eq!(rule.resume().1.len(), 1);
        assert_eq!(in_force(&rule, &after), ["min-age=3d", "policy=major"]);
    }

    #[rstest::rstest]
    #[case("keel.sh/policy")]
    #[case("keel.observer/policy")]
    fn keels_policy_is_one_too(#[case] key: &str) {
        let before = BTreeMap::from([(key.to_owned(), "minor".to_owned())]);
        let before = Workload { annotations: before.into(), ..workload(&[]) };
        let (mut rule, after) = (SeenRule::default(), workload(&[]));
        assert!(rule.see(&before));
        rule.keep(&after, TakenAway { by: "kubectl-rollout".into(), at: Timestamp::UNIX_EPOCH });
        assert!(rule.undone.is_some() && rule.over(&after).contains_key(key), "{rule:?}");
    }

    #[test]
    fn of_many_keys_none_is_let_go() {
        let keys: Vec<String> = (0..60).map(|n| format!("min-age.c{n}")).collect();
        let gates = keys.iter().map(|key| (&**key, "3d")).chain([("policy", "minor"), ("suspend", "true")]);
        let (rule, after) = undone(&gates.collect::<Vec<_>>(), &[("policy", "minor")]);
        assert_eq!(in_force(&rule, &after).len(), 62);
    }

    #[test]
    fn what_puts_a_policy_back_is_one_word_for_a_shell() {
        let (mut rule, after) = undone(&[("policy", "regex:^a'; rm -rf ~; '$")], &[("min-age", "0s")]);
        let why = rule.why_undone(rule.undone.as_deref().unwrap(), &after.id);
        let command = r"deployment/web 'supercargo.dev/policy=regex:^a'\''; rm -rf ~; '\''$' 'supercargo.dev/min-age-'";
        assert!(why.ends_with(&format!("{command}`")), "{why}");
        // Beside what is there it is to be written over, and what does not fit is not told in part.
        rule.kept[0].left = Some("never".to_owned());
        let why = |rule: &SeenRule| rule.why_undone(rule.undone.as_deref().unwrap(), &after.id);
        assert!(why(&rule).contains("kubectl annotate --overwrite -n shop"));
        rule.kept[0].value = Some("a".repeat(700));
        assert!(!why(&rule).contains("kubectl annotate"));
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
        // It stays so until it is written.
        assert_eq!(rule.resume(), (Vec::new(), Vec::new()));
        assert_eq!(in_force(&rule, &after).len(), 2);
        // Or somebody writes it.
        let (mut rule, after) = undone(&[("policy", "minor")], &[]);
        assert!(rule.see(&workload(&[("policy", "patch")])));
        assert_eq!((rule.undone.as_ref(), in_force(&rule, &after)), (None, Vec::new()));
    }
}
