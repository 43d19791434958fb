//! Guards: what no annotation can weaken (the `guards` of the configuration file).
//!
//! Each guard holds for the namespaces it names. Where several do, each of their lists must let a value through, and
//! the longest of their intervals counts.

use std::{fmt, time::Duration};

use globset::{Glob, GlobMatcher};
use serde::Deserialize;

use super::{
    image::Repository,
    later::{self, Keyed, WithLater},
    policy::{self, NamedPolicies, Options, Policy},
    poll::{Schedule, parse_duration, show_duration},
    reason::{Code, Reason},
    target::Write,
    votes::Needed,
    window::Window,
};

/// The shortest interval that an annotation may ask for where no guard says otherwise. The operator's own interval
/// counts instead if it is shorter.
pub const MIN_INTERVAL: Duration = Duration::from_secs(60);

/// One entry of `guards`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "WithLater<Raw>")]
pub struct Guard {
    namespaces: Patterns,
    policies: Option<Patterns>,
    registries: Option<Patterns>,
    min_interval: Option<Duration>,
    targets: Option<Patterns>,
    min_age: Option<Duration>,
    freeze: Option<Window>,
    approvals: Option<Needed>,
}

/// Globs on whole texts. A pattern is also met by the very same text, so that `regex:v[0-9]+` can be listed as it is.
#[derive(Debug, Clone)]
struct Patterns(Vec<GlobMatcher>);

impl Guard {
    /// Whether it holds in that namespace.
    pub fn covers(&self, namespace: &str) -> bool {
        self.namespaces.meet(namespace)
    }

    /// What is wrong with the policies it lists: those that nothing could ever be.
    pub fn problems<'a>(&'a self, named: &'a NamedPolicies) -> impl Iterator<Item = String> + 'a {
        let listed = self.policies.iter().flat_map(|policies| &policies.0).map(|glob| glob.glob().glob());
        listed.filter_map(|policy| {
            let why = Policy::parse(policy, &Options::default(), named).err()?;
            // A glob stands for many policies: only how it begins can be misspelt.
            let begin = policy.split(['*', '?', '[', '{']).next().unwrap_or_default();
            let fits = |kind: String| kind.starts_with(begin) || begin.starts_with(&kind);
            let is_glob = begin.len() < policy.len();
            (!is_glob || !policy::beginnings().any(fits)).then(|| format!("guards: policies: {why}"))
        })
    }
}

/// What forbids a policy (as it is written in the annotation) in that namespace.
pub fn refuse_policy(guards: &[Guard], namespace: &str, policy: &str) -> Option<Reason> {
    let (guard, allowed) = guards
        .iter()
        .filter(|guard| guard.covers(namespace))
        .filter_map(|guard| Some((guard, guard.policies.as_ref()?)))
        .find(|(_, allowed)| !allowed.meet(policy))?;
    let message = format!("{guard} allows the policies {allowed} here, not `{}`", super::image::excerpt(policy));
    Some(Reason::new(Code::GuardPolicy, message))
}

/// The guard that lists policies for that namespace, if one does: what stands beside a policy there may only narrow it,
/// since who wrote the list saw the policies and not the annotations.
pub fn holds_policies<'a>(guards: &'a [Guard], namespace: &str) -> Option<&'a Guard> {
    guards.iter().find(|guard| guard.policies.is_some() && guard.covers(namespace))
}

/// What forbids images of a repository in that namespace.
pub fn refuse_registry(guards: &[Guard], namespace: &str, repository: &Repository) -> Option<Reason> {
    let whole = repository.to_string();
    // A pattern without a slash is about the host.
    let meets = |glob: &GlobMatcher| {
        glob.is_match(if glob.glob().glob().contains('/') { whole.as_str() } else { repository.host() })
    };
    let (guard, allowed) = guards
        .iter()
        .filter(|guard| guard.covers(namespace))
        .filter_map(|guard| Some((guard, guard.registries.as_ref()?)))
        .find(|(_, allowed)| !allowed.0.iter().any(meets))?;
    Some(Reason::new(Code::GuardRegistry, format!("{guard} allows the registries {allowed} here, not {repository}")))
}

