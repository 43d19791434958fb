//! The keys of `supercargo.dev/*`, and a raw map of them read into a [`Layer`].

use std::{collections::BTreeMap, str::FromStr};

use super::{
    InitContainers, Pin,
    globs::{self, NameGlob, globs},
};
use crate::domain::{
    image::excerpt,
    later::{self, ANNOTATIONS},
    nearest::{is_meant, listed},
    policy::{FlavourOption, NamedPolicies, Options, Order, Policy, PrereleaseOption, check_glob, check_regex},
    reason::{Code, Reason},
    target::{Write, is_name},
    update::LAST_UPDATE,
    workload::{PREFIX, Workload, Written},
};

/// The longest value that is read; `last-update`, which is ours, may be longer.
const MAX_VALUE: usize = 1024;

/// One key.
#[derive(Clone, Copy)]
struct Spec {
    name: &'static str,
    /// Whether `<key>.<container>` exists.
    per_container: bool,
    /// For a key that this version does not have yet: the values that ask for nothing.
    later: Option<&'static [&'static str]>,
}

const fn spec(name: &'static str, per_container: bool) -> Spec {
    Spec { name, per_container, later: None }
}

/// The keys that are built (docs/annotations.md).
const BUILT: &[Spec] = &[
    spec("policy", true),
    spec("containers", false),
    spec("init-containers", false),
    spec("prerelease", true),
    spec("flavour", true),
    spec("order", true),
    spec("allow", true),
    spec("ignore", true),
    spec("allow-downgrade", true),
    spec("poll", false),
    spec("pin", true),
    spec("suspend", false),
    spec("write", false),
    spec("last-update", false),
    spec("group", false),
];

/// All keys.
fn specs() -> impl Iterator<Item = Spec> {
    let later = ANNOTATIONS.iter().map(|later| Spec {
        name: later.name,
        per_container: later.per_container,
        later: Some(later.harmless),
    });
    BUILT.iter().copied().chain(later)
}

/// Where a map stands. The order is that of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Workload,
    Namespace,
}

/// One value as given.
#[derive(Debug, Clone)]
pub(super) struct Given {
    /// The key and the value for messages: `` `supercargo.dev/pin: tag` on the Namespace ``.
    pub(super) shown: String,
    pub(super) value: String,
    /// What is wrong with it, where it counts only if it applies.
    pub(super) wrong: Option<Reason>,
}

/// A raw map, read.
#[derive(Debug, Default)]
pub(super) struct Layer {
    general: BTreeMap<&'static str, Given>,
    of_container: BTreeMap<(&'static str, String), Given>,
    /// Mistakes that count whatever applies.
    pub(super) problems: Vec<Reason>,
    /// Whether there is any key but `last-update`.
    pub(super) any: bool,
}

impl Layer {
    /// Reads what of a map is ours. On the workload every mistake counts; on the Namespace a wrong value counts only for
    /// the workloads it applies to.
    pub(super) fn read(
        map: &BTreeMap<String, String>,
        place: Place,
        workload: &Workload,
        named: &NamedPolicies,
    ) -> Self {
        let mut layer = Self::default();
        for (key, value) in map.iter().filter(|(key, _)| key.starts_with(PREFIX)) {
            let rest = &key[PREFIX.len()..];
            if key == LAST_UPDATE {
                continue;
            }
            layer.any = true;
            if let Err(problem) = layer.add(rest, key, value, place, workload, named) {
                layer.problems.push(problem);
            }
        }
        layer
    }

