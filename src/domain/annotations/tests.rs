//! Rules from annotations: every row, the order of precedence, mistakes, Keel's keys.

use proptest::prelude::*;

use super::*;
use crate::domain::{
    policy::PolicyFile,
    poll::parse_duration,
    workload::{Kind, WorkloadId},
};

/// `name=image` or `init:name=image`.
fn workload(annotations: &[(&str, &str)], containers: &[&str]) -> Workload {
    let container = |(index, text): (usize, &&str)| {
        let (init, text) = text.strip_prefix("init:").map_or((false, *text), |text| (true, text));
        let (name, image) = text.split_once('=').unwrap();
        Container { name: name.into(), image: image.into(), init, index }
    };
    Workload {
        id: WorkloadId { kind: Kind("Deployment".into()), namespace: "prod".into(), name: "shop".into() },
        uid: "".into(),
        resource_version: "".into(),
        annotations: map(annotations).into(),
        labels: BTreeMap::new(),
        written: None,
        has_annotations: true,
        containers: containers.iter().enumerate().map(container).collect(),
        owner: None,
        instance: None,
        pull_secrets: vec!["regcred".into()],
    }
}

/// Keys without a slash are ours.
fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let whole = |key: &str| if key.contains('/') { key.to_owned() } else { format!("{PREFIX}{key}") };
    pairs.iter().map(|(key, value)| (whole(key), (*value).to_owned())).collect()
}

struct Setting {
    named: NamedPolicies,
    guards: Vec<Guard>,
    keel: KeelMode,
}

impl Default for Setting {
    fn default() -> Self {
        Self { named: NamedPolicies::default(), guards: Vec::new(), keel: KeelMode::Report }
    }
}

impl Setting {
    fn rules(&self, workload: &Workload, namespace: &[(&str, &str)]) -> WorkloadRule {
        let settings = RuleSettings {
            default_poll: Duration::from_secs(300),
            named: &self.named,
            keel: self.keel,
            guards: &self.guards,
            targets: &Targets::default(),
        };
        rules(workload, Some(&map(namespace)), &settings)
    }
}

fn read(annotations: &[(&str, &str)], namespace: &[(&str, &str)]) -> WorkloadRule {
    Setting::default().rules(&workload(annotations, &["web=ghcr.io/o/web:1.0.0", "log=ghcr.io/o/log:2.0.0"]), namespace)
}

/// One word a container: `minor`, `minor+digest`, `=web` for one that follows, `-code`, `!code`.
fn states(rule: &WorkloadRule) -> Vec<String> {
    let word = |rule: &ContainerRule| match &rule.state {
        Watch::Watched { policy, pin: Pin::Keep, .. } => policy.as_str().to_owned(),
        Watch::Watched { policy, pin, .. } => format!("{policy}+{pin:?}").to_lowercase(),
        Watch::Follows(leader) => format!("={leader}"),
        Watch::Skipped(code, _) => format!("-{code}"),
        Watch::Problem(reasons) => format!("!{}", reasons[0].code),
    };
    rule.containers.iter().map(word).collect()
}

fn codes(reasons: &[Reason]) -> Vec<&'static str> {
    reasons.iter().map(|reason| reason.code.as_str()).collect()
}

#[test]
fn a_workload_without_a_policy_is_not_watched_and_says_nothing() {
    let rule = read(&[], &[]);
    assert!(!rule.watched && rule.problems.is_empty() && rule.notes.is_empty());
    assert_eq!(states(&rule), ["-not-watched", "-not-watched"]);
}

#[test]
fn stray_keys_without_a_policy_are_noted_and_one_that_does_not_exist_is_a_problem() {
    let rule = read(&[("polcy", "minor"), ("pin", "digest"), ("hold", "all")], &[]);
    assert!(!rule.watched);
    assert_eq!((codes(&rule.problems), codes(&rule.notes)), (vec!["annotation-unknown"], vec!["not-watched"]));
    assert!(rule.problems[0].message.contains("is `supercargo.dev/policy` meant?"), "{:?}", rule.problems);
    let rule = read(&[("pin", "digest"), ("hold", "all")], &[]);
    assert_eq!((codes(&rule.problems), codes(&rule.notes)), (vec![], vec!["not-watched"]));
}

#[rstest::rstest]
#[case(&[("policy", "minor")], &[], ["minor", "minor"])]
#[case(&[], &[("policy", "patch")], ["patch", "patch"])]
#[case(&[("policy", "minor")], &[("policy", "patch")], ["minor", "minor"])]
#[case(&[("policy", "never")], &[("policy", "patch")], ["-policy-never", "-policy-never"])]
#[case(&[("policy.web", "minor")], &[], ["minor", "-not-watched"])]
#[case(&[("policy.web", "major"), ("policy", "minor")], &[], ["major", "minor"])]
#[case(&[("policy.web", "never"), ("policy", "minor")], &[], ["-policy-never", "minor"])]
#[case(&[("policy", "minor")], &[("policy.web", "patch")], ["minor", "minor"])]
#[case(&[("policy.log", "minor")], &[("policy.web", "patch"), ("policy", "major")], ["patch", "minor"])]
#[case(&[], &[("policy.web", "patch"), ("policy.elsewhere", "minor")], ["patch", "-not-watched"])]
#[case(&[("pin", "digest"), ("pin.web", "tag")], &[("policy", "minor")], ["minor+tag", "minor+digest"])]
#[case(&[("pin", "keep")], &[("policy", "minor"), ("pin.web", "digest")], ["minor", "minor"])]
fn the_container_comes_before_the_whole_and_the_workload_before_its_namespace(
    #[case] own: &[(&str, &str)],
    #[case] namespace: &[(&str, &str)],
    #[case] expected: [&str; 2],
) {
    let rule = read(own, namespace);
    assert_eq!(states(&rule), expected);
    assert_eq!(codes(&rule.problems), Vec::<&str>::new());
    assert!(rule.watched);
}

#[rstest::rstest]
#[case("web", ["minor", "-not-selected"])]
#[case("w*, lo?", ["minor", "minor"])]
#[case("{web,x}", ["minor", "-not-selected"])]
#[case("nothing", ["-not-selected", "-not-selected"])]
fn containers_selects_by_globs(#[case] globs: &str, #[case] expected: [&str; 2]) {
    assert_eq!(states(&read(&[("policy", "minor"), ("containers", globs)], &[])), expected);
}

