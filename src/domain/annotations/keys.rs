//! The keys of `supercargo.dev/*`, and a raw map of them read into a [`Layer`] of typed values.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    InitContainers, Pin,
    globs::{self, NameGlob, globs},
};
use crate::domain::{
    hold::HoldRule,
    image::excerpt,
    later::{self, ANNOTATIONS},
    nearest::{is_meant, listed},
    policy::{
        FlavourOption, NamedPolicies, Options, Order, Policy, PolicyError, PrereleaseOption, check_glob, check_regex,
    },
    poll::{Schedule, parse_duration},
    reason::{Code, Reason},
    rollback::Rollback,
    target::{Write, is_name},
    update::{LAST_UPDATE, OnReapply},
    votes::Needed,
    window::Window,
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

/// What is wrong with a value.
type Wrong = (Code, String);

/// The keys that are built (docs/annotations.md): the field of a [`Layer`] and its type, the name, whether it is for the
/// whole workload only, and how a value is read.
macro_rules! keys {
    ($($field:ident: $type:ty = $name:literal, $per_container:ident, $read:expr;)*) => {
        const BUILT: &[Spec] = &[$(Spec { name: $name, per_container: $per_container, later: None }),*];

        /// A raw map, read.
        #[derive(Debug, Default)]
        pub(super) struct Layer {
            $(pub(super) $field: Said<$type>,)*
            /// What is wrong with keys of later parts: those for the whole workload, then those for containers.
            pub(super) later: [Vec<Reason>; 2],
            /// Mistakes that count whatever applies.
            pub(super) problems: Vec<Reason>,
            /// Whether there is any key but `last-update`.
            pub(super) any: bool,
        }

        impl Layer {
            /// Takes in a value; what is wrong with it, and whether there was one already.
            fn put(&mut self, spec: Spec, raw: Raw<'_>, named: &NamedPolicies) -> (Option<Reason>, bool) {
                let limited = limited(spec, raw.text);
                match spec.name {
                    $($name => {
                        let read: fn(&str, &NamedPolicies) -> Result<$type, Wrong> = $read;
                        let read = limited.and_then(|()| read(raw.text, named));
                        put(&mut self.$field, raw, read)
                    })*
                    _ => {
                        let wrong = limited.err().map(|wrong| raw.reason(wrong));
                        self.later[usize::from(raw.container.is_some())].extend(wrong.clone());
                        (wrong, false)
                    }
                }
            }

            /// How the value of a key is shown that counts here.
            pub(super) fn shown(&self, name: &str, container: Option<&Arc<str>>) -> Option<&str> {
                match name {
                    $($name => of(&self.$field, container).map(|given| &*given.shown),)*
                    _ => None,
                }
            }
        }
    };
}

const EACH: bool = true;
const WHOLE: bool = false;

keys! {
    policy: Policy = "policy", EACH, |text, named| {
        Policy::parse(text, &Options::default(), named).map_err(policy_invalid)
    };
    containers: Vec<NameGlob> = "containers", WHOLE, |text, _| globs(text).map_err(invalid);
    init_containers: InitContainers = "init-containers", WHOLE, |text, _| text.parse().map_err(invalid);
    prerelease: PrereleaseOption = "prerelease", EACH, |text, _| text.parse().map_err(policy_invalid);
    flavour: FlavourOption = "flavour", EACH, |text, _| text.parse().map_err(policy_invalid);
    order: Order = "order", EACH, |text, _| text.parse().map_err(policy_invalid);
    allow: Arc<str> = "allow", EACH, |text, _| check_regex(text).map(|()| text.into()).map_err(invalid);
    ignore: Vec<Arc<str>> = "ignore", EACH, |text, _| {
        let list = globs::list(text);
        list.iter().try_for_each(|glob| check_glob(glob)).map(|()| list).map_err(invalid)
    };
    allow_downgrade: bool = "allow-downgrade", EACH, |text, _| boolean(text);
    poll: Schedule = "poll", WHOLE, |text, _| {
        text.parse().map_err(|error| (Code::PollInvalid, format!("{error}; the default interval is used")))
    };
    min_age: Duration = "min-age", EACH, |text, _| match text {
        "0s" => Ok(Duration::ZERO),
        _ => parse_duration(text).map_err(invalid),
    };
    window: Window = "window", WHOLE, |text, _| text.parse().map_err(invalid);
    freeze: Window = "freeze", WHOLE, |text, _| text.parse().map_err(invalid);
    approvals: Needed = "approvals", WHOLE, |text, _| text.parse().map_err(invalid);
    approval_timeout: Duration = "approval-timeout", WHOLE, |text, _| parse_duration(text).map_err(invalid);
    rollback: Rollback = "rollback", WHOLE, |text, _| text.parse().map_err(invalid);
    hold: HoldRule = "hold", EACH, |text, _| text.parse().map_err(invalid);
    on_reapply: OnReapply = "on-reapply", WHOLE, |text, _| text.parse().map_err(invalid);
    pin: Pin = "pin", EACH, |text, _| text.parse().map_err(invalid);
    suspend: bool = "suspend", WHOLE, |text, _| boolean(text);
    write: Write = "write", WHOLE, |text, _| text.parse().map_err(invalid);
    group: Arc<str> = "group", WHOLE, |text, _| match is_name(text) {
        true => Ok(text.into()),
        false => Err(invalid("write a name of letters, digits, `-`, `_` and `.`")),
    };
}

/// All keys.
fn specs() -> impl Iterator<Item = Spec> {
    let ours = Spec { name: "last-update", per_container: WHOLE, later: None };
    let later = ANNOTATIONS.iter().map(|later| Spec {
        name: later.name,
        per_container: later.per_container,
        later: Some(later.harmless),
    });
    BUILT.iter().copied().chain([ours]).chain(later)
}

/// Where a map stands. The order is that of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnnotatedOn {
    Workload,
    Namespace,
}