    fn add(
        &mut self,
        rest: &str,
        key: &str,
        value: &str,
        place: Place,
        workload: &Workload,
        named: &NamedPolicies,
    ) -> Result<(), Reason> {
        let there = match place {
            Place::Workload => "",
            Place::Namespace => " on the Namespace",
        };
        // What nobody wrote as an annotation is named by what was written.
        let written = workload.written.as_ref().filter(|_| place == Place::Workload).and_then(|all| all.get(key));
        let (named_as, there) = match written {
            Some(Written { key, at }) => (key.as_str(), format!(" ({})", excerpt(at))),
            None => (key, there.to_owned()),
        };
        let unknown =
            |why: String| Reason::new(Code::AnnotationUnknown, format!("`{}`{there}{why}", excerpt(named_as)));
        let (name, container) = match rest.split_once('.') {
            Some((name, container)) => (name, Some(container)),
            None => (rest, None),
        };
        let Some(spec) = find(name) else {
            let prefix = if written.is_some() { "" } else { PREFIX };
            let hint = is_meant(name, specs().map(|spec| spec.name).chain(["flavor"]), prefix);
            return Err(unknown(format!(" is no key of supercargo's{hint}")));
        };
        if let Some(container) = container {
            if !spec.per_container {
                let message = format!(": `{}` is for the whole workload: write `{PREFIX}{}`", spec.name, spec.name);
                return Err(unknown(message));
            }
            if workload.container(container).is_none() {
                if place == Place::Namespace {
                    return Ok(());
                }
                return Err(unknown(format!(": {}", no_container(container, workload))));
            }
        }
        let value = value.trim();
        let shown = format!("`{}: {}`{there}", excerpt(named_as), excerpt(value));
        let names_nobody = || match (spec.name, place) {
            ("containers", Place::Workload) => nobody(value, workload),
            _ => None,
        };
        let wrong = check(spec, value, named).err().or_else(|| Some((Code::AnnotationInvalid, names_nobody()?)));
        let wrong = wrong.map(|(code, why)| Reason::new(code, format!("{shown}: {why}")));
        let given = Given { shown, value: value.to_owned(), wrong };
        let twice = match container {
            Some(container) => self.of_container.insert((spec.name, container.to_owned()), given.clone()),
            None => self.general.insert(spec.name, given.clone()),
        };
        if twice.is_some() {
            return Err(unknown(": both `flavour` and `flavor` are given: write one of them".to_owned()));
        }
        match given.wrong {
            // The default interval stands in for a bad `poll`; the caller says so.
            Some(_) if spec.name == "poll" => Ok(()),
            Some(wrong) if place == Place::Workload => Err(wrong),
            _ => Ok(()),
        }
    }

    /// Adds a value read from another tool's key, below what is there.
    pub(super) fn add_below(&mut self, name: &str, value: &str, shown: String, named: &NamedPolicies) {
        let Some(spec) = find(name) else { return };
        if self.general.contains_key(spec.name) {
            return;
        }
        let wrong = check(spec, value, named).err().map(|(code, why)| Reason::new(code, format!("{shown}: {why}")));
        if spec.name != "poll" {
            self.problems.extend(wrong.clone());
        }
        self.general.insert(spec.name, Given { shown, value: value.to_owned(), wrong });
    }

    /// The value for the whole workload.
    pub(super) fn general(&self, name: &str) -> Option<&Given> {
        self.general.get(name)
    }

    /// The value for one container by its own key.
    pub(super) fn own(&self, name: &'static str, container: &str) -> Option<&Given> {
        self.of_container.get(&(name, container.to_owned()))
    }

    /// The value for one container.
    pub(super) fn of(&self, name: &'static str, container: &str) -> Option<&Given> {
        self.own(name, container).or_else(|| self.general(name))
    }

    /// Every value with its key's name.
    pub(super) fn values(&self) -> impl Iterator<Item = (&'static str, &Given)> {
        let general = self.general.iter().map(|(name, given)| (*name, given));
        general.chain(self.of_container.iter().map(|((name, _), given)| (*name, given)))
    }