#[rstest::rstest]
#[case(&[], ["minor", "minor", "=web", "-not-selected"])]
#[case(&[("init-containers", "same")], ["minor", "minor", "=web", "-not-selected"])]
#[case(&[("init-containers", "all")], ["minor", "minor", "minor", "minor"])]
#[case(&[("init-containers", "none")], ["minor", "minor", "-not-selected", "-not-selected"])]
#[case(&[("containers", "log")], ["-not-selected", "minor", "-not-selected", "-not-selected"])]
#[case(&[("policy.other", "patch")], ["minor", "minor", "=web", "patch"])]
#[case(&[("policy.web", "never")], ["-policy-never", "minor", "-not-selected", "-not-selected"])]
fn init_containers_move_with_the_image_they_share(#[case] more: &[(&str, &str)], #[case] expected: [&str; 4]) {
    let annotations = [&[("policy", "minor")], more].concat();
    let workload =
        workload(&annotations, &["web=o/web:1.0", "log=o/log:1.0", "init:migrate=o/web:1.0", "init:other=o/web:1.1"]);
    let rule = Setting::default().rules(&workload, &[]);
    assert_eq!(states(&rule), expected);
}

#[test]
fn an_init_container_moves_with_a_container_that_is_watched_alone() {
    let workload = workload(&[("policy.web", "minor")], &["web=o/web:1.0", "init:migrate=o/web:1.0"]);
    assert_eq!(states(&Setting::default().rules(&workload, &[])), ["minor", "=web"]);
    assert_eq!(states(&Setting::default().rules(&workload, &[("policy", "never")])), ["minor", "=web"]);
    assert_eq!(
        states(&Setting::default().rules(&workload, &[("policy.migrate", "never")])),
        ["minor", "-policy-never"]
    );
}

#[test]
fn every_option_reaches_the_policy() {
    let rule = read(
        &[
            ("policy", "semver:>=1"),
            ("prerelease", "allow"),
            ("flavor", "alpine"),
            ("order", "numeric"),
            ("allow", "v?[0-9.]+"),
            ("ignore", "{a,b}-*, *-rc*"),
            ("allow-downgrade", "true"),
            ("flavour.log", "any"),
            ("prerelease.log", "never"),
        ],
        &[],
    );
    assert_eq!(codes(&rule.problems), Vec::<&str>::new());
    let of = |prerelease: &str, flavour: &str| Options {
        prerelease: prerelease.parse().ok(),
        flavour: flavour.parse().ok(),
        order: "numeric".parse().ok(),
        allow: vec!["v?[0-9.]+".into()],
        ignore: Some(vec!["{a,b}-*".into(), "*-rc*".into()]),
        allow_downgrade: Some(true),
    };
    for (container, options) in rule.containers.iter().zip([of("allow", "alpine"), of("never", "any")]) {
        let expected = Policy::parse("semver:>=1", &options, &NamedPolicies::default()).unwrap();
        assert_eq!(container.state, Watch::Watched { policy: expected, pin: Pin::Keep, gates: Gates::default() });
    }
}

#[rstest::rstest]
#[case(&[], "every 5m", &[])]
#[case(&[("poll", "every 10m")], "every 10m", &[])]
#[case(&[("poll", "TZ=Europe/Berlin 0 9 * * Mon-Fri")], "TZ=Europe/Berlin 0 9 * * Mon-Fri", &[])]
#[case(&[("poll", "never")], "never", &[])]
#[case(&[("poll", "10m")], "every 10m", &[])]
#[case(&[("poll", "10")], "every 5m", &["poll-invalid"])]
#[case(&[("poll", "every 5s")], "every 1m", &["guard-interval"])]
fn poll_is_read_and_a_bad_one_falls_back(#[case] own: &[(&str, &str)], #[case] schedule: &str, #[case] notes: &[&str]) {
    let rule = read(&[&[("policy", "minor")], own].concat(), &[]);
    assert_eq!((rule.schedule.to_string().as_str(), codes(&rule.notes).as_slice()), (schedule, notes));
    assert!(rule.problems.is_empty());
    assert_eq!(states(&rule), ["minor", "minor"]);
    // The same as a default of the Namespace.
    let rule = read(&[("policy", "minor")], own);
    assert_eq!((rule.schedule.to_string().as_str(), codes(&rule.notes).as_slice()), (schedule, notes));
}

#[test]
fn suspend_and_write_are_read() {
    let rule = read(&[("policy", "minor"), ("suspend", "true"), ("write", "cluster")], &[]);
    assert!(rule.suspend && rule.overrides_owner && rule.problems.is_empty());
    let rule = read(&[("policy", "minor"), ("suspend", "false")], &[("suspend", "true"), ("write", "cluster")]);
    assert!(!rule.suspend, "the workload's own word comes first");
    assert!(!rule.overrides_owner, "only the workload itself can say so");
    assert!(read(&[("policy", "minor")], &[("suspend", "true")]).suspend);
}

#[rstest::rstest]
#[case("polcy", "minor", "annotation-unknown", "is `supercargo.dev/policy` meant?")]
#[case("policy.wbe", "minor", "annotation-unknown", "there is no container `wbe`; is `web` meant?")]
#[case("poll.web", "every 10m", "annotation-unknown", "write `supercargo.dev/poll`")]
#[case("containers.web", "web", "annotation-unknown", "for the whole workload")]
#[case("policy.web.x", "minor", "annotation-unknown", "there is no container `web.x`")]
#[case("", "minor", "annotation-unknown", "is no key")]
#[case("prerelease", "yes", "policy-invalid", "write `same`, `allow` or `never`")]
#[case("prerelease", "Never", "policy-invalid", "is `never` meant?")]
#[case("order", "reverse", "policy-invalid", "natural")]
#[case("allow", "1.[", "annotation-invalid", "unclosed character class, at character 3: `[`")]
#[case("allow", "(?=x)", "annotation-invalid", "look-around")]
#[case("ignore", "a[", "annotation-invalid", "`a[` is no glob")]
#[case("ignore", "a,,b", "annotation-invalid", "an empty glob")]
#[case("ignore", "1.4.*,^1.5.0$", "annotation-invalid", "no tag has a `^`")]
#[case("containers", "", "annotation-invalid", "an empty glob")]
#[case("init-containers", "some", "annotation-invalid", "write `same`, `all` or `none`")]
#[case("allow-downgrade", "yes", "annotation-invalid", "write `true` or `false`")]
#[case("suspend", "True", "annotation-invalid", "write `true` or `false`; is `true` meant?")]
#[case("pin", "Tag", "annotation-invalid", "is `tag` meant?")]
#[case("pin", "sha", "annotation-invalid", "write `keep`, `tag` or `digest`")]
#[case("write", "git:main", "target-unknown", "no Git target `main`")]
#[case("write", "git:../x", "annotation-invalid", "`git:<target>`")]
#[case("write", "elsewhere", "annotation-invalid", "write `cluster`")]
#[case("platforms", "linux/amd64", "not-built", "`platforms` is not built yet")]
#[case("min-age", "3", "annotation-invalid", "the unit is missing")]
#[case("min-age", "-1d", "annotation-invalid", "is no duration")]
#[case("min-age", "400d", "annotation-invalid", "is not between 1s and 366d")]
#[case("min-age.web", "soon", "annotation-invalid", "is no duration")]
#[case("approvals", "-1", "annotation-invalid", "write one from 0 to 10")]
#[case("approvals", "1.5", "annotation-invalid", "write one from 0 to 10")]
#[case("approvals", "11", "annotation-invalid", "write one from 0 to 10")]
#[case("approvals.web", "1", "annotation-unknown", "for the whole workload")]
#[case("approval-timeout", "2", "annotation-invalid", "the unit is missing")]
#[case("approval-timeout", "0s", "annotation-invalid", "is not between 1s and 366d")]
#[case("verify", "cosign", "not-built", "`verify`")]
#[case("rollback", "yes", "annotation-invalid", "write `never` or `auto`")]
#[case("rollback.web", "auto", "annotation-unknown", "for the whole workload")]
#[case("hold", "1.3*", "annotation-invalid", "patterns are not taken here")]
#[case("hold", "true", "annotation-invalid", "write `all`, one tag or one digest")]
#[case("hold", "sha256:abc", "annotation-invalid", "no whole digest")]
#[case("hold", "1.1.0,1.2.0", "annotation-invalid", "not a list")]
#[case("on-reapply", "yes", "annotation-invalid", "write `hold` or `again`")]
#[case("on-reapply.web", "again", "annotation-unknown", "for the whole workload")]
#[case("group", "a", "not-built", "group: a")]
#[case("group", "a/b", "annotation-invalid", "write a name")]
#[case("notify", "team", "not-built", "`notify`")]
fn a_mistake_blocks_the_workload_and_says_what_to_do(
    #[case] key: &str,
    #[case] value: &str,
    #[case] code: &str,
    #[case] says: &str,
) {
    let rule = read(&[("policy", "minor"), (key, value)], &[]);
    assert_eq!(codes(&rule.problems), [code]);
    assert!(rule.problems[0].message.contains(says), "{}", rule.problems[0].message);
    assert!(rule.watched);
    // As a default of the Namespace too, which the message then names; containers there may be other workloads'.
    let rule = read(&[("policy", "minor")], &[(key, value)]);
    if key.starts_with("policy.") {
        assert_eq!(codes(&rule.problems), Vec::<&str>::new());
    } else {
        assert_eq!(codes(&rule.problems), [code]);
        assert!(rule.problems[0].message.contains("on the Namespace"), "{}", rule.problems[0].message);
    }
}