/// One value as given.
#[derive(Debug)]
pub(super) struct Given<T> {
    /// The key and the value for messages: `` `supercargo.dev/pin: tag` on the Namespace ``.
    pub(super) shown: String,
    /// As written.
    pub(super) text: String,
    /// As read, or what is wrong with it, which on the Namespace counts only if it applies.
    pub(super) value: Result<T, Reason>,
}

/// What one key says, by the container of `<key>.<container>`; none for the whole workload.
pub(super) type Said<T> = BTreeMap<Option<Arc<str>>, Given<T>>;

/// The value that counts for a container, or for the whole workload.
pub(super) fn of<'a, T>(said: &'a Said<T>, container: Option<&Arc<str>>) -> Option<&'a Given<T>> {
    said.get(&container.cloned()).or_else(|| said.get(&None))
}

/// A value before it is read.
struct Raw<'a> {
    container: Option<Arc<str>>,
    shown: String,
    text: &'a str,
}

impl Raw<'_> {
    fn reason(&self, (code, why): Wrong) -> Reason {
        Reason::new(code, format!("{}: {why}", self.shown))
    }
}

fn put<T>(said: &mut Said<T>, raw: Raw<'_>, read: Result<T, Wrong>) -> (Option<Reason>, bool) {
    let value = read.map_err(|wrong| raw.reason(wrong));
    let wrong = value.as_ref().err().cloned();
    let given = Given { shown: raw.shown, text: raw.text.to_owned(), value };
    (wrong, said.insert(raw.container, given).is_some())
}

impl Layer {
    /// Reads what of a map is ours. On the workload every mistake counts; on the Namespace a wrong value counts only for
    /// the workloads it applies to.
    pub(super) fn read(
        map: &BTreeMap<String, String>,
        place: AnnotatedOn,
        workload: &Workload,
        named: &NamedPolicies,
    ) -> Self {
        let mut layer = Self::default();
        for (key, value) in map.iter().filter(|(key, _)| key.starts_with(PREFIX) && *key != LAST_UPDATE) {
            layer.any = true;
            let added = layer.add(key, value, place, workload, named);
            layer.problems.extend(added.err());
        }
        layer
    }

