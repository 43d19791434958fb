//! Policies (docs/policy.md §2): one file a kind.
//!
//! A policy is parsed here; what it chooses, and why not, is asked of its kind through [`Judge`] by
//! [`crate::domain::decide`].

mod asked;
mod cases;
mod compiled;
mod digest;
mod file;
mod filters;
mod level;
mod named;
mod newest;
mod options;
mod pattern;
mod semver;
mod versions;

pub(in crate::domain) use asked::{Asked, Limit};
pub use asked::{Candidate, Current, Decision, TagFacts, Young};
pub use cases::{Example, ExampleTag, Failure, Vector};
pub(crate) use compiled::Matcher;
pub use file::{PolicyFile, PolicyGates, RawOptions};
pub use named::NamedPolicies;
pub use options::{FlavourOption, Options, Order, PrereleaseOption};
pub(crate) use pattern::{check_glob, check_regex};

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use super::{
    image::excerpt,
    listing::{ListedVersion, TagId},
    nearest::is_meant,
    reason::{Code, Reason},
};
use filters::Filters;
pub(super) use filters::Ready;
use level::Level;
use pattern::Ordered;
pub(super) use pattern::Pattern;
use semver::Range;
use versions::{Rules, Test};

pub(super) use digest::decide as decide_digest;
pub(super) use newest::candidates as newest_candidates;

/// One kind as people write it.
struct KindSpec {
    name: &'static str,
    /// With its argument, for messages: `newest[:<glob>]`.
    shown: &'static str,
    /// Whether an argument follows `<name>:`.
    argument: Argument,
    /// Reads the argument, which is empty where there is none.
    parse: fn(&str, Order) -> Result<PolicyKind, PolicyError>,
}

/// Whether something follows a kind's name, and if so an example of the whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Argument {
    None,
    May(&'static str),
    Must(&'static str),
}

impl KindSpec {
    const fn alone(name: &'static str, parse: fn(&str, Order) -> Result<PolicyKind, PolicyError>) -> Self {
        Self { name, shown: name, argument: Argument::None, parse }
    }
}

/// The kinds there are.
const KINDS: &[KindSpec] = &[
    KindSpec::alone("patch", |_, _| Ok(PolicyKind::Level(Level::Patch))),
    KindSpec::alone("minor", |_, _| Ok(PolicyKind::Level(Level::Minor))),
    KindSpec::alone("major", |_, _| Ok(PolicyKind::Level(Level::Major))),
    KindSpec::alone("all", |_, _| Ok(PolicyKind::Level(Level::All))),
    KindSpec {
        name: "semver",
        shown: "semver:<range>",
        argument: Argument::Must("for example semver:>=1.2 <2"),
        parse: |range, _| Range::parse(range).map(PolicyKind::Semver),
    },
    KindSpec {
        name: "glob",
        shown: "glob:<pattern>",
        argument: Argument::Must("for example glob:main-*"),
        parse: |glob, order| Ok(PolicyKind::Ordered(Ordered { pattern: Pattern::glob(glob)?, order })),
    },
    KindSpec {
        name: "regex",
        shown: "regex:<pattern>",
        argument: Argument::Must(r"for example regex:main-(?P<order>\d+)"),
        parse: |regex, order| Ok(PolicyKind::Ordered(Ordered { pattern: Pattern::regex(regex)?, order })),
    },
    KindSpec {
        name: "newest",
        shown: "newest[:<glob>]",
        argument: Argument::May("newest, or for example newest:main-*"),
        parse: |glob, _| Ok(PolicyKind::Newest((!glob.is_empty()).then(|| Pattern::glob(glob)).transpose()?)),
    },
    KindSpec::alone("digest", |_, _| Ok(PolicyKind::Digest)),
    KindSpec::alone("never", |_, _| Ok(PolicyKind::Never)),
    KindSpec {
        name: "named",
        shown: "named:<name>",
        argument: Argument::Must("named: and the name of a policy file"),
        // Whoever asks for a policy has put that of the file in its place.
        parse: |name, _| {
            let name = excerpt(name);
            Err(PolicyError(format!("a policy file cannot stand for another one: write the policy of `{name}` itself")))
        },
    },
];

/// The kinds that are whole by themselves.
fn alone() -> impl Iterator<Item = &'static str> {
    KINDS.iter().filter(|kind| !matches!(kind.argument, Argument::Must(_))).map(|kind| kind.name)
}