#[rstest::rstest]
#[case("wbe", "there is no container `wbe`; is `web` meant?")]
#[case("web,wbe", "there is no container `wbe`")]
#[case("x*", "it fits no container")]
fn containers_that_are_not_there_are_a_mistake_of_the_workload_not_of_its_namespace(
    #[case] value: &str,
    #[case] says: &str,
) {
    let rule = read(&[("policy", "minor"), ("containers", value)], &[]);
    assert_eq!(codes(&rule.problems), ["annotation-invalid"]);
    assert!(rule.problems[0].message.contains(says), "{}", rule.problems[0].message);
    let rule = read(&[("policy", "minor")], &[("containers", value)]);
    assert_eq!(codes(&rule.problems), Vec::<&str>::new());
}

#[test]
fn a_wrong_default_of_the_namespace_does_not_block_those_who_say_otherwise() {
    let namespace = [("pin", "sha"), ("order", "up")];
    let rule = read(&[("policy", "minor"), ("pin", "tag"), ("order", "natural")], &namespace);
    assert_eq!(codes(&rule.problems), Vec::<&str>::new());
    let rule = read(&[("policy", "minor"), ("pin.web", "tag"), ("order", "natural")], &namespace);
    assert_eq!(codes(&rule.problems), ["annotation-invalid"], "the other container still has it");
    assert_eq!(states(&rule), ["minor+tag", "!annotation-invalid"]);
}

#[test]
fn a_gate_of_the_namespace_is_not_taken_back_by_a_workload() {
    let rule = read(
        &[("policy", "minor"), ("verify", "none"), ("platforms", "any")],
        &[("verify", "cosign"), ("platforms", "linux/amd64")],
    );
    assert_eq!(codes(&rule.problems), ["not-built", "not-built"]);
}