/// What forbids to write to a Git target in that namespace. The cluster is none.
pub fn refuse_target(guards: &[Guard], namespace: &str, write: &Write) -> Option<Reason> {
    let name = write.target()?;
    let (guard, allowed) = guards
        .iter()
        .filter(|guard| guard.covers(namespace))
        .filter_map(|guard| Some((guard, guard.targets.as_ref()?)))
        .find(|(_, allowed)| !allowed.meet(name))?;
    Some(Reason::new(Code::GuardTarget, format!("{guard} allows the targets {allowed} here, not `{name}`")))
}

/// The schedule that an annotation asked for, made no shorter than the guards allow; with a reason if that changed it.
pub fn floor_interval(
    guards: &[Guard],
    namespace: &str,
    asked: Schedule,
    operators: Duration,
) -> (Schedule, Option<Reason>) {
    let (floor, guard) = min_interval(guards, namespace, operators);
    if asked.shortest_gap().is_none_or(|gap| gap >= floor) {
        return (asked, None);
    }
    let by = guard.map_or_else(|| "the default minInterval".to_owned(), ToString::to_string);
    let message = format!("`{asked}` is more often than {by} allows: looked at every {} at most", show_duration(floor));
    (asked.at_least(floor), Some(Reason::new(Code::GuardInterval, message)))
}

/// The shortest interval that an annotation may ask for in that namespace, and the guard that sets it, if one does.
pub fn min_interval<'g>(guards: &'g [Guard], namespace: &str, operators: Duration) -> (Duration, Option<&'g Guard>) {
    guards
        .iter()
        .filter(|guard| guard.covers(namespace))
        .filter_map(|guard| Some((guard.min_interval?, Some(guard))))
        .max_by_key(|(interval, _)| *interval)
        .unwrap_or((MIN_INTERVAL.min(operators), None))
}

/// How old a version must be in that namespace at least, and the guard that says so.
pub fn min_ages<'g>(guards: &'g [Guard], namespace: &str) -> impl Iterator<Item = (Duration, &'g Guard)> {
    let covering = guards.iter().filter(move |guard| guard.covers(namespace));
    covering.filter_map(|guard| Some((guard.min_age?, guard)))
}

/// When no update may start in that namespace, and the guard that says so.
pub fn freezes<'g>(guards: &'g [Guard], namespace: &str) -> impl Iterator<Item = (&'g Window, &'g Guard)> {
    let covering = guards.iter().filter(move |guard| guard.covers(namespace));
    covering.filter_map(|guard| Some((guard.freeze.as_ref()?, guard)))
}

/// How many people must approve an update in that namespace, and the guard that says so.
pub fn approvals<'g>(guards: &'g [Guard], namespace: &str) -> impl Iterator<Item = (u8, &'g Guard)> {
    let covering = guards.iter().filter(move |guard| guard.covers(namespace));
    covering.filter_map(|guard| Some((guard.approvals?.0, guard)))
}

impl Patterns {
    fn parse(key: &str, texts: &[String]) -> Result<Self, String> {
        if texts.is_empty() {
            return Err(format!("guards: `{key}` is an empty list; name at least one glob, or leave `{key}` out"));
        }
        let parse = |text: &String| match Glob::new(text) {
            Ok(_) if text.is_empty() => Err(format!("guards: `{key}` holds an empty pattern")),
            Ok(glob) => Ok(glob.compile_matcher()),
            Err(error) => Err(format!("guards: `{key}` holds no glob: {error}")),
        };
        texts.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    fn meet(&self, text: &str) -> bool {
        self.0.iter().any(|glob| glob.is_match(text) || glob.glob().glob() == text)
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the guard of the namespaces {}", self.namespaces)
    }
}

impl fmt::Display for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let globs: Vec<String> = self.0.iter().map(|glob| format!("`{}`", glob.glob())).collect();
        f.write_str(&globs.join(", "))
    }
}

/// A guard as written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    namespaces: Vec<String>,
    policies: Option<Vec<String>>,
    registries: Option<Vec<String>>,
    min_interval: Option<String>,
    targets: Option<Vec<String>>,
    min_age: Option<String>,
    freeze: Option<String>,
    approvals: Option<Needed>,
}

