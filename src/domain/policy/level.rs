//! `patch`, `minor`, `major`, `all` (docs/policy.md §2.1).

use crate::domain::{
    image::excerpt,
    listing::ListedVersion,
    policy::{Asked, FlavourOption},
    reason::{Code, Reason},
    sortkey::KeyRef,
    version::Version,
};

/// How far a newer version may be away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain) enum Level {
    /// Equal first two numbers.
    Patch,
    /// An equal first number.
    Minor,
    /// Anything newer.
    Major,
    /// Pre-releases too.
    All,
}

/// A level above one current version.
#[derive(Debug)]
pub(super) struct Above {
    pub(super) level: Level,
    /// With what keys of the level begin.
    pub(super) start: Vec<u8>,
    numbers: u8,
    revision: bool,
}

impl Level {
    /// How many first numbers stay, and how many a current tag must have.
    fn fixed_numbers(self) -> (usize, usize) {
        match self {
            Self::Patch => (2, 3),
            Self::Minor => (1, 2),
            Self::Major | Self::All => (0, 1),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Patch => "patch",
            Self::Minor => "minor",
            Self::Major => "major",
            Self::All => "all",
        }
    }

    /// The level above the current version.
    pub(super) fn above<'a>(self, asked: &Asked<'a>) -> Result<(Version<'a>, Above), Reason> {
        let Some(tag) = asked.current.tag else {
            let message = format!(
                "the image has no tag, and `{}` compares versions: give it one, in the values where a chart fills in its `appVersion`",
                asked.policy
            );
            return Err(Reason::new(Code::CurrentNoTag, message));
        };
        let Some(current) = Version::parse(tag.as_str()) else {
            let message = format!(
                "`{}` is no version, and `{}` only goes from one version to another: set a version, or use semver:, \
                 glob:, newest or digest",
                excerpt(tag.as_str()),
                asked.policy
            );
            return Err(Reason::new(Code::CurrentNotAVersion, message));
        };
        let (kept, needed) = self.fixed_numbers();
        let has = current.precision();
        if has < needed {
            let fits = if has == 1 { Self::Major } else { Self::Minor };
            let has = if has == 1 { "1 number".to_owned() } else { format!("{has} numbers") };
            let own = asked.policy.options().flavour.as_ref().is_none_or(|option| *option == FlavourOption::Current);
            let within = match current.flavour() {
                flavour if !own || flavour.is_empty() => String::new(),
                flavour if flavour.contains(|c: char| c.is_ascii_digit()) => {
                    format!(
                        ", among tags of the flavour `{flavour}`; only regex: and glob: compare the numbers in that"
                    )
                }
                flavour => format!(", among tags of the flavour `{flavour}`"),
            };
            let message = format!(
                "`{}` needs a tag with {needed} numbers or more, and `{current}` has {has}, so that it could never take \
                 anything: `{}` fits it{within}",
                asked.policy,
                fits.name(),
            );
            return Err(Reason::new(Code::TooFewNumbers, message));
        }
        let above = Above {
            level: self,
            start: current.start_of(kept),
            numbers: current.numbers(),
            revision: current.has_revision(),
        };
        Ok((current, above))
    }
}

impl Above {
    /// What keeps a version out, pre-releases aside.
    #[inline]
    pub(super) fn refusal(&self, entry: &ListedVersion, key: KeyRef<'_>) -> Option<Code> {
        if entry.numbers != self.numbers {
            Some(Code::OtherPrecision)
        } else if entry.flags.revision && !self.revision {
            Some(Code::Revision)
        } else if !key.starts_with(&self.start) {
            Some(Code::OutsideLevel)
        } else {
            None
        }
    }
}