#[test]
fn whether_what_fails_is_put_back_is_said_by_the_first_of_workload_namespace_and_file() {
    let file: PolicyFile = serde_json::from_str(r#"{"name": "sure", "policy": "minor", "rollback": "auto"}"#).unwrap();
    let setting = Setting { named: NamedPolicies::new([&file]).unwrap(), ..Setting::default() };
    let said = |own: &[(&str, &str)], namespace: &[(&str, &str)]| {
        let own = [&[("policy", "named:sure")], own].concat();
        let rule = setting.rules(&workload(&own, &["web=ghcr.io/o/web:1.0.0"]), namespace);
        assert_eq!(codes(&rule.problems), Vec::<&str>::new());
        rule.rollback
    };
    assert_eq!(said(&[], &[]), Rollback::Auto);
    assert_eq!(said(&[], &[("rollback", "never")]), Rollback::Never);
    assert_eq!(said(&[("rollback", "auto")], &[("rollback", "never")]), Rollback::Auto);
    assert_eq!(read(&[("policy", "minor")], &[]).rollback, Rollback::Never);
}

/// How many people must approve, for how long they are waited for, and who says so.
fn approvals(rule: &WorkloadRule) -> (u8, u64, String) {
    let Some(approvals) = &rule.approvals else { return (0, 0, String::new()) };
    (approvals.needed.value, approvals.timeout.as_secs() / 3600, approvals.needed.by.to_string())
}

#[test]
fn whichever_place_asks_for_most_approvals_counts_and_the_first_that_says_how_long() {
    let asked = |own: &[(&str, &str)], namespace: &[(&str, &str)]| {
        let rule = read(&[&[("policy", "minor")], own].concat(), namespace);
        assert_eq!(codes(&rule.problems), Vec::<&str>::new());
        approvals(&rule)
    };
    let by = |text: &str| text.to_owned();
    assert_eq!(asked(&[], &[]), (0, 0, String::new()));
    assert_eq!(asked(&[("approvals", "0"), ("approval-timeout", "2h")], &[]), (0, 0, String::new()));
    assert_eq!(asked(&[("approvals", "2")], &[]), (2, 24, by("`supercargo.dev/approvals: 2`")));
    let on_namespace = by("`supercargo.dev/approvals: 3` on the Namespace");
    let namespace = [("approvals", "3"), ("approval-timeout", "48h")];
    assert_eq!(asked(&[("approvals", "0")], &namespace), (3, 48, on_namespace.clone()));
    assert_eq!(asked(&[("approval-timeout", "2h")], &namespace), (3, 2, on_namespace));
}

#[test]
fn a_guard_and_a_policy_file_ask_for_approvals_that_no_annotation_takes_back() {
    let guards: Vec<Guard> = serde_json::from_str(r#"[{"namespaces": ["prod*"], "approvals": 2}]"#).unwrap();
    let file = r#"{"name": "slow", "policy": "minor", "approvals": 1, "approvalTimeout": "36h"}"#;
    let file: PolicyFile = serde_json::from_str(file).unwrap();
    let setting = Setting { named: NamedPolicies::new([&file]).unwrap(), guards, ..Setting::default() };
    let workload = workload(&[("policy", "named:slow"), ("approvals", "0")], &["web=o/web:1.0.0"]);
    let rule = setting.rules(&workload, &[]);
    assert_eq!(codes(&rule.problems), Vec::<&str>::new());
    assert_eq!(approvals(&rule), (2, 36, "`approvals: 2` of the guard of the namespaces `prod*`".to_owned()));
    let rule = Setting { guards: Vec::new(), ..setting }.rules(&workload, &[]);
    assert_eq!(approvals(&rule), (1, 36, "`approvals: 1` of policy `named:slow`".to_owned()));
}

#[test]
fn what_is_approved_is_written_with_its_digest() {
    let rule = read(&[("policy", "minor"), ("approvals", "1"), ("pin", "tag")], &[]);
    assert_eq!(codes(&rule.problems), ["policy-invalid"]);
    assert!(rule.problems[0].message.contains("`pin: tag` of container web"), "{:?}", rule.problems);
}

/// The age that is asked of each container, and by whom.
fn ages(rule: &WorkloadRule) -> Vec<String> {
    let age = |rule: &ContainerRule| match &rule.state {
        Watch::Watched { gates, .. } => gates.min_age.as_ref().map(ToString::to_string).unwrap_or_default(),
        other => format!("{other:?}"),
    };
    rule.containers.iter().map(age).collect()
}

#[test]
fn whichever_place_asks_for_the_longest_age_counts() {
    let own = |own: &[(&str, &str)], namespace: &[(&str, &str)]| {
        let rule = read(&[&[("policy", "minor")], own].concat(), namespace);
        assert_eq!(codes(&rule.problems), Vec::<&str>::new());
        ages(&rule)
    };
    assert_eq!(own(&[], &[]), ["", ""]);
    assert_eq!(own(&[("min-age", "0s")], &[]), ["", ""]);
    let by_own = "at least 3d by `supercargo.dev/min-age: 3d`";
    assert_eq!(own(&[("min-age", "3d")], &[("min-age", "36h")]), [by_own, by_own]);
    let by_namespace = "at least 1d12h by `supercargo.dev/min-age: 36h` on the Namespace";
    assert_eq!(own(&[("min-age", "0s")], &[("min-age", "36h")]), [by_namespace, by_namespace]);
    assert_eq!(
        own(&[("min-age", "1h"), ("min-age.web", "2h")], &[]),
        ["at least 2h by `supercargo.dev/min-age.web: 2h`", "at least 1h by `supercargo.dev/min-age: 1h`"]
    );
}

#[test]
fn guards_and_policy_files_set_a_floor_under_the_age() {
    let guards: Vec<Guard> = serde_json::from_str(
        r#"[{"namespaces": ["*"], "minAge": "24h"}, {"namespaces": ["prod*"], "minAge": "72h"}, {"namespaces": ["x"], "minAge": "9d"}]"#,
    )
    .unwrap();
    let file: PolicyFile = serde_json::from_str(r#"{"name": "slow", "policy": "minor", "minAge": "4d"}"#).unwrap();
    let named = NamedPolicies::new([&file]).unwrap();
    let setting = Setting { named, guards, ..Setting::default() };
    let ages = |policy: &str| {
        let annotations = [("policy", policy), ("min-age", "0s")];
        ages(&setting.rules(&workload(&annotations, &["web=o/web:1.0.0"]), &[]))[0].clone()
    };
    assert_eq!(ages("minor"), "at least 3d by the guard of the namespaces `prod*`");
    assert_eq!(ages("named:slow"), "at least 4d by policy `named:slow`");
    let bad: PolicyFile = serde_json::from_str(r#"{"name": "slow", "policy": "minor", "minAge": "4"}"#).unwrap();
    let why = NamedPolicies::new([&bad]).unwrap_err().to_string();
    assert!(why.contains("`minAge`: `4` is no duration"), "{why}");
}

/// What closes a workload, and what must be open.
fn hours(rule: &WorkloadRule) -> [Vec<&str>; 2] {
    let Some(hours) = &rule.hours else { return Default::default() };
    [&hours.freezes, &hours.windows].map(|demands| demands.iter().map(|demand| &*demand.by).collect())
}

#[test]
fn every_place_s_window_must_be_open_and_every_place_s_freeze_closes() {
    let guards: Vec<Guard> = serde_json::from_str(
        r#"[{"namespaces": ["prod*"], "freeze": "2026-12-20..2027-01-05"}, {"namespaces": ["x"], "freeze": "always"}]"#,
    )
    .unwrap();
    let file: PolicyFile = serde_json::from_str(
        r#"{"name": "slow", "policy": "minor", "window": "mon-fri 09:00-17:00", "freeze": "never"}"#,
    )
    .unwrap();
    let setting = Setting { named: NamedPolicies::new([&file]).unwrap(), guards, ..Setting::default() };
    let own = [("policy", "minor"), ("policy.web", "named:slow"), ("window", "always"), ("freeze", "Fri 12:00-24:00")];
    let workload = workload(&own, &["web=o/web:1.0.0", "side=o/web:1.0.0"]);
    let rule = setting.rules(&workload, &[("window", "08:00-18:00"), ("freeze", "never")]);
    assert_eq!(rule.problems, []);
    assert_eq!(
        hours(&rule),
        [
            vec![
                "`supercargo.dev/freeze: Fri 12:00-24:00`",
                "`freeze: 2026-12-20..2027-01-05` of the guard of the namespaces `prod*`",
            ],
            vec![
                "`supercargo.dev/window: 08:00-18:00` on the Namespace",
                "`window: Mon-Fri 09:00-17:00` of policy `named:slow`",
            ],
        ]
    );
    assert_eq!(hours(&read(&[("policy", "minor"), ("window", "always")], &[("freeze", "never")])), [[""; 0]; 2]);
}

#[rstest::rstest]
#[case("window", "25:00-26:00", "`25:00`")]
#[case("window", "Mon-Xyz 09:00-17:00", "`Xyz`")]
#[case("freeze", "09:00-17:00 Europe/Berlinn", "is `Europe/Berlin` meant?")]
#[case("freeze", "2026-12-24..2026-12-20", "")]
#[case("window", "always; 09:00-17:00", "")]
fn a_window_that_cannot_be_read_is_a_problem_wherever_it_stands(
    #[case] key: &str,
    #[case] value: &str,
    #[case] says: &str,
) {
    for rule in [read(&[("policy", "minor"), (key, value)], &[]), read(&[("policy", "minor")], &[(key, value)])] {
        assert_eq!(codes(&rule.problems), ["annotation-invalid"], "{:?}", rule.problems);
        assert!(rule.problems[0].message.contains(says), "{}", rule.problems[0].message);
    }
    // Nor does the workload's own good one open what the Namespace's bad one may close.
    let rule = read(&[("policy", "minor"), (key, "09:00-17:00")], &[(key, value)]);
    assert_eq!(codes(&rule.problems), ["annotation-invalid"]);
    let file: PolicyFile =
        serde_json::from_value(serde_json::json!({"name": "a", "policy": "minor", key: value})).unwrap();
    let why = NamedPolicies::new([&file]).unwrap_err().to_string();
    assert!(why.contains(&format!("`{key}`: ")) && why.contains(says), "{why}");
}

#[test]
fn what_is_old_enough_is_written_with_its_digest() {
    let rule = read(&[("policy", "minor"), ("pin", "tag")], &[("min-age", "3d")]);
    assert_eq!(codes(&rule.problems), ["policy-invalid"]);
    assert!(rule.problems[0].message.contains("at least 3d by"), "{}", rule.problems[0].message);
}

#[test]
fn values_of_later_parts_that_ask_for_nothing_are_taken() {
    let rule = read(
        &[
            ("policy", "minor"),
            ("platforms", "any"),
            ("min-age", "0s"),
            ("approvals", "0"),
            ("approval-timeout", "24h"),
            ("window", "always"),
            ("freeze", "never"),
            ("verify", "none"),
            ("rollback", "never"),
        ],
        &[],
    );
    assert_eq!(codes(&rule.problems), Vec::<&str>::new());
}

#[test]
fn a_wrong_option_is_a_problem_even_where_nothing_uses_it() {
    let rule = read(&[("policy.web", "minor"), ("order", "up"), ("order.web", "natural")], &[]);
    assert_eq!(codes(&rule.problems), ["policy-invalid"]);
    assert_eq!(states(&rule), ["minor", "-not-watched"]);
}

#[test]
fn both_spellings_at_once_are_a_problem() {
    let rule = read(&[("policy", "minor"), ("flavor", "alpine"), ("flavour", "alpine")], &[]);
    assert_eq!(codes(&rule.problems), ["annotation-unknown"]);
    let rule = read(&[("policy", "minor"), ("flavor", "alpine"), ("flavour.web", "slim")], &[]);
    assert_eq!(codes(&rule.problems), Vec::<&str>::new());
}

#[test]
fn the_record_of_the_last_update_is_no_input() {
    let rule = read(&[("policy", "minor"), ("last-update", "{ not json")], &[]);
    assert!(rule.problems.is_empty() && rule.notes.is_empty());
    assert!(read(&[("last-update", "{}")], &[]).notes.is_empty());
}

#[test]
fn long_values_and_many_mistakes_stay_short() {
    let long = "x".repeat(2000);
    let rule = read(&[("policy", "minor"), ("flavour", &long)], &[]);
    assert!(rule.problems[0].message.ends_with("more than 1024 bytes"), "{}", rule.problems[0].message);
    assert!(rule.problems[0].message.len() < 400);
    let keys: Vec<String> = (0..500).map(|n| format!("nonsense{n}")).collect();
    let pairs: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "1")).chain([("policy", "minor")]).collect();
    let rule = read(&pairs, &[]);
    assert_eq!(rule.problems.len(), 21);
    assert_eq!(rule.problems[20].message, "and 480 more");
}

#[test]
fn control_characters_of_foreign_text_are_escaped() {
    let rule = read(&[("policy", "minor"), ("pin", "a\u{1b}[31m\nb")], &[]);
    assert!(!rule.problems[0].message.contains(['\u{1b}', '\n']), "{}", rule.problems[0].message);
}

#[test]
fn policy_digest_cannot_be_pinned_to_a_tag() {
    let rule = read(&[("policy", "minor"), ("policy.web", "digest"), ("pin", "tag")], &[]);
    assert_eq!(codes(&rule.problems), ["policy-invalid"]);
    assert_eq!(states(&rule), ["!policy-invalid", "minor+tag"]);
}

#[rstest::rstest]
#[case("minro")]
#[case("glob:v1:*")]
#[case("newest:^main")]
#[case("semver:>=>=")]
#[case("minor:1")]
#[case("named:nobody")]
#[case("glob:[a-")]
#[case("")]
fn a_policy_that_does_not_parse_is_a_problem(#[case] policy: &str) {
    let rule = read(&[("policy", policy)], &[]);
    assert_eq!(codes(&rule.problems), ["policy-invalid"]);
    assert_eq!(states(&rule), ["!policy-invalid", "!policy-invalid"]);
}

#[test]
fn an_image_that_does_not_parse_is_its_own_containers_problem() {
    let workload = workload(&[("policy", "minor")], &["web=o/web:1.0", "log={{ .Values.image }}", "off=$(X)"]);
    let mut workload = workload;
    Arc::make_mut(&mut workload.annotations).extend(map(&[("policy.off", "never")]));
    let rule = Setting::default().rules(&workload, &[]);
    assert_eq!(states(&rule), ["minor", "!image-invalid", "-policy-never"]);
    assert!(rule.problems.is_empty());
}

#[test]
fn a_guard_refuses_policies_and_registries_and_lengthens_intervals() {
    let guards = serde_json::from_str(
        r#"[{"namespaces": ["prod"], "policies": ["patch", "minor"], "registries": ["ghcr.io"], "minInterval": "1h"}]"#,
    );
    let setting = Setting { guards: guards.unwrap(), ..Setting::default() };
    let workload = workload(
        &[("policy", "minor"), ("policy.b", "major"), ("poll", "every 5m")],
        &["a=ghcr.io/o/a:1.0", "b=ghcr.io/o/b:1.0", "c=nginx:1.0"],
    );
    let rule = setting.rules(&workload, &[]);
    assert_eq!(states(&rule), ["minor", "!guard-policy", "!guard-registry"]);
    assert_eq!(rule.schedule, "every 1h".parse().unwrap());
    assert_eq!(codes(&rule.notes), ["guard-interval"]);
    assert!(rule.notes[0].message.contains("the guard of the namespaces `prod`"), "{:?}", rule.notes);
}

#[rstest::rstest]
#[case::ignore_adds(&[("ignore", "1.4.8*")], &[], "named:production")]
#[case::allow_must_match_too(&[("allow", "1.4.*")], &[], "named:production")]
#[case::a_stricter_prerelease(&[("prerelease", "never")], &[], "named:production")]
#[case::a_wider_prerelease(&[("prerelease", "same")], &[], "!guard-policy")]
#[case::any_prerelease(&[("prerelease", "allow")], &[], "!guard-policy")]
#[case::a_flavour(&[("flavour", "debug")], &[], "!guard-policy")]
#[case::the_other_spelling(&[("flavor", "any")], &[], "!guard-policy")]
#[case::an_order(&[("order", "numeric")], &[], "!guard-policy")]
#[case::a_downgrade(&[("allow-downgrade", "true")], &[], "!guard-policy")]
#[case::of_one_container(&[("allow-downgrade.web", "true")], &[], "!guard-policy")]
#[case::of_the_namespace(&[], &[("flavour", "any")], "!guard-policy")]
#[case::of_the_namespace_for_one(&[], &[("prerelease.web", "allow")], "!guard-policy")]
#[case::of_the_namespace_narrower(&[], &[("ignore", "1.4.8*")], "named:production")]
#[case::a_plain_kind(&[("policy", "patch"), ("prerelease", "never")], &[], "patch")]
#[case::a_plain_kind_widened(&[("policy", "patch"), ("prerelease", "allow")], &[], "!guard-policy")]
#[case::a_plain_kind_with_a_flavour(&[("policy", "patch"), ("flavour", "any")], &[], "!guard-policy")]
fn beside_a_policy_that_a_guard_lists_options_only_narrow(
    #[case] own: &[(&str, &str)],
    #[case] namespace: &[(&str, &str)],
    #[case] expected: &str,
) {
    let own = [&[("policy", "named:production")], own].concat();
    let workload = workload(&own, &["web=o/web:1.4.5"]);
    let named = production();
    let guards = serde_json::from_str(r#"[{"namespaces": ["prod"], "policies": ["named:production", "patch"]}]"#);
    let guarded = Setting { named: named.clone(), guards: guards.unwrap(), ..Setting::default() };
    let rule = guarded.rules(&workload, namespace);
    assert_eq!((states(&rule), codes(&rule.problems)), (vec![expected.to_owned()], vec![]));
    if let Watch::Problem(problems) = &rule.containers[0].state {
        assert!(problems[0].message.starts_with("the guard of the namespaces `prod` lists"), "{problems:?}");
        assert!(problems[0].message.contains("take out `supercargo.dev/"), "{problems:?}");
    }
    // Where no guard lists policies, they are what they were.
    let guards = serde_json::from_str(
        r#"[{"namespaces": ["other"], "policies": ["patch"]}, {"namespaces": ["prod"], "registries": ["*"]}]"#,
    );
    let free = Setting { named, guards: guards.unwrap(), ..Setting::default() };
    let policy = if own.len() > 1 && own[1].0 == "policy" { "patch" } else { "named:production" };
    assert_eq!(states(&free.rules(&workload, namespace)), [policy]);
}

fn production() -> NamedPolicies {
    let file = "{name: production, policy: patch, ignore: ['1.4.7*'], prerelease: never, allow: '[0-9.]+(-rc1)?'}";
    NamedPolicies::new([&serde_saphyr::from_str(file).unwrap()]).unwrap()
}

#[rstest::rstest]
#[case(&[], "1.4.9")]
#[case(&[("ignore", "1.4.9")], "1.4.8")]
#[case(&[("allow", "1\\.4\\.[78].*")], "1.4.8")]
#[case(&[("allow", ".*"), ("ignore", "1.4.[89]")], "1.4.6")]
fn the_filters_of_a_policy_that_a_guard_lists_stay_in_force(#[case] own: &[(&str, &str)], #[case] expected: &str) {
    use crate::domain::{
        decide::{Current, Listing, decide},
        image::Tag,
    };
    let guards = serde_json::from_str(r#"[{"namespaces": ["prod"], "policies": ["named:production"]}]"#);
    let setting = Setting { named: production(), guards: guards.unwrap(), ..Setting::default() };
    let own = [&[("policy", "named:production")], own].concat();
    let rule = setting.rules(&workload(&own, &["web=o/web:1.4.5"]), &[]);
    let Watch::Watched { policy, .. } = &rule.containers[0].state else { panic!("{rule:?}") };
    let tag = |text: &str| Tag::parse(text).unwrap();
    let tags = ["1.4.5", "1.4.6", "1.4.7", "1.4.8", "1.4.9", "1.4.9-debug", "1.4.10-rc1"].map(tag);
    let current = tag("1.4.5");
    let current = Current { tag: Some(&current), digest: None };
    let decision = decide(policy, current, &Listing::new(tags.iter().collect()), &Default::default());
    assert_eq!(decision.choice().unwrap().tag, tag(expected));
}

#[test]
fn an_option_of_keels_does_not_widen_what_a_guard_lists() {
    let guards = || serde_json::from_str(r#"[{"namespaces": ["prod"], "policies": ["patch", "glob:*"]}]"#).unwrap();
    let setting = Setting { keel: KeelMode::Apply, guards: guards(), ..Setting::default() };
    for (annotations, expected) in [
        (&[("keel.sh/policy", "patch")][..], "patch"),
        (&[("keel.sh/policy", "patch"), ("keel.sh/matchPreRelease", "false")], "!guard-policy"),
        (&[("keel.sh/policy", "patch"), ("flavour", "any")], "!guard-policy"),
    ] {
        assert_eq!(states(&setting.rules(&workload(annotations, &["web=o/web:1.0.0"]), &[])), [expected]);
    }
}

#[test]
fn helm_is_a_warning_unless_the_workload_says_that_the_cluster_is_right() {
    let mut workload = workload(&[("policy", "minor")], &["web=o/web:1.0"]);
    workload.owner = Some(Owner::Helm);
    assert_eq!(codes(&Setting::default().rules(&workload, &[]).notes), ["helm-managed"]);
    Arc::make_mut(&mut workload.annotations).extend(map(&[("write", "cluster")]));
    assert!(Setting::default().rules(&workload, &[]).notes.is_empty());
}

#[test]
fn pull_secrets_that_are_too_many_are_told() {
    let mut workload = workload(&[("policy", "minor")], &["web=o/web:1.0"]);
    let names = |count| (0..count).map(|n: usize| format!("s{n}").into()).collect();
    workload.pull_secrets = names(20);
    assert!(Setting::default().rules(&workload, &[]).notes.is_empty());
    workload.pull_secrets = names(21);
    assert_eq!(codes(&Setting::default().rules(&workload, &[]).notes), ["secrets-left-out"]);
}

fn keel(
    mode: KeelMode,
    annotations: &[(&str, &str)],
    labels: &[(&str, &str)],
    namespace: &[(&str, &str)],
) -> WorkloadRule {
    let mut workload = workload(annotations, &["web=o/web:1.0.0", "init:setup=o/web:1.0.0"]);
    workload.labels = map(labels);
    Setting { keel: mode, ..Setting::default() }.rules(&workload, namespace)
}

#[test]
fn keels_keys_are_reported_by_default_and_change_nothing() {
    let rule = keel(KeelMode::Report, &[("keel.sh/policy", "minor"), ("keel.sh/trigger", "poll")], &[], &[]);
    assert!(!rule.watched);
    assert_eq!(codes(&rule.notes), ["keel-reported"]);
    assert!(
        rule.notes[0]
            .message
            .ends_with("with `--keel apply` they would be read as policy: minor, init-containers: none"),
        "{}",
        rule.notes[0].message
    );
    let rule = keel(KeelMode::Report, &[("keel.sh/policy", "minor"), ("keel.sh/imageVolumes", "true")], &[], &[]);
    assert!(rule.notes[0].message.contains("they would be a problem: `keel.sh/imageVolumes"), "{:?}", rule.notes);
    let approvals = [("keel.sh/policy", "minor"), ("keel.sh/approvals", "2"), ("keel.sh/approvalDeadline", "5")];
    let rule = keel(KeelMode::Report, &approvals, &[], &[]);
    assert!(rule.notes[0].message.contains("approval-timeout: 5h, approvals: 2"), "{:?}", rule.notes);
    let rule = keel(KeelMode::Apply, &approvals, &[], &[]);
    assert_eq!(self::approvals(&rule), (2, 5, "`keel.sh/approvals: 2`".to_owned()));
    let rule = keel(KeelMode::Ignore, &[("keel.sh/policy", "minor"), ("keel.sh/trigger", "poll")], &[], &[]);
    assert!(!rule.watched && rule.notes.is_empty());
}

#[rstest::rstest]
// Annotations.
#[case(&[("keel.sh/policy", "minor"), ("keel.sh/trigger", "poll")], &[], "minor", "-not-selected", "every 5m")]
#[case(&[("keel.sh/policy", "minor")], &[], "minor", "-not-selected", "never")]
#[case(&[("keel.sh/policy", "minor"), ("keel.sh/trigger", "default")], &[], "minor", "-not-selected", "never")]
#[case(&[("keel.sh/policy", "all"), ("keel.sh/pollSchedule", "@every 10m")], &[], "all", "-not-selected", "never")]
#[case(&[("keel.sh/policy", "major"), ("keel.sh/trigger", "poll"), ("keel.sh/pollSchedule", "@every 10m")], &[],
    "major", "-not-selected", "every 10m")]
#[case(&[("keel.sh/policy", "patch"), ("keel.sh/trigger", "poll"), ("keel.sh/pollSchedule", "0 */30 * * * *")], &[],
    "patch", "-not-selected", "*/30 * * * *")]
#[case(&[("keel.sh/policy", "minor"), ("keel.sh/initContainers", "true")], &[], "minor", "minor", "never")]
#[case(&[("keel.sh/policy", "force"), ("keel.sh/matchTag", "true")], &[], "digest", "-not-selected", "never")]
#[case(&[("keel.sh/policy", "force"), ("keel.sh/match-tag", "true")], &[], "digest", "-not-selected", "never")]
#[case(&[("keel.sh/policy", "glob:build-*")], &[], "glob:build-*", "-not-selected", "never")]
#[case(&[("keel.sh/policy", "regexp:^v[0-9]+$")], &[], "regex:v[0-9]+", "-not-selected", "never")]
#[case(&[("keel.sh/policy", "never")], &[], "-policy-never", "-policy-never", "every 5m")]
#[case(&[("keel.sh/policy", "")], &[], "-policy-never", "-policy-never", "every 5m")]
#[case(&[("keel.observer/policy", "minor")], &[], "minor", "-not-selected", "never")]
// Labels; an annotation comes first.
#[case(&[], &[("keel.sh/policy", "minor"), ("keel.sh/trigger", "poll")], "minor", "-not-selected", "every 5m")]
#[case(&[], &[("keel.observer/policy", "patch")], "patch", "-not-selected", "never")]
#[case(&[("keel.sh/policy", "patch")], &[("keel.sh/policy", "major")], "patch", "-not-selected", "never")]
#[case(&[], &[("keel.sh/policy", "minor"), ("keel.sh/initContainers", "true")], "minor", "-not-selected", "never")]
// Our own keys stay above.
#[case(&[("keel.sh/policy", "minor"), ("poll", "every 7m")], &[], "minor", "-not-selected", "every 7m")]
#[case(&[("keel.sh/policy", "minor"), ("policy", "patch")], &[], "patch", "=web", "every 5m")]
fn keels_keys_are_applied_where_there_is_no_policy_of_ours(
    #[case] annotations: &[(&str, &str)],
    #[case] labels: &[(&str, &str)],
    #[case] web: &str,
    #[case] setup: &str,
    #[case] schedule: &str,
) {
    let rule = keel(KeelMode::Apply, annotations, labels, &[]);
    assert_eq!(codes(&rule.problems), Vec::<&str>::new());
    assert_eq!(states(&rule), [web, setup]);
    assert_eq!(rule.schedule.to_string(), schedule);
    assert!(rule.watched);
}

#[test]
fn keels_never_beats_a_namespace_default() {
    let rule = keel(KeelMode::Apply, &[("keel.sh/policy", "never")], &[], &[("policy", "minor")]);
    assert_eq!(states(&rule), ["-policy-never", "-policy-never"]);
}

#[test]
fn without_a_policy_of_keels_the_namespace_default_applies() {
    let rule = keel(KeelMode::Apply, &[("keel.sh/approvals", "2")], &[], &[("policy", "minor")]);
    assert_eq!((states(&rule), codes(&rule.problems)), (vec!["minor".to_owned(), "=web".to_owned()], vec![]));
}

#[rstest::rstest]
#[case("keel.sh/approvals", "many", "keel-unsupported")]
#[case("keel.sh/approvals", "11", "keel-unsupported")]
#[case("keel.sh/imageVolumes", "true", "not-built")]
#[case("keel.sh/imagePullSecret", "other", "keel-unsupported")]
#[case("keel.sh/monitorContainers", "nobody", "keel-unsupported")]
#[case("keel.sh/monitorContainers", "(", "keel-unsupported")]
#[case("keel.sh/pollschedule", "@every 1m", "keel-unsupported")]
#[case("keel.sh/polcy", "minor", "keel-unsupported")]
fn a_key_of_keels_that_cannot_be_honoured_blocks(#[case] key: &str, #[case] value: &str, #[case] code: &str) {
    let rule = keel(KeelMode::Apply, &[("keel.sh/policy", "minor"), (key, value)], &[], &[]);
    assert_eq!(codes(&rule.problems), [code]);
}

#[test]
fn a_policy_of_keels_that_cannot_be_read_blocks_and_lets_no_default_through() {
    let rule = keel(KeelMode::Apply, &[("keel.sh/policy", "sometimes")], &[], &[("policy", "minor")]);
    assert_eq!(codes(&rule.problems), ["keel-unsupported"]);
    assert_eq!(states(&rule), ["-policy-never", "-policy-never"]);
}

#[rstest::rstest]
#[case("keel.sh/approvals", "0")]
#[case("keel.sh/approvalDeadline", "5")]
#[case("keel.sh/notify", "")]
#[case("keel.sh/imageVolumes", "false")]
#[case("keel.sh/imagePullSecret", "regcred")]
#[case("keel.sh/monitorContainers", ".*")]
#[case("keel.sh/releaseNotes", "https://example.com")]
#[case("keel.sh/digest", "sha256:1")]
#[case("KEEL.SH/IMAGEVOLUMES", "true")]
fn a_key_of_keels_that_asks_for_nothing_is_taken(#[case] key: &str, #[case] value: &str) {
    let rule = keel(KeelMode::Apply, &[("keel.sh/policy", "minor"), (key, value)], &[], &[]);
    assert_eq!((states(&rule)[0].as_str(), codes(&rule.problems)), ("minor", vec![]));
}

#[test]
fn notices_that_keel_would_send_are_noted_and_block_nothing() {
    let rule = keel(KeelMode::Apply, &[("keel.sh/policy", "minor"), ("keel.sh/notify", "team-a")], &[], &[]);
    assert_eq!((codes(&rule.notes), codes(&rule.problems)), (vec!["not-built"], vec![]));
    assert_eq!(states(&rule)[0], "minor");
}

#[test]
fn a_bad_schedule_of_keels_falls_back() {
    let annotations = [("keel.sh/policy", "minor"), ("keel.sh/trigger", "poll"), ("keel.sh/pollSchedule", "@often")];
    let rule = keel(KeelMode::Apply, &annotations, &[], &[]);
    assert_eq!((codes(&rule.notes), rule.schedule.to_string()), (vec!["poll-invalid"], "every 5m".to_owned()));
}

#[test]
fn containers_that_keel_monitors_are_named() {
    let workload = workload(
        &[("keel.sh/policy", "minor"), ("keel.sh/monitorcontainers", "^w")],
        &["web=o/web:1.0", "worker=o/worker:1.0", "log=o/log:1.0"],
    );
    let rule = Setting { keel: KeelMode::Apply, ..Setting::default() }.rules(&workload, &[]);
    assert_eq!(states(&rule), ["minor", "minor", "-not-selected"]);
}

fn key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "policy",
        "containers",
        "init-containers",
        "prerelease",
        "flavour",
        "flavor",
        "order",
        "allow",
        "ignore",
        "allow-downgrade",
        "poll",
        "pin",
        "suspend",
        "write",
        "last-update",
        "platforms",
        "min-age",
        "approvals",
        "hold",
        "on-reapply",
    ]);
    let suffix = prop::sample::select(vec!["", ".web", ".log", ".x", "."]);
    prop_oneof![
        8 => (known, suffix).prop_map(|(key, suffix)| format!("{PREFIX}{key}{suffix}")),
        2 => "supercargo.dev/\\PC{0,12}",
        2 => "keel.sh/(policy|trigger|matchTag|pollSchedule|monitorContainers|approvals|initContainers|[a-z]{0,6})",
    ]
}