    /// Whether a policy stands here, for all or for one.
    pub(super) fn has_policy(&self) -> bool {
        self.values().any(|(name, _)| name == "policy")
    }
}

fn find(name: &str) -> Option<Spec> {
    let name = if name == "flavor" { "flavour" } else { name };
    specs().find(|spec| spec.name == name)
}

/// Whether the key is one of a later part.
pub(super) fn is_later(name: &str) -> bool {
    find(name).is_some_and(|spec| spec.later.is_some())
}

/// Whether a value parses, on its own.
fn check(spec: Spec, value: &str, named: &NamedPolicies) -> Result<(), (Code, String)> {
    let invalid = |why: String| (Code::AnnotationInvalid, why);
    if value.len() > MAX_VALUE {
        return Err(invalid(format!("more than {MAX_VALUE} bytes")));
    }
    if let Some(harmless) = spec.later {
        if harmless.contains(&value) {
            return Ok(());
        }
        return Err((Code::NotBuilt, format!("{} to go on without it", later::refusal(spec.name))));
    }
    let policy_error = |error: crate::domain::policy::PolicyError| (Code::PolicyInvalid, error.to_string());
    match spec.name {
        "policy" => Policy::parse(value, &Options::default(), named).map(drop).map_err(policy_error),
        "containers" => globs(value).map(drop).map_err(invalid),
        "init-containers" => InitContainers::from_str(value).map(drop).map_err(invalid),
        "prerelease" => PrereleaseOption::from_str(value).map(drop).map_err(policy_error),
        "flavour" => FlavourOption::from_str(value).map(drop).map_err(policy_error),
        "order" => Order::from_str(value).map(drop).map_err(policy_error),
        "allow" => check_regex(value).map_err(|error| invalid(error.to_string())),
        "ignore" => {
            globs::list(value).iter().try_for_each(|glob| check_glob(glob)).map_err(|error| invalid(error.to_string()))
        }
        "allow-downgrade" | "suspend" => boolean(value).map(drop).map_err(invalid),
        "poll" => value
            .parse::<crate::domain::poll::Schedule>()
            .map(drop)
            .map_err(|error| (Code::PollInvalid, format!("{error}; the default interval is used"))),
        "pin" => Pin::from_str(value).map(drop).map_err(invalid),
        "write" => Write::from_str(value).map(drop).map_err(invalid),
        "group" if !is_name(value) => Err(invalid("write a name of letters, digits, `-`, `_` and `.`".to_owned())),
        _ => Ok(()),
    }
}

/// What is wrong with a list of containers that names one which is not there, or none at all.
fn nobody(value: &str, workload: &Workload) -> Option<String> {
    let globs = globs(value).ok()?;
    let is_there = |glob: &NameGlob| workload.containers.iter().any(|container| glob.is_match(&container.name));
    let missing = globs.iter().find_map(|glob| match glob {
        NameGlob::Name(name) if !is_there(glob) => Some(no_container(name, workload)),
        _ => None,
    });
    missing.or_else(|| (!globs.iter().any(is_there)).then(|| "it fits no container".to_owned()))
}

fn no_container(name: &str, workload: &Workload) -> String {
    let hint = is_meant(name, workload.containers.iter().map(|container| &*container.name), "");
    format!("there is no container `{}`{hint}", excerpt(name))
}

/// `true` or `false`.
pub(super) fn boolean(value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(listed(value, &["true", "false"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_annotations_names_every_key_and_every_value_of_later_parts_that_is_taken() {
        let page = include_str!("../../../docs/annotations.md");
        for spec in specs() {
            assert!(page.contains(&format!("`{}`", spec.name)), "{}", spec.name);
            for value in spec.later.unwrap_or_default() {
                assert!(page.contains(&format!("| `{}` | `{value}` |", spec.name)), "{}: {value}", spec.name);
            }
            let row = page.lines().find(|line| line.starts_with(&format!("| `{}`", spec.name)));
            if let (Some(row), None) = (row, spec.later) {
                assert_eq!(row.ends_with("| yes |"), spec.per_container, "{row}");
            }
        }
    }
}
