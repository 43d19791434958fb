//! Where an update is written: the cluster, or a Git target of the configuration.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::Duration};

use globset::GlobSet;
use serde::{Deserialize, Serialize};

use super::{
    image::excerpt,
    reason::{Code, Reason},
};

/// What `write` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Write {
    /// `cluster`: the workload is patched.
    #[default]
    Cluster,
    /// `git:<target>`: a commit to the target's branch.
    Commit(Arc<str>),
    /// `pr:<target>`: a pull request to it.
    Request(Arc<str>),
}

/// Where an update goes. What goes the same way may share a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "RawRoute", into = "RawRoute")]
pub enum Route {
    /// The workload is patched.
    #[default]
    Cluster,
    /// To the branch of this target.
    Commit(Arc<str>),
    /// Into a pull request to this target, which those of a group share.
    Request(Arc<str>, Option<Arc<str>>),
}

/// A [`Route`] as it is recorded.
#[derive(Serialize, Deserialize)]
struct RawRoute {
    #[serde(default)]
    write: Write,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<Arc<str>>,
}

impl Route {
    /// Where `write` leads. A group is of meaning for requests only.
    pub fn new(write: &Write, group: Option<Arc<str>>) -> Self {
        match write {
            Write::Cluster => Self::Cluster,
            Write::Commit(target) => Self::Commit(target.clone()),
            Write::Request(target) => Self::Request(target.clone(), group),
        }
    }

    /// The Git target's name.
    pub fn target(&self) -> Option<&Arc<str>> {
        match self {
            Self::Cluster => None,
            Self::Commit(target) | Self::Request(target, _) => Some(target),
        }
    }

    /// The group whose request it goes into, if it is of one.
    pub fn group(&self) -> Option<&Arc<str>> {
        if let Self::Request(_, group) = self { group.as_ref() } else { None }
    }

    /// What `write` says to get here.
    pub fn write(&self) -> Write {
        match self {
            Self::Cluster => Write::Cluster,
            Self::Commit(target) => Write::Commit(target.clone()),
            Self::Request(target, _) => Write::Request(target.clone()),
        }
    }
}

impl From<RawRoute> for Route {
    fn from(RawRoute { write, group }: RawRoute) -> Self {
        Self::new(&write, group)
    }
}

impl From<Route> for RawRoute {
    fn from(route: Route) -> Self {
        Self { write: route.write(), group: route.group().cloned() }
    }
}

/// One entry of `git` in the configuration, as far as decisions need it.
#[derive(Debug, Clone)]
pub struct TargetScope {
    /// The namespaces that it serves.
    pub namespaces: GlobSet,
    /// Whether pull requests can be made: its forge is known.
    pub requests: bool,
    /// How long updates are gathered for one commit.
    pub batch_window: Duration,
}

/// The Git targets by name.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    known: BTreeMap<Arc<str>, TargetScope>,
    /// Whether any name will do: a folder is edited wherever `write` leads.
    any: bool,
    /// Where everything goes, whatever `write` says: there is no cluster.
    only: Option<Arc<str>>,
}

impl Write {
    /// The Git target's name.
    pub fn target(&self) -> Option<&Arc<str>> {
        match self {
            Self::Cluster => None,
            Self::Commit(name) | Self::Request(name) => Some(name),
        }
    }
}

impl FromIterator<(Arc<str>, TargetScope)> for Targets {
    fn from_iter<T: IntoIterator<Item = (Arc<str>, TargetScope)>>(targets: T) -> Self {
        Self { known: targets.into_iter().collect(), ..Self::default() }
    }
}

impl Targets {
    /// For who writes nowhere but into the files at hand, whatever `write` says.
    pub fn files(name: Arc<str>) -> Self {
        Self { any: true, only: Some(name), ..Self::default() }
    }

    /// For who knows no cluster and no other repository than this.
    pub fn only(name: Arc<str>, target: TargetScope) -> Self {
        Self { known: BTreeMap::from([(name.clone(), target)]), any: false, only: Some(name) }
    }

