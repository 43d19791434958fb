//! Keel's annotations and labels (`keel.sh/*`, `keel.observer/policy`) and what they are in ours.
//!
//! What Keel watches is kept: without `trigger: poll` webhooks only, init containers only if asked, `never` above a
//! Namespace's default. What is chosen follows docs/policy.md; where that differs, the item says so. A key that this
//! version cannot honour blocks.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    image::excerpt,
    later,
    reason::{Code, Reason},
    workload::Workload,
};

mod approvals;
mod containers;
mod mention;
mod policy;
mod schedule;

pub use mention::mentions;

/// The prefix of Keel's keys.
pub const PREFIX: &str = "keel.sh/";

/// The prefix of Keel's first keys; only `policy` is still read.
pub const OLD_PREFIX: &str = "keel.observer/";

/// What is done with Keel's keys (`--keel`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeelMode {
    /// Says what `apply` would do.
    #[default]
    Report,
    /// Reads them where no `supercargo.dev/policy` is on the workload.
    Apply,
    /// Does not look at them.
    Ignore,
}

/// One of Keel's keys on a workload and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Whether it is a label, else an annotation.
    pub label: bool,
    /// As written.
    pub key: String,
    /// As written.
    pub value: String,
    /// Our keys, without their prefix, and values.
    pub becomes: Vec<(&'static str, String)>,
    /// Where supercargo will do something else than Keel, or what is good to know.
    pub differs: Vec<String>,
    /// Something wrong that blocks nothing.
    pub note: Option<Reason>,
    /// Why the workload is left alone.
    pub blocks: Option<Reason>,
}

/// All of Keel's keys on a workload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Translation {
    /// Whether Keel looks at the workload: it has a policy.
    pub watched: bool,
    /// One for each key: annotations first, then labels, by name.
    pub items: Vec<Item>,
}

impl Translation {
    /// Our keys and values, in the order of the items.
    pub fn becomes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.items.iter().flat_map(|item| item.becomes.iter().map(|(key, value)| (*key, value.as_str())))
    }

    /// In one line: `policy: minor, poll: never`.
    pub fn summary(&self) -> String {
        let parts: Vec<String> = self.becomes().map(|(key, value)| format!("{key}: {}", excerpt(value))).collect();
        parts.join(", ")
    }
}

/// What to write in place of each item, in the same order: annotations with their whole keys. What is there already stays
/// and is not written again.
pub fn replacements(workload: &Workload, translation: &Translation) -> Vec<Vec<(String, String)>> {
    let prefix = super::workload::PREFIX;
    let mut there: std::collections::BTreeSet<String> = workload.annotations.keys().cloned().collect();
    let mut puts = |item: &Item| -> Vec<(String, String)> {
        let whole = item.becomes.iter().map(|(key, value)| (format!("{prefix}{key}"), value.clone()));
        whole.filter(|(key, _)| there.insert(key.clone())).collect()
    };
    translation.items.iter().map(&mut puts).collect()
}

/// From which of the two maps Keel takes a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    AnnotationThenLabel,
    LabelThenAnnotation,
    Annotation,
    /// The map that the policy was taken from.
    AsPolicy,
}

/// Keel's keys; for the last four it does not mind letter case.
const KEYS: &[(&str, From)] = &[
    ("keel.sh/policy", From::AnnotationThenLabel),
    ("keel.observer/policy", From::AnnotationThenLabel),
    ("keel.sh/trigger", From::AnnotationThenLabel),
    ("keel.sh/matchTag", From::AsPolicy),
    ("keel.sh/match-tag", From::AsPolicy),
    ("keel.sh/matchPreRelease", From::AsPolicy),
    ("keel.sh/pollSchedule", From::Annotation),
    ("keel.sh/digest", From::Annotation),
    ("keel.sh/update-time", From::Annotation),
    ("keel.sh/notify", From::Annotation),
    ("keel.sh/releaseNotes", From::Annotation),
    ("keel.sh/approvals", From::LabelThenAnnotation),
    ("keel.sh/approvalDeadline", From::LabelThenAnnotation),
    ("keel.sh/monitorContainers", From::AnnotationThenLabel),
    ("keel.sh/initContainers", From::Annotation),
    ("keel.sh/imagePullSecret", From::LabelThenAnnotation),
    ("keel.sh/imageVolumes", From::LabelThenAnnotation),
];

const ANY_CASE: usize = 4;

/// Whether a key of an annotation or a label is Keel's.
pub fn is_keels(key: &str) -> bool {
    key.starts_with(PREFIX) || key.starts_with(OLD_PREFIX)
}