/// The kinds that an argument may follow.
fn with_argument() -> impl Iterator<Item = &'static str> {
    KINDS.iter().filter(|kind| kind.argument != Argument::None).map(|kind| kind.name)
}

/// What every policy begins with.
pub(super) fn beginnings() -> impl Iterator<Item = String> {
    alone().map(str::to_owned).chain(with_argument().map(|name| format!("{name}:")))
}

/// What an argument, a filter or a name may be long, in bytes.
const MAX_TEXT: usize = 512;

/// A policy and its options, parsed and compiled. Equal texts make equal policies, so that a decision can be shared
/// by all workloads that ask the same. Cloning is cheap.
#[derive(Clone)]
pub struct Policy(Arc<Inner>);

pub(super) struct Inner {
    /// As written: `minor`, `semver:>=1.2`, `named:production`.
    text: Arc<str>,
    /// What the text stands for: the policy of the file for `named:`, else the text itself.
    resolved: Arc<str>,
    /// In force, those of the file included.
    options: Options,
    kind: PolicyKind,
    filters: Filters,
}

/// The kinds of policy with their arguments.
#[derive(Debug)]
pub(super) enum PolicyKind {
    /// `major`, `minor`, `patch`, `all`
    Level(Level),
    /// `semver:<range>`
    Semver(Range),
    /// `glob:<pattern>` and `regex:<pattern>`
    Ordered(Ordered),
    /// `newest[:<glob>]`
    Newest(Option<Pattern>),
    /// `digest`
    Digest,
    /// `never`
    Never,
}

/// What a kind that chooses among tags answers about one question.
pub(super) trait Judge {
    /// The best tags, best first: at most 20, none that is no update.
    fn best(&self) -> Vec<TagId>;

    /// Why a tag is not eligible, if it is not, filters aside. The entry is there if the tag is a version.
    fn refusal(&self, tag: TagId, entry: Option<&ListedVersion>) -> Option<(Code, String)>;
}

/// What must be known before a policy can decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// The tags of the repository.
    pub listing: bool,
    /// What the current tag points to now.
    pub digest_of_current: bool,
    /// When the candidates were pushed or built (see [`crate::domain::policy::timed_candidates`]).
    pub times: bool,
}

/// Why a policy does not parse. The text names the value and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(pub String);

impl Policy {
    /// Reads `<kind>[:<argument>]`. Options given here come before those of the file that `named:` means.
    pub fn parse(text: &str, options: &Options, named: &NamedPolicies) -> Result<Self, PolicyError> {
        named.parsed(text, options, || Self::compile(text, options, named)).map(Self)
    }

    fn compile(text: &str, options: &Options, named: &NamedPolicies) -> Result<Inner, PolicyError> {
        if let Some(("named", name)) = text.split_once(':') {
            let file = named.get(name)?;
            let merged = options.over(&file.options);
            return Ok(Inner {
                text: text.into(),
                resolved: file.policy.clone(),
                kind: PolicyKind::parse(&file.policy, &merged)?,
                filters: Filters::new(&merged)?,
                options: merged,
            });
        }
        Ok(Inner {
            text: text.into(),
            resolved: text.into(),
            kind: PolicyKind::parse(text, options)?,
            filters: Filters::new(options)?,
            options: options.clone(),
        })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// What the text stands for: the policy of the file for `named:`, else the text itself.
    pub fn resolved(&self) -> &str {
        &self.0.resolved
    }

    /// The options in force, those of a policy file included.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// What must be known before it can decide.
    pub fn needs(&self) -> Needs {
        match self.0.kind {
            PolicyKind::Never => Needs::default(),
            PolicyKind::Digest => Needs { digest_of_current: true, ..Needs::default() },
            PolicyKind::Newest(_) => Needs { listing: true, times: true, ..Needs::default() },
            PolicyKind::Level(_) | PolicyKind::Semver(_) | PolicyKind::Ordered(_) => {
                Needs { listing: true, ..Needs::default() }
            }
        }
    }

    /// Whether it compares nothing but versions.
    pub(super) fn compares_versions(&self) -> bool {
        match self.kind() {
            PolicyKind::Level(_) | PolicyKind::Semver(_) => true,
            PolicyKind::Ordered(_) | PolicyKind::Newest(_) | PolicyKind::Digest | PolicyKind::Never => false,
        }
    }

    /// Whether its patterns can be compiled, where that is asked before a decision does it.
    pub(super) fn compiles(&self) -> Result<(), PolicyError> {
        if let Some(pattern) = self.pattern() {
            pattern.matcher()?;
        }
        self.filters().ready().map(|_| ())
    }

    /// How many patterns are tried on each tag.
    pub fn patterns_tried(&self) -> usize {
        self.patterns().count()
    }

    /// The patterns that it holds, its filters' included.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &str> {
        self.pattern().map(Pattern::as_str).into_iter().chain(self.filters().patterns())
    }

