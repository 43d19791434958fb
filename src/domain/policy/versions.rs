//! What the kinds that compare versions have in common (docs/policy.md §2.1).

use std::ops::Range as Places;

use super::{
    FlavourOption, Judge, Options, PrereleaseOption,
    level::{Above, Level},
    semver::{Range, RangeFit},
};
use crate::domain::{
    ages::Wait,
    listing::{EXPLAINED, Index, ListedVersion, Listing, TagId},
    policy::filters::Ready,
    policy::{Asked, Limit},
    reason::Code,
    version::{Version, base_of},
};

/// The rules for one question: what is asked of every version of the listing.
pub(super) struct Rules<'a> {
    current: Option<Version<'a>>,
    listing: &'a Listing,
    index: &'a Index,
    filters: &'a Ready,
    limit: &'a Limit<'a>,
    options: &'a Options,
    waits: &'a dyn Fn(&str) -> Option<Wait>,
    test: Test<'a>,
    /// The flavour that counts: `None` for any, `Some(None)` for one that no tag has.
    flavour: Option<Option<u32>>,
    /// By prefix: whether its base is the right one.
    prefixes: Vec<bool>,
    /// With what keys begin of which pre-releases are taken under `same`.
    same_core: Option<Vec<u8>>,
    /// The current tag's own flavour and prefix, which win among equal versions.
    own_flavour: Option<u32>,
    own_prefix: Option<u32>,
}

/// What a kind asks beyond the common rules.
pub(super) enum Test<'a> {
    Level(Above),
    Range(&'a Range),
}

impl Range {
    /// A range judges from any current tag.
    pub(super) fn judge<'a>(&'a self, asked: &Asked<'a>) -> Box<dyn Judge + 'a> {
        let current = asked.current.tag.and_then(|tag| Version::parse(tag.as_str()));
        Box::new(Rules::new(asked, current, Test::Range(self)))
    }
}

impl<'a> Rules<'a> {
    pub(super) fn new(asked: &Asked<'a>, current: Option<Version<'a>>, test: Test<'a>) -> Self {
        let index = asked.listing.index();
        let options = asked.policy.options();
        let own_flavour = current.as_ref().map_or("", Version::flavour);
        let flavour = match options.flavour.as_ref().unwrap_or(&FlavourOption::Current) {
            FlavourOption::Any => None,
            FlavourOption::Named(name) => Some(index.flavour(name)),
            FlavourOption::Current => Some(index.flavour(own_flavour)),
        };
        Self {
            listing: asked.listing,
            index,
            filters: asked.filters,
            limit: asked.limit,
            waits: asked.waits,
            options,
            test,
            flavour,
            prefixes: index.prefixes_of_base(current.as_ref().map_or("", Version::base)),
            same_core: current.as_ref().filter(|c| c.is_prerelease()).map(Version::start_of_core),
            own_flavour: current.as_ref().and_then(|c| index.flavour(c.flavour())),
            own_prefix: current.as_ref().and_then(|c| index.prefix(c.prefix())),
            current,
        }
    }

    /// The first rule that a version breaks.
    #[inline]
    fn broken(&self, entry: &ListedVersion) -> Option<Code> {
        let key = self.index.key(entry);
        if let Some(current) = &self.current {
            if entry.flags.commit && !current.is_commit_build() {
                return Some(Code::CommitBuild);
            }
        } else if entry.flags.commit {
            return Some(Code::CommitBuild);
        }
        if self.flavour.is_some_and(|flavour| flavour != Some(entry.flavour)) {
            return Some(Code::OtherFlavour);
        }
        if !self.prefixes[entry.prefix as usize] {
            return Some(Code::OtherPrefix);
        }
        if let Some(current) = &self.current {
            let of_current = current.flags();
            if entry.flags.calendar && !of_current.calendar || entry.flags.dates & !of_current.dates != 0 {
                return Some(Code::CalendarJump);
            }
            if !self.allows_downgrade() && key <= current.key() {
                return Some(Code::NotNewer);
            }
        }
        match &self.test {
            Test::Level(above) => above.refusal(entry, key).or_else(|| self.refused_prerelease(entry, above.level)),
            Test::Range(range) => {
                let option = self.options.prerelease.unwrap_or_default();
                let allow = option == PrereleaseOption::Allow;
                match range.standing(key, entry.flags.prerelease, allow) {
                    RangeFit::Outside => Some(Code::OutsideRange),
                    RangeFit::Prerelease => Some(Code::Prerelease),
                    RangeFit::Inside if entry.flags.prerelease && option == PrereleaseOption::Never => {
                        Some(Code::Prerelease)
                    }
                    RangeFit::Inside => None,
                }
            }
        }
    }

    fn refused_prerelease(&self, entry: &ListedVersion, level: Level) -> Option<Code> {
        let taken = match self.options.prerelease.unwrap_or_default() {
            _ if !entry.flags.prerelease => true,
            PrereleaseOption::Never => false,
            PrereleaseOption::Allow => true,
            PrereleaseOption::Same if level == Level::All => true,
            PrereleaseOption::Same => {
                self.same_core.as_ref().is_some_and(|core| self.index.key(entry).starts_with(core))
            }
        };
        (!taken).then_some(Code::Prerelease)
    }

    fn allows_downgrade(&self) -> bool {
        self.options.allow_downgrade.unwrap_or_default()
    }

    fn is_eligible(&self, entry: &ListedVersion) -> bool {
        self.broken(entry).is_none() && self.filters.pass(self.listing.tag(entry.tag))
    }

    fn is_old_enough(&self, entry: &ListedVersion) -> bool {
        (self.waits)(self.listing.tag(entry.tag)).is_none()
    }