/// Reads all of Keel's keys on a workload.
pub fn translate(workload: &Workload) -> Translation {
    let given = Given::new(workload);
    let watched = given.policy.is_some();
    let items = given.all.iter().enumerate().map(|(index, each)| item(&given, index, each, workload)).collect();
    Translation { watched, items }
}

/// A key as found.
struct Key<'a> {
    label: bool,
    key: &'a str,
    value: &'a str,
    /// Its name in [`KEYS`].
    known: Option<&'static str>,
}

/// All keys, and which of them count.
struct Given<'a> {
    all: Vec<Key<'a>>,
    /// Index of the policy.
    policy: Option<usize>,
    /// Whether a policy of ours is on the workload, which is read instead.
    ours: bool,
}

impl<'a> Given<'a> {
    fn new(workload: &'a Workload) -> Self {
        let keys = |label: bool, map: &'a std::collections::BTreeMap<String, String>| {
            map.iter().filter(|(key, _)| is_keels(key)).map(move |(key, value)| Key {
                label,
                key,
                value: value.trim(),
                known: known(key),
            })
        };
        let all: Vec<Key> = keys(false, &workload.annotations).chain(keys(true, &workload.labels)).collect();
        let find = |label, name| all.iter().position(|k| k.label == label && k.known == Some(name));
        let policy = [(false, KEYS[0].0), (false, KEYS[1].0), (true, KEYS[0].0), (true, KEYS[1].0)]
            .into_iter()
            .find_map(|(label, name)| find(label, name));
        let own = format!("{}policy", super::workload::PREFIX);
        let is_own = |key: &String| key.strip_prefix(&own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        Self { all, policy, ours: workload.annotations.keys().any(is_own) }
    }

    /// The index of the key that counts, of one name.
    fn index(&self, name: &str) -> Option<usize> {
        if name.ends_with("/policy") {
            return self.policy;
        }
        let (name, from) = KEYS.iter().find(|(known, _)| *known == name)?;
        let find = |label| self.all.iter().position(|k| k.label == label && k.known == Some(*name));
        match from {
            From::AnnotationThenLabel => find(false).or_else(|| find(true)),
            From::LabelThenAnnotation => find(true).or_else(|| find(false)),
            From::Annotation => find(false),
            From::AsPolicy => find(self.all[self.policy?].label),
        }
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.index(name).map(|index| self.all[index].value)
    }

    fn is_true(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }
}

fn known(key: &str) -> Option<&'static str> {
    let loose = &KEYS[KEYS.len() - ANY_CASE..];
    KEYS.iter()
        .find(|(name, _)| *name == key)
        .or_else(|| loose.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)))
        .map(|(name, _)| *name)
}