fn value() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "minor", "patch", "digest", "never", "all", "true", "false", "same", "any", "tag", "0", "0s", "every 5m",
        "web", "glob:*", "force", "poll", "keep",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => "\\PC{0,20}", 1 => "(regex|glob|semver|regexp|@every):?\\PC{0,10}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_annotations_panic_and_none_that_are_wrong_let_a_change_through(
        own in prop::collection::btree_map(key(), value(), 0..6),
        defaults in prop::collection::btree_map(key(), value(), 0..4),
        apply: bool,
    ) {
        let mut workload = workload(&[], &["web=o/web:1.0.0", "log=o/log:2.0.0", "init:setup=o/web:1.0.0"]);
        workload.annotations = own.clone().into();
        let keel = if apply { KeelMode::Apply } else { KeelMode::Report };
        let named = NamedPolicies::default();
        let settings = RuleSettings { default_poll: Duration::from_secs(300), named: &named, keel, guards: &[], targets: &Targets::default() };
        let rule = rules(&workload, Some(&defaults), &settings);
        let watches = rule.containers.iter().any(|c| matches!(c.state, Watch::Watched { .. } | Watch::Follows(_)));
        prop_assert_eq!(rule.containers.len(), 3);
        for rule in &rule.containers {
            let watched = matches!(rule.state, Watch::Watched { .. });
            prop_assert!(!watched || ImageRef::parse(&rule.image).is_ok());
        }
        // Whatever is written on the workload: alone, is it right?
        for (key, value) in &own {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            let (name, container) = name.split_once('.').map_or((name, None), |(n, c)| (n, Some(c)));
            let options = Options::default();
            let value = value.trim();
            let right = match name {
                "policy" => Policy::parse(value, &options, &named).is_ok(),
                "pin" => value.parse::<Pin>().is_ok(),
                "suspend" | "allow-downgrade" => matches!(value, "true" | "false"),
                "prerelease" => matches!(value, "same" | "allow" | "never"),
                "order" => value.parse::<crate::domain::policy::Order>().is_ok(),
                "write" => value == "cluster",
                "init-containers" => value.parse::<InitContainers>().is_ok(),
                "min-age" => value == "0s" || parse_duration(value).is_ok(),
                "approvals" => value == "0",
                "platforms" => value == "any",
                "hold" => value.parse::<crate::domain::hold::HoldRule>().is_ok(),
                "on-reapply" => matches!(value, "hold" | "again"),
                "containers" | "ignore" | "allow" | "flavour" | "flavor" | "poll" | "last-update" => true,
                _ => false,
            } && container.is_none_or(|c| matches!(c, "web" | "log"));
            if !right {
                prop_assert!(!rule.problems.is_empty() || !watches, "{key}: {value}: {rule:?}");
            }
        }
    }
}