    fn add(
        &mut self,
        key: &str,
        value: &str,
        place: AnnotatedOn,
        workload: &Workload,
        named: &NamedPolicies,
    ) -> Result<(), Reason> {
        // What nobody wrote as an annotation is named by what was written.
        let written = workload.written.as_ref().filter(|_| place == AnnotatedOn::Workload).and_then(|all| all.get(key));
        let (named_as, there) = match (written, place) {
            (Some(Written { key, at }), _) => (key.as_str(), format!(" ({})", excerpt(at))),
            (None, AnnotatedOn::Workload) => (key, String::new()),
            (None, AnnotatedOn::Namespace) => (key, " on the Namespace".to_owned()),
        };
        let unknown =
            |why: String| Reason::new(Code::AnnotationUnknown, format!("`{}`{there}{why}", excerpt(named_as)));
        let rest = &key[PREFIX.len()..];
        let (name, container) = rest.split_once('.').map_or((rest, None), |(name, container)| (name, Some(container)));
        let Some(spec) = find(name) else {
            let prefix = if written.is_some() { "" } else { PREFIX };
            let hint = is_meant(name, specs().map(|spec| spec.name).chain(["flavor"]), prefix);
            return Err(unknown(format!(" is no key of supercargo's{hint}")));
        };
        if container.is_some() && !spec.per_container {
            let message = format!(": `{}` is for the whole workload: write `{PREFIX}{}`", spec.name, spec.name);
            return Err(unknown(message));
        }
        let container = match container.map(|name| (name, workload.container(name))) {
            None => None,
            Some((_, Some(container))) => Some(container.name.clone()),
            Some(_) if place == AnnotatedOn::Namespace => return Ok(()),
            Some((name, None)) => return Err(unknown(format!(": {}", no_container(name, workload)))),
        };
        let value = value.trim();
        let shown = format!("`{}: {}`{there}", excerpt(named_as), excerpt(value));
        let (wrong, twice) = self.put(spec, Raw { container, shown, text: value }, named);
        if twice {
            return Err(unknown(": both `flavour` and `flavor` are given: write one of them".to_owned()));
        }
        if place == AnnotatedOn::Namespace {
            return Ok(());
        }
        let wrong = wrong.or_else(|| self.names_nobody(workload).filter(|_| spec.name == "containers"));
        // The default interval stands in for a bad `poll`; the caller says so.
        wrong.filter(|_| spec.name != "poll").map_or(Ok(()), Err)
    }

    /// What is wrong with `containers` that names one which is not there, or none at all.
    fn names_nobody(&self, workload: &Workload) -> Option<Reason> {
        let Given { shown, value: Ok(globs), .. } = of(&self.containers, None)? else { return None };
        let is_there = |glob: &NameGlob| workload.containers.iter().any(|container| glob.is_match(&container.name));
        let missing = globs.iter().find_map(|glob| match glob {
            NameGlob::Name(name) if !is_there(glob) => Some(no_container(name, workload)),
            _ => None,
        });
        let why = missing.or_else(|| (!globs.iter().any(is_there)).then(|| "it fits no container".to_owned()))?;
        Some(Reason::new(Code::AnnotationInvalid, format!("{shown}: {why}")))
    }

    /// Adds a value read from another tool's key, below what is there.
    pub(super) fn add_below(&mut self, name: &str, value: &str, shown: String, named: &NamedPolicies) {
        let Some(spec) = find(name) else { return };
        if self.shown(spec.name, None).is_some() {
            return;
        }
        let (wrong, _) = self.put(spec, Raw { container: None, shown, text: value }, named);
        self.problems.extend(wrong.filter(|_| spec.name != "poll"));
    }
}

fn find(name: &str) -> Option<Spec> {
    let name = if name == "flavor" { "flavour" } else { name };
    specs().find(|spec| spec.name == name)
}

/// Whether a value may be read at all.
fn limited(spec: Spec, value: &str) -> Result<(), Wrong> {
    if value.len() > MAX_VALUE {
        return Err(invalid(format!("more than {MAX_VALUE} bytes")));
    }
    match spec.later {
        Some(harmless) if !harmless.contains(&value) => {
            Err((Code::NotBuilt, format!("{} to go on without it", later::refusal(spec.name))))
        }
        _ => Ok(()),
    }
}

fn invalid(why: impl ToString) -> Wrong {
    (Code::AnnotationInvalid, why.to_string())
}

fn policy_invalid(why: PolicyError) -> Wrong {
    (Code::PolicyInvalid, why.0)
}

fn no_container(name: &str, workload: &Workload) -> String {
    let hint = is_meant(name, workload.containers.iter().map(|container| &*container.name), "");
    format!("there is no container `{}`{hint}", excerpt(name))
}

fn boolean(value: &str) -> Result<bool, Wrong> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(listed(value, &["true", "false"]))),
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
