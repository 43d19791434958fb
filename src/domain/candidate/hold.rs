//! What somebody has moved back, or asked to leave, is not taken, nor anything that is not newer than it.

use std::{collections::HashMap, sync::Arc};

use super::{Facts, Manifest};
use crate::domain::{
    decide::{Current, Listing, TagFacts, decide},
    image::{Digest, Tag},
    policy::{Candidate, Policy},
    reason::{Code, Reason},
};

/// An image that is held.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeldImage {
    /// Its tag.
    pub tag: Option<Tag>,
    /// Its digest, if it has one.
    pub digest: Option<Digest>,
    /// Whether it alone is not taken; else nothing is that is not newer.
    pub is_exact: bool,
    /// What is said of it.
    pub code: Code,
    /// Who holds it, and how that ends.
    pub why: Arc<str>,
}

impl HeldImage {
    /// Whether a candidate is not taken for it.
    pub fn refuses(
        &self,
        candidate: &Candidate,
        manifest: &Manifest,
        policy: &Policy,
        facts: &HashMap<Tag, TagFacts>,
    ) -> bool {
        let digests = match manifest {
            Manifest::Is(now) => self.digest.as_ref().map(|held| held == now),
            Manifest::NotAsked | Manifest::Missing => None,
        };
        match &self.tag {
            // A tag that has moved since is another image.
            Some(tag) if *tag == candidate.tag => digests.unwrap_or(true),
            _ if self.is_exact => self.tag.is_none() && digests.unwrap_or(false),
            Some(_) => self.outranks(candidate, policy, facts),
            None => digests.unwrap_or(false),
        }
    }

    /// Whether a candidate of another tag is not newer, and so not taken whatever it points to.
    pub fn outranks(&self, candidate: &Candidate, policy: &Policy, facts: &HashMap<Tag, TagFacts>) -> bool {
        let Some(tag) = self.tag.as_ref().filter(|tag| !self.is_exact && **tag != candidate.tag) else { return false };
        let current = Current { tag: Some(tag), digest: self.digest.as_ref() };
        let listing = Listing::new([tag, &candidate.tag].into_iter().collect());
        // What cannot be compared is not held.
        let decision = decide(policy, current, &listing, facts);
        decision.problem.is_none() && decision.choice().is_none_or(|choice| choice.tag != candidate.tag)
    }
}

pub(super) fn check(candidate: &Candidate, facts: &Facts) -> Option<Reason> {
    let HeldImage { code, why, .. } = facts.held.as_ref()?;
    Some(Reason::of_tag(&candidate.tag, *code, &**why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::{NamedPolicies, Options};

    fn digest(n: u8) -> Digest {
        Digest::parse(&format!("sha256:{n:064}")).unwrap()
    }

    #[rstest::rstest]
    // With 1.3.0 held and 1.1.0 running, 1.2.0 is not taken, and 1.3.1 is.
    #[case("minor", "1.3.0", None, "1.2.0", None, true)]
    #[case("minor", "1.3.0", None, "1.3.0", None, true)]
    #[case("minor", "1.3.0", None, "1.3.1", None, false)]
    #[case("glob:main-*", "main-7", None, "main-6", None, true)]
    #[case("glob:main-*", "main-7", None, "main-8", None, false)]
    // Of a tag that moves the digest that was held alone is refused.
    #[case("minor", "1.3.0", Some(1), "1.3.0", Some(1), true)]
    #[case("minor", "1.3.0", Some(1), "1.3.0", Some(2), false)]
    #[case("digest", "latest", Some(1), "latest", Some(1), true)]
    #[case("digest", "latest", Some(1), "latest", Some(2), false)]
    // What cannot be compared with what is held is not.
    #[case("minor", "latest", None, "1.2.0", None, false)]
    // Times that nobody knows.
    #[case("newest", "a", None, "b", None, false)]
    fn what_is_not_newer_than_what_is_held_is_refused(
        #[case] policy: &str,
        #[case] tag: &str,
        #[case] held: Option<u8>,
        #[case] candidate: &str,
        #[case] now: Option<u8>,
        #[case] refused: bool,
    ) {
        let policy = Policy::parse(policy, &Options::default(), &NamedPolicies::default()).unwrap();
        let (code, why) = (Code::Held, "alice".into());
        let held = HeldImage { tag: Some(Tag::of(tag)), digest: held.map(digest), is_exact: false, code, why };
        let candidate = Candidate { tag: Tag::of(candidate), digest: None };
        let manifest = now.map_or(Manifest::NotAsked, |now| Manifest::Is(digest(now)));
        assert_eq!(held.refuses(&candidate, &manifest, &policy, &HashMap::new()), refused);
        // What an annotation names is that image alone.
        let exact = HeldImage { is_exact: true, ..held };
        let is_it = exact.tag.as_ref() == Some(&candidate.tag) && refused;
        assert_eq!(exact.refuses(&candidate, &manifest, &policy, &HashMap::new()), is_it);
    }

    #[test]
    fn a_digest_is_held_whatever_tag_points_to_it() {
        let policy = Policy::parse("minor", &Options::default(), &NamedPolicies::default()).unwrap();
        let held =
            HeldImage { tag: None, digest: Some(digest(1)), is_exact: true, code: Code::Held, why: "alice".into() };
        let candidate = Candidate { tag: Tag::of("1.4.0"), digest: None };
        let refuses = |manifest: Manifest| held.refuses(&candidate, &manifest, &policy, &HashMap::new());
        assert!(refuses(Manifest::Is(digest(1))) && !refuses(Manifest::Is(digest(2))) && !refuses(Manifest::NotAsked));
    }
}