#[test]
fn a_workload_with_too_many_watched_containers_or_patterns_is_left_alone_and_told_what_to_do() {
    let names: Vec<String> = (0..1000).map(|n| format!("c{n}")).collect();
    let rule = |count: usize, annotations: &[(String, String)]| {
        let images: Vec<String> = names[..count].iter().map(|name| format!("{name}=r.io/a:1.0.0")).collect();
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        let annotations: Vec<(&str, &str)> = annotations.iter().map(|(key, value)| (&**key, &**value)).collect();
        Setting::default().rules(&workload(&annotations, &images), &[])
    };
    let given = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let minor = given("policy", "minor");
    assert!(rule(100, std::slice::from_ref(&minor)).problems.is_empty());
    let many = rule(1000, std::slice::from_ref(&minor)).problems;
    assert_eq!(codes(&many), ["over-limit"]);
    assert!(many[0].message.starts_with("1000 containers are watched, and at most 100"), "{}", many[0].message);
    assert!(rule(1000, &[minor.clone(), given("containers", "c1?")]).problems.is_empty());

    let patterns = |count: usize| {
        let own = |name: &String| given(&format!("policy.{name}"), &format!("regex:{name}-(?P<order>\\d+)"));
        names[..count].iter().map(own).chain([given("ignore", "a*,b*")]).collect::<Vec<_>>()
    };
    assert!(rule(98, &patterns(98)).problems.is_empty());
    assert_eq!(codes(&rule(99, &patterns(99)).problems), ["over-limit"]);
}