fn item(given: &Given, index: usize, key: &Key, workload: &Workload) -> Item {
    let mut item = Item {
        label: key.label,
        key: key.key.to_owned(),
        value: key.value.to_owned(),
        becomes: Vec::new(),
        differs: Vec::new(),
        note: None,
        blocks: None,
    };
    if given.ours {
        item.differs.push("not read, as `supercargo.dev/policy` is here: take it out".into());
        return item;
    }
    let Some(name) = key.known else {
        let near = super::nearest::nearest(key.key, KEYS.iter().map(|(name, _)| *name));
        let hint = near.map_or_else(String::new, |near| format!(" (Keel knows `{near}`)"));
        item.blocks = Some(Reason::new(
            Code::KeelUnsupported,
            format!("`{}` is no key of Keel's{hint}: take it out", excerpt(key.key)),
        ));
        return item;
    };
    if given.policy.is_none() {
        item.differs.push("Keel does nothing here, as `keel.sh/policy` is missing: take it out".into());
        return item;
    }
    if given.index(name) != Some(index) {
        item.differs.push(if key.label {
            "Keel does not read this label here: take it out".into()
        } else {
            "Keel reads another of the keys that say this instead, as it looks for that first: take this out".into()
        });
        return item;
    }
    let unsupported = |text: String| Some(Reason::new(Code::KeelUnsupported, text));
    if let Some((_, what)) = later::KEEL.iter().find(|(later, _)| *later == name)
        && asks(given, name)
    {
        let shown = format!("`{}: {}`", key.key, excerpt(key.value));
        match name {
            "keel.sh/notify" => {
                let said = format!("supercargo sends no {what} yet; what it does is in Events, logs and metrics");
                item.note = Some(Reason::new(Code::NotBuilt, format!("{shown}: {said}")));
            }
            _ => item.blocks = Some(Reason::new(Code::NotBuilt, format!("{shown} {}", later::asked_for(what)))),
        }
        return item;
    }
    match name {
        "keel.sh/policy" | "keel.observer/policy" => {
            policy::read(given, workload, &mut item);
            let acts = item.blocks.is_none() && !matches!(key.value, "" | "never");
            if acts && given.value("keel.sh/trigger").is_none() {
                item.becomes.push(("poll", "never".into()));
                item.differs.push(
                    "without `keel.sh/trigger: poll` Keel waits for webhooks: leave `poll: never` out to look at the \
                     registry too"
                        .into(),
                );
            }
            let has_init = workload.containers.iter().any(|container| container.init);
            if acts && has_init && given.value("keel.sh/initContainers").is_none() {
                item.becomes.push(("init-containers", "none".into()));
                item.differs.push(
                    "Keel leaves init containers alone unless asked: leave `init-containers: none` out to move those \
                     that run the same image as a container"
                        .into(),
                );
            }
        }
        "keel.sh/trigger" if key.value == "poll" => {
            if given.value("keel.sh/pollSchedule").is_none() {
                item.differs.push(
                    "polling is the default; Keel looks every minute (or as its POLL_DEFAULTSCHEDULE says), supercargo \
                     at the operator's `--poll-interval`"
                        .into(),
                );
            } else {
                item.differs.push("polling is the default: take it out".into());
            }
        }
        "keel.sh/trigger" => item.becomes.push(("poll", "never".into())),
        "keel.sh/pollSchedule" if given.value("keel.sh/trigger") != Some("poll") => {
            item.differs.push("without `keel.sh/trigger: poll` Keel does not use it: take it out".into());
        }
        "keel.sh/pollSchedule" => match schedule::read(key.value) {
            Ok((poll, differs)) => {
                item.becomes.push(("poll", poll));
                item.differs.extend(differs);
            }
            Err(why) => {
                let text = format!("`{}: {}`: {why}; the default interval is used", key.key, excerpt(key.value));
                item.note = Some(Reason::new(Code::PollInvalid, text));
            }
        },
        "keel.sh/matchTag" | "keel.sh/match-tag" => {
            item.differs.push("read together with the policy: take it out".into());
        }
        "keel.sh/matchPreRelease" if key.value == "true" => {
            item.differs.push("this is the default: take it out".into());
        }
        "keel.sh/matchPreRelease" => match given.value("keel.sh/policy") {
            Some("major" | "minor" | "patch") => item.becomes.push(("prerelease", "allow".into())),
            _ => item.differs.push("Keel does not use it with this policy: take it out".into()),
        },
        "keel.sh/approvals" | "keel.sh/approvalDeadline" if asks(given, name) => approvals::read(name, &mut item),
        "keel.sh/initContainers" => {
            let asked = if key.value == "true" { "all" } else { "none" };
            item.becomes.push(("init-containers", asked.into()));
        }
        "keel.sh/monitorContainers" => match containers::monitored(key.value, workload) {
            Ok(Some(globs)) => item.becomes.push(("containers", globs)),
            Ok(None) => item.differs.push("all containers match, which is the default: take it out".into()),
            Err(why) => item.blocks = unsupported(format!("`{}: {}`: {why}", key.key, excerpt(key.value))),
        },
        "keel.sh/imagePullSecret" if workload.pull_secrets.iter().any(|name| **name == *key.value) => {
            item.differs.push("the pod template's `imagePullSecrets` has it already: take it out".into());
        }
        "keel.sh/imagePullSecret" => {
            item.blocks = unsupported(format!(
                "`{}: {}`: supercargo uses the pull secrets of the pod template only: put it under `imagePullSecrets` \
                 there and take this out",
                key.key,
                excerpt(key.value)
            ));
        }
        "keel.sh/releaseNotes" => {
            item.differs.push("supercargo sends no release notes along: take it out".into());
        }
        "keel.sh/digest" | "keel.sh/update-time" => {
            item.differs.push("Keel's own record, of no use to supercargo: take it out".into());
        }
        // `imageVolumes: false`, `approvals: 0`, `notify` of nothing: nothing is asked for.
        _ => item.differs.push("asks for nothing: take it out".into()),
    }
    item
}

/// Whether a key of a later part asks for anything.
fn asks(given: &Given, name: &str) -> bool {
    match name {
        "keel.sh/imageVolumes" => given.is_true(name),
        "keel.sh/approvals" | "keel.sh/approvalDeadline" => given.value("keel.sh/approvals").is_some_and(|n| n != "0"),
        _ => given.value(name).is_some_and(|value| !value.is_empty()),
    }
}

impl KeelMode {
    /// As written on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Apply => "apply",
            Self::Ignore => "ignore",
        }
    }
}

impl FromStr for KeelMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Report, Self::Apply, Self::Ignore]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| format!("`{}` is none of `report`, `apply`, `ignore`", excerpt(text)))
    }
}

impl fmt::Display for KeelMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