    /// Where what `write` says leads to here.
    pub fn route(&self, write: Write) -> Write {
        match (&self.only, write) {
            (None, write) => write,
            (Some(only), Write::Cluster | Write::Commit(_)) => Write::Commit(only.clone()),
            (Some(only), Write::Request(_)) => Write::Request(only.clone()),
        }
    }

    /// What forbids a workload of that namespace to be written there.
    pub fn refuse(&self, write: &Write, namespace: &str) -> Option<Reason> {
        let name = write.target().filter(|_| !self.any)?;
        let Some(target) = self.known.get(name) else {
            let message = format!("the configuration has no Git target `{}`: add it to `git`", excerpt(name));
            return Some(Reason::new(Code::TargetUnknown, message));
        };
        if !target.namespaces.is_match(namespace) {
            let message = format!(
                "the Git target `{name}` does not serve the namespace {namespace}: whoever runs supercargo adds it to \
                 the target's `namespaces`"
            );
            return Some(Reason::new(Code::TargetRefused, message));
        }
        if matches!(write, Write::Request(_)) && !target.requests {
            let message = format!(
                "the Git target `{name}` makes no pull requests: whoever runs supercargo gives it a `forge`, or write \
                 `git:{name}`, which commits to its branch"
            );
            return Some(Reason::new(Code::TargetRefused, message));
        }
        None
    }

    /// The names of those that serve a namespace.
    pub fn serving(&self, namespace: &str) -> impl Iterator<Item = &Arc<str>> {
        self.known.iter().filter(move |(_, target)| target.namespaces.is_match(namespace)).map(|(name, _)| name)
    }

    /// How long updates for it are gathered.
    pub fn batch_window(&self, name: &str) -> Duration {
        self.known.get(name).map_or(Duration::ZERO, |target| target.batch_window)
    }
}

/// Whether a text is the name of a target or a group: at most 63 letters, digits, `-`, `_` and `.`.
pub fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(allowed)
        && ends(text.chars().next())
        && ends(text.chars().last())
        && !text.contains("..")
        // Git takes no part of a branch's name that ends so.
        && !text.ends_with(".lock")
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Commit(name) => write!(f, "git:{name}"),
            Self::Request(name) => write!(f, "pr:{name}"),
        }
    }
}

impl FromStr for Write {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = |name: &str| is_name(name).then(|| name.into());
        let parsed = match text.split_once(':') {
            None if text == "cluster" => Some(Self::Cluster),
            Some(("git", name)) => named(name).map(Self::Commit),
            Some(("pr", name)) => named(name).map(Self::Request),
            _ => None,
        };
        parsed.ok_or_else(|| "write `cluster`, `git:<target>` or `pr:<target>`".to_owned())
    }
}

impl TryFrom<String> for Write {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Write> for String {
    fn from(write: Write) -> Self {
        write.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("cluster", "git:here")]
    #[case("git:prod", "git:here")]
    #[case("pr:prod", "pr:here")]
    fn without_a_cluster_all_ways_lead_to_the_one_repository(#[case] write: Write, #[case] expected: &str) {
        let target = TargetScope { namespaces: GlobSet::empty(), requests: true, batch_window: Duration::ZERO };
        assert_eq!(Targets::only("here".into(), target).route(write.clone()).to_string(), expected);
        assert_eq!(Targets::default().route(write.clone()), write);
    }

    #[rstest::rstest]
    #[case("cluster", Some(Write::Cluster))]
    #[case("git:prod", Some(Write::Commit("prod".into())))]
    #[case("pr:team.a-1", Some(Write::Request("team.a-1".into())))]
    #[case("git:", None)]
    #[case("git:../x", None)]
    #[case("git:a..b", None)]
    #[case("git:a/b", None)]
    #[case("git:a.lock", None)]
    #[case("pr:-x", None)]
    #[case("Cluster", None)]
    #[case("", None)]
    fn write_is_read_and_shown(#[case] text: &str, #[case] expected: Option<Write>) {
        let read = text.parse::<Write>().ok();
        assert_eq!(read, expected);
        assert!(read.is_none_or(|write| write.to_string() == text));
    }
}