impl Keyed for Raw {
    const LATER: &'static [&'static str] = later::GUARD;
}

impl TryFrom<WithLater<Raw>> for Guard {
    type Error = String;

    fn try_from(WithLater { value: raw, later }: WithLater<Raw>) -> Result<Self, String> {
        if let Some(key) = later.first() {
            return Err(format!("guards: {}, as it would guard nothing", later::refusal(key)));
        }
        let duration = |key: &str, text: Option<&String>| {
            let read = text.map(|text| parse_duration(text)).transpose();
            read.map_err(|error| format!("guards: `{key}`: {error}"))
        };
        Ok(Self {
            namespaces: Patterns::parse("namespaces", &raw.namespaces)?,
            policies: raw.policies.map(|texts| Patterns::parse("policies", &texts)).transpose()?,
            registries: raw.registries.map(|texts| Patterns::parse("registries", &texts)).transpose()?,
            min_interval: duration("minInterval", raw.min_interval.as_ref())?,
            targets: raw.targets.map(|texts| Patterns::parse("targets", &texts)).transpose()?,
            min_age: duration("minAge", raw.min_age.as_ref())?,
            freeze: raw
                .freeze
                .map(|text| text.parse().map_err(|error| format!("guards: `freeze`: {error}")))
                .transpose()?,
            approvals: raw.approvals,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guards(json: &str) -> Vec<Guard> {
        serde_json::from_str(json).unwrap()
    }

    fn refused(json: &str) -> String {
        serde_json::from_str::<Vec<Guard>>(json).unwrap_err().to_string()
    }

    #[rstest::rstest]
    #[case("prod-eu", "minor", true)]
    #[case("prod-eu", "semver:^1", true)]
    #[case("prod-eu", "named:slow", true)]
    #[case("prod-eu", "regex:v[0-9]+", true)]
    #[case("prod-eu", "major", false)]
    #[case("prod-eu", "glob:*", false)]
    #[case("prod-eu", "named:fast", false)]
    #[case("dev", "glob:*", true)]
    fn only_listed_policies_are_allowed_where_a_guard_holds(
        #[case] namespace: &str,
        #[case] policy: &str,
        #[case] allowed: bool,
    ) {
        let guards = guards(
            r#"[{"namespaces": ["prod-*"], "policies": ["patch", "minor", "semver:*", "named:slow", "regex:v[0-9]+"]}]"#,
        );
        assert_eq!(refuse_policy(&guards, namespace, policy).is_none(), allowed);
    }

    #[rstest::rstest]
    #[case("ghcr.io/team/web", true)]
    #[case("ghcr.io/team/a/b", true)]
    #[case("ghcr.io/other/web", false)]
    #[case("docker.io/library/nginx", false)]
    #[case("registry.example:5000/x", true)]
    #[case("registry.example/x", false)]
    #[case("eu.pkg.example/x", true)]
    #[case("evil.example/eu.pkg.example/x", false)]
    fn only_listed_registries_are_allowed_where_a_guard_holds(#[case] repository: &str, #[case] allowed: bool) {
        let guards = guards(
            r#"[{"namespaces": ["*"], "registries": ["ghcr.io/team/*", "registry.example:5000", "*.pkg.example"]}]"#,
        );
        let repository = Repository::parse(repository).unwrap();
        assert_eq!(refuse_registry(&guards, "any", &repository).is_none(), allowed);
    }

    #[rstest::rstest]
    #[case("ptach", Some("is `patch` meant?"))]
    #[case("smever:*", Some("is `semver` meant?"))]
    #[case("ptac*", Some("is no policy"))]
    #[case("Patch", Some("is `patch` meant?"))]
    #[case("named:nobody", Some("no policy file is named `nobody`"))]
    #[case("patch", None)]
    #[case("*", None)]
    #[case("n*", None)]
    #[case("{patch,minor}", None)]
    #[case("named:*", None)]
    #[case("regex:v[0-9]+", None)]
    #[case("semver:>=1.*", None)]
    fn a_policy_that_nothing_could_be_is_a_mistake_of_the_guard(#[case] policy: &str, #[case] says: Option<&str>) {
        let guards = guards(&format!(r#"[{{"namespaces": ["*"], "policies": ["{policy}"]}}]"#));
        let problems: Vec<String> = guards[0].problems(&NamedPolicies::default()).collect();
        assert_eq!(problems.len(), usize::from(says.is_some()), "{problems:?}");
        assert!(problems.iter().all(|problem| problem.contains(says.unwrap_or_default())), "{problems:?}");
    }

    #[test]
    fn every_guard_that_holds_must_let_a_policy_through() {
        let guards = guards(
            r#"[{"namespaces": ["*"], "policies": ["patch", "minor"]}, {"namespaces": ["prod"], "policies": ["patch"]}]"#,
        );
        assert_eq!(refuse_policy(&guards, "dev", "minor"), None);
        let reason = refuse_policy(&guards, "prod", "minor").unwrap();
        assert_eq!(reason.code, Code::GuardPolicy);
        assert_eq!(reason.message, "the guard of the namespaces `prod` allows the policies `patch` here, not `minor`");
    }

    #[rstest::rstest]
    #[case("dev", "every 30s", "every 1m", true)]
    #[case("dev", "every 1m", "every 1m", false)]
    #[case("prod", "every 5m", "every 10m", true)]
    #[case("prod", "every 1h", "every 1h", false)]
    #[case("prod", "never", "never", false)]
    #[case("test", "every 5s", "every 5s", false)]
    fn an_annotation_cannot_ask_more_often_than_its_guard_allows(
        #[case] namespace: &str,
        #[case] asked: &str,
        #[case] got: &str,
        #[case] said: bool,
    ) {
        let guards = guards(
            r#"[{"namespaces": ["prod"], "minInterval": "5m"}, {"namespaces": ["prod"], "minInterval": "10m"},
                {"namespaces": ["test"], "minInterval": "5s"}]"#,
        );
        let operators = Duration::from_secs(300);
        let (schedule, reason) = floor_interval(&guards, namespace, asked.parse().unwrap(), operators);
        assert_eq!(schedule.to_string(), got);
        assert_eq!(reason.is_some(), said);
    }

    #[test]
    fn an_operator_that_looks_more_often_than_the_default_floor_lowers_it() {
        let (schedule, reason) = floor_interval(&[], "dev", "every 10s".parse().unwrap(), Duration::from_secs(10));
        assert_eq!((schedule.to_string().as_str(), reason), ("every 10s", None));
    }

    #[rstest::rstest]
    #[case(r#"[{"namespaces": ["a"], "minAge": "1"}]"#, "`minAge`: `1` is no duration (the unit is missing)")]
    #[case(r#"[{"namespaces": ["a"], "freeze": "Mon-Xyz"}]"#, "guards: `freeze`: ")]
    #[case(r#"[{"namespaces": ["a"], "approvals": 11}]"#, "write one from 0 to 10")]
    #[case(r#"[{"namespaces": ["a"], "approvals": -1}]"#, "write one from 0 to 10")]
    #[case(r#"[{"namespaces": ["a"], "approvals": 1.5}]"#, "write one from 0 to 10")]
    #[case(r#"[{"namespaces": ["a"], "approvals": "two"}]"#, "a number of people from 0 to 10")]
    #[case(r#"[{"namespaces": ["a"], "channels": ["b"]}]"#, "`channels` is not built yet")]
    #[case(r#"[{"namespaces": ["a"], "targets": []}]"#, "`targets` is an empty list")]
    #[case(r#"[{"namespaces": ["a"], "polices": ["minor"]}]"#, "unknown field `polices`")]
    #[case(r#"[{"policies": ["minor"]}]"#, "missing field `namespaces`")]
    #[case(r#"[{"namespaces": []}]"#, "empty list")]
    #[case(r#"[{"namespaces": ["a["]}]"#, "holds no glob")]
    #[case(r#"[{"namespaces": ["a"], "minInterval": "5"}]"#, "the unit is missing")]
    fn a_guard_that_would_not_guard_is_refused(#[case] json: &str, #[case] says: &str) {
        let error = refused(json);
        assert!(error.contains(says), "{error}");
    }
}