    /// The pattern that is its own.
    fn pattern(&self) -> Option<&Pattern> {
        match self.kind() {
            PolicyKind::Ordered(Ordered { pattern, .. }) => Some(pattern),
            PolicyKind::Newest(pattern) => pattern.as_ref(),
            PolicyKind::Level(_) | PolicyKind::Semver(_) | PolicyKind::Digest | PolicyKind::Never => None,
        }
    }

    pub(super) fn kind(&self) -> &PolicyKind {
        &self.0.kind
    }

    pub(super) fn filters(&self) -> &Filters {
        &self.0.filters
    }

    /// Prepares the answers to one question; `None` for the kinds that choose among no tags.
    pub(super) fn judge<'a>(&'a self, asked: &Asked<'a>) -> Option<Result<Box<dyn Judge + 'a>, Reason>> {
        match self.kind() {
            PolicyKind::Level(level) => {
                let rules = |(current, above)| Rules::new(asked, Some(current), Test::Level(above));
                Some(level.above(asked).map(|above| Box::new(rules(above)) as Box<dyn Judge + 'a>))
            }
            PolicyKind::Semver(range) => Some(Ok(range.judge(asked))),
            PolicyKind::Ordered(ordered) => Some(ordered.judge(asked)),
            PolicyKind::Newest(glob) => Some(newest::judge(glob.as_ref(), asked)),
            PolicyKind::Digest | PolicyKind::Never => None,
        }
    }
}

impl From<PolicyError> for Reason {
    fn from(error: PolicyError) -> Self {
        Self::new(Code::PolicyInvalid, error.0)
    }
}

impl PolicyKind {
    fn parse(text: &str, options: &Options) -> Result<Self, PolicyError> {
        let (kind, argument) = match text.split_once(':') {
            Some((kind, argument)) => (kind, Some(argument)),
            None => (text, None),
        };
        let bad = |what: String| Err(PolicyError(what));
        if argument.is_some_and(|argument| argument.len() > MAX_TEXT) {
            return bad(format!("the argument of `{}` is longer than {MAX_TEXT} bytes: shorten it", excerpt(kind)));
        }
        let found = KINDS.iter().find(|known| known.name == kind);
        match (found.map(|found| (found, found.argument)), argument) {
            (Some((_, Argument::Must(example) | Argument::May(example))), Some("")) => {
                bad(format!("nothing follows `{kind}:`: write {example}"))
            }
            (Some((_, Argument::Must(example))), None) => bad(format!("`{kind}` needs an argument: write {example}")),
            (Some((_, Argument::None)), Some(_)) => bad(format!("`{kind}` takes no argument: write {kind} alone")),
            (Some((found, _)), _) => (found.parse)(argument.unwrap_or_default(), options.order.unwrap_or_default()),
            (None, _) => {
                let meant = match argument {
                    None => is_meant(kind, alone(), ""),
                    Some(_) => is_meant(kind, with_argument(), ""),
                };
                let [all @ .., last] = &KINDS.iter().map(|kind| kind.shown).collect::<Vec<_>>()[..] else {
                    return bad(format!("`{}` is no policy", excerpt(text)));
                };
                bad(format!("`{}` is no policy: write {} or {last}{meant}", excerpt(text), all.join(", ")))
            }
        }
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Inner, b: &Inner| a.text == b.text && a.resolved == b.resolved && a.options == b.options;
        Arc::ptr_eq(&self.0, &other.0) || same(&self.0, &other.0)
    }
}

impl Eq for Policy {}

impl Hash for Policy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
        self.0.resolved.hash(state);
        self.0.options.hash(state);
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Policy").field(&self.0.text).field(&self.0.options).finish()
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}
