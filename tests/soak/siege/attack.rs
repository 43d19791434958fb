//! The attacks by name.

/// What a tenant, who may edit Deployments in one namespace, or a stranger does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    SlowHosts,
    RefusingHosts,
    SlowNames,
    LongTokens,
    Patterns,
    Schedules,
    MillionsOfTags,
    PullSecrets,
    LongAnnotations,
    Edits,
    DueAtOnce,
    YearOfRest,
    IdleConnections,
    Hooks,
    SilentGit,
    LargeGit,
    Groups,
    FewFiles,
}

pub(crate) const ATTACKS: [Attack; 18] = [
    Attack::SlowHosts,
    Attack::RefusingHosts,
    Attack::SlowNames,
    Attack::LongTokens,
    Attack::Patterns,
    Attack::Schedules,
    Attack::MillionsOfTags,
    Attack::PullSecrets,
    Attack::LongAnnotations,
    Attack::Edits,
    Attack::DueAtOnce,
    Attack::YearOfRest,
    Attack::IdleConnections,
    Attack::Hooks,
    Attack::SilentGit,
    Attack::LargeGit,
    Attack::Groups,
    Attack::FewFiles,
];

impl Attack {
    /// In words, with what is used of it.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::SlowHosts => "1,000 containers at hosts that never answer",
            Self::RefusingHosts => "5,000 containers at hosts that refuse, polled every 5 s",
            Self::SlowNames => "1,500 names that are looked up for 30 s",
            Self::LongTokens => "500 registries with tokens of 16 KiB, 500 with tokens of 1 MiB",
            Self::Patterns => "4,000 patterns over 200,000 tags",
            Self::Schedules => "2,800 cron lines at one repository",
            Self::MillionsOfTags => "eight repositories of 1,000,000 tags",
            Self::PullSecrets => "15,000 `imagePullSecrets`",
            Self::LongAnnotations => "6 MB of annotations",
            Self::Edits => "an annotation that changes 100 times a second",
            Self::DueAtOnce => "300 workloads that run what the neighbour runs, and are due with it",
            Self::YearOfRest => "a repository of the neighbour's host that asks for a year's rest",
            Self::IdleConnections => "300 idle connections at each port",
            Self::Hooks => "50 webhooks a second for tags that are not there",
            Self::SilentGit => "20 workloads written to a Git server that never answers",
            Self::LargeGit => "a repository of 15.6 million scalars and 3,000 markers, with a commit every 5 s",
            Self::Groups => "60 groups at Gitea, with a new image every 5 s",
            Self::FewFiles => "300 hosts that keep connections, where 256 files may be open",
        }
    }

    /// Which of the two tenants lays it: what all of them ask for is more than one namespace may.
    pub(super) fn tenant(self) -> usize {
        let is_first = matches!(self, Self::SlowHosts | Self::RefusingHosts | Self::SlowNames | Self::LongTokens);
        usize::from(!is_first)
    }
}

/// What is bounded at once: all that is asked of registries, the engine and the ports, without Git.
pub(crate) const AT_ONCE: [Attack; 9] = [
    Attack::SlowHosts,
    Attack::RefusingHosts,
    Attack::Patterns,
    Attack::Schedules,
    Attack::MillionsOfTags,
    Attack::PullSecrets,
    Attack::Edits,
    Attack::IdleConnections,
    Attack::Hooks,
];

/// Those that `$SUPERCARGO_ATTACK` names, separated by commas, or `all` ([`AT_ONCE`]), if it is set.
#[expect(clippy::disallowed_methods, reason = "the test's own environment")]
pub(crate) fn only() -> Option<Vec<Attack>> {
    let names = std::env::var("SUPERCARGO_ATTACK").ok()?;
    if names == "all" {
        return Some(AT_ONCE.to_vec());
    }
    let find = |name| ATTACKS.into_iter().find(|attack| format!("{attack:?}") == name);
    let found =
        names.split(',').map(|name| find(name).unwrap_or_else(|| panic!("{name} is not `all` or of {ATTACKS:?}")));
    Some(found.collect())
}

/// The memory that may be taken under these, in MiB.
pub(crate) fn most(attacks: &[Attack]) -> u64 {
    if attacks == [Attack::MillionsOfTags] { 200 } else { 220 }
}