    /// Adds the eligible versions of a part of the index, best first, until there are enough.
    fn add(&self, best: &mut Vec<TagId>, places: Places<usize>) {
        let versions = &self.index.versions[places];
        let key = |entry: &ListedVersion| self.index.key(entry);
        let mut found: Vec<&ListedVersion> = Vec::new();
        for entry in versions.iter().take_while(|_| self.limit.goes_on()) {
            let full = best.len() + found.len() >= EXPLAINED;
            // Equal versions are looked at to the last, as the best of them may come late.
            if full && found.last().is_none_or(|last| key(last) != key(entry)) {
                break;
            }
            if self.is_eligible(entry) && self.is_old_enough(entry) {
                found.push(entry);
            }
        }
        if self.current.is_some() {
            // Stable, so that the order of the index decides where this does not.
            found.sort_by(|a, b| key(b).cmp(&key(a)).then_with(|| self.likeness(b).cmp(&self.likeness(a))));
        }
        best.extend(found.iter().take(EXPLAINED - best.len()).map(|entry| entry.tag));
    }

    /// How much of the current tag's spelling a version has.
    fn likeness(&self, entry: &ListedVersion) -> (bool, bool, bool) {
        let precise = self.current.as_ref().is_some_and(|current| current.numbers() == entry.numbers);
        (self.own_flavour == Some(entry.flavour), self.own_prefix == Some(entry.prefix), precise)
    }
}

impl Judge for Rules<'_> {
    fn best(&self) -> Vec<TagId> {
        let versions = &self.index.versions;
        let key = |entry: &ListedVersion| self.index.key(entry);
        let mut window = 0..versions.len();
        if let Test::Level(above) = &self.test {
            window.start = versions.partition_point(|entry| key(entry).cmp_start(&above.start).is_gt());
            window.end = versions.partition_point(|entry| key(entry).cmp_start(&above.start).is_ge());
        }
        let mut best = Vec::new();
        let Some(current) = &self.current else {
            self.add(&mut best, window);
            return best;
        };
        let above = versions.partition_point(|entry| key(entry) > current.key());
        self.add(&mut best, window.start..above.clamp(window.start, window.end));
        if self.allows_downgrade() {
            let equal = versions.partition_point(|entry| key(entry) >= current.key());
            // The current version, if it is eligible itself, is better than all below.
            if !versions[above..equal].iter().any(|entry| self.is_eligible(entry)) {
                self.add(&mut best, equal.clamp(window.start, window.end)..window.end);
            }
        }
        best
    }

    fn refusal(&self, tag: TagId, entry: Option<&ListedVersion>) -> Option<(Code, String)> {
        let Some(entry) = entry else {
            return Some((Code::NotAVersion, "no version".to_owned()));
        };
        let tag = self.listing.tag(tag);
        let is_current = || self.current.as_ref().is_some_and(|c| c.key() == self.index.key(entry));
        let current = self.current.as_ref();
        let shown = current.map_or_else(|| "a tag that is no version".to_owned(), |c| format!("`{c}`"));
        let quoted = |name: &str, none: &str| if name.is_empty() { none.to_owned() } else { format!("`{name}`") };
        let broken = match self.broken(entry) {
            // Under allowDowngrade only an equal version is left of the rule.
            None if is_current() => Code::NotNewer,
            None => return None,
            Some(code) => code,
        };
        let version = Version::parse(tag);
        let flavour = version.as_ref().map_or("", Version::flavour);
        let message = match broken {
            Code::CommitBuild => format!("names a commit, and {shown} does not"),
            Code::OtherFlavour => {
                let wanted = match &self.options.flavour {
                    Some(FlavourOption::Named(name)) => name,
                    _ => current.map_or("", Version::flavour),
                };
                let wanted = quoted(wanted, "none");
                format!("its flavour is {}, and {wanted} is wanted", quoted(flavour, "empty"))
            }
            Code::OtherPrefix => {
                let base = version.as_ref().map_or("", |v| base_of(v.prefix()));
                let wanted = quoted(current.map_or("", Version::base), "none");
                format!("its prefix is {}, and {wanted} is wanted", quoted(base, "empty"))
            }
            Code::CalendarJump => format!("looks like a date, and {shown} does not"),
            Code::NotNewer if is_current() => format!("the same version as {shown}"),
            Code::NotNewer => format!("older than {shown}"),
            Code::OtherPrecision => {
                let count = |count: usize| if count == 1 { "1 number".to_owned() } else { format!("{count} numbers") };
                let of_current = count(current.map_or(0, Version::precision));
                format!("has {}, and {shown} has {of_current}", count(entry.numbers.into()))
            }
            Code::Revision => format!("has a revision, and {shown} has none"),
            Code::OutsideLevel => match &self.test {
                Test::Level(above) => format!("beyond `{}` of {shown}", above.level.name()),
                Test::Range(_) => "outside the range".to_owned(),
            },
            Code::Prerelease => match (self.options.prerelease.unwrap_or_default(), &self.test) {
                (PrereleaseOption::Never, _) => "a pre-release, and `prerelease` is never".to_owned(),
                (_, Test::Range(range)) if range.names_prerelease() => {
                    "a pre-release, and this part of the range names none".to_owned()
                }
                (_, Test::Range(_)) => "a pre-release, and the range names none".to_owned(),
                _ if self.same_core.is_some() => format!("a pre-release of another version than {shown}"),
                _ => format!("a pre-release, and {shown} is none"),
            },
            _ => "outside the range".to_owned(),
        };
        Some((broken, message))
    }
}
