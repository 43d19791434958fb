//! What holds for all tags and policies, not only for the worked cases.

use std::{cmp::Ordering, collections::HashMap};

use proptest::prelude::*;
use supercargo::domain::{
    decide::{Current, Decision, Listing, decide},
    image::Tag,
    policy::{NamedPolicies, Options, Policy, PrereleaseOption},
    version::Version,
};

/// Parts that tags are made of, so that generated ones come near to real ones and to the edges of the grammar.
const PARTS: &[&str] = &[
    "1",
    "2",
    "9",
    "10",
    "0",
    "00",
    "07",
    "16",
    "999",
    "1000",
    "2024",
    "20240115",
    "18446744073709551616",
    ".",
    ".",
    ".",
    "-",
    "-",
    "_",
    "+",
    "v",
    "V",
    "rc",
    "RC",
    "rc1",
    "beta",
    "b1",
    "m",
    "dev",
    "alpha",
    "sha",
    "sha256",
    "abc1234",
    "gabc1234",
    "3b12345",
    "r5",
    "ls12",
    "build",
    "p1",
    "k3s1",
    "alpine",
    "alpine3.18",
    "debian",
    "12",
    "Final",
    "app",
    "x",
    "latest",
    "main",
    "jdk",
    "é",
    "..",
    "--",
];

/// Parts of ranges, globs and regexes.
const PATTERN_PARTS: &[&str] = &[
    ">=",
    "<=",
    "=>",
    "=<",
    "!=",
    "~>",
    "=",
    ">",
    "<",
    "~",
    "^",
    "||",
    "|",
    " ",
    ",",
    " - ",
    "*",
    "x",
    "X",
    "1",
    "2.3",
    "1.2.3",
    "-rc1",
    "-0",
    "+b",
    ".",
    "v",
    "[",
    "]",
    "[a-",
    "[!0-9]",
    "{",
    "}",
    "{a,b}",
    "(",
    ")",
    "(?P<order>",
    "(?!",
    r"\d+",
    r"\1",
    "?",
    "$",
    "a",
    "é",
    "\u{0}",
];

fn text_of(parts: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(parts), 0..most).prop_map(|parts| parts.concat())
}

fn tag() -> impl Strategy<Value = Tag> {
    text_of(PARTS, 9).prop_filter_map("no tag", |text| Tag::parse(&text).ok())
}

/// Tags near one another, so that they compare in every way.
fn near() -> impl Strategy<Value = Tag> {
    let flavours = ["", "-alpine", "-rc1", "-rc2", "-rc10-alpine", "-r1", "-2", "-abc1234", "rc1", ".beta.3"];
    let versions = (prop::sample::select(vec!["", "v", "app-"]), 0..3_u8, 0..3_u8, prop::option::of(0..3_u8));
    (versions, prop::sample::select(flavours.to_vec())).prop_map(|((prefix, major, minor, patch), rest)| {
        let patch = patch.map_or_else(String::new, |patch| format!(".{patch}"));
        Tag::parse(&format!("{prefix}{major}.{minor}{patch}{rest}")).unwrap()
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let texts = [
        "patch",
        "minor",
        "major",
        "all",
        "semver:*",
        "semver:>=1 <2.2 || 0.x",
        "semver:>=1.0.0-0",
        "glob:*",
        "glob:{v,}1.*",
        "regex:v?(?P<order>[0-9.]+).*",
    ];
    let prerelease = prop::sample::select(vec![
        None,
        Some(PrereleaseOption::Same),
        Some(PrereleaseOption::Allow),
        Some(PrereleaseOption::Never),
    ]);
    let flavour = prop::sample::select(vec![None, Some("any"), Some(""), Some("alpine")]);
    let order = prop::sample::select(vec!["natural", "alphabetical", "numeric", "semver"]);
    (prop::sample::select(texts.to_vec()), prerelease, flavour, order, any::<bool>()).prop_map(
        |(text, prerelease, flavour, order, downgrade)| {
            let options = Options {
                prerelease,
                flavour: flavour.map(|flavour| flavour.parse().unwrap()),
                order: Some(order.parse().unwrap()),
                allow_downgrade: downgrade.then_some(true),
                ..Options::default()
            };
            Policy::parse(text, &options, &NamedPolicies::default()).unwrap()
        },
    )
}

fn ask(policy: &Policy, current: &Tag, tags: &[Tag]) -> Decision {
    let current = Current { tag: Some(current), digest: None };
    decide(policy, current, &Listing::new(tags.iter().collect()), &HashMap::new())
}

fn version(tag: &Tag) -> Option<Version<'_>> {
    Version::parse(tag.as_str())
}

proptest! {
    #[test]
    fn the_order_of_versions_is_total(a in tag(), b in tag(), c in near(), d in near()) {
        let versions: Vec<_> = [&a, &b, &c, &d].into_iter().filter_map(version).collect();
        for x in &versions {
            prop_assert_eq!(x.cmp(x), Ordering::Equal);
            for y in &versions {
                prop_assert_eq!(x.cmp(y), y.cmp(x).reverse());
                for z in &versions {
                    if x <= y && y <= z {
                        prop_assert!(x <= z, "{} {} {}", x, y, z);
                    }
                }
            }
        }
    }

    #[test]
    fn the_choice_does_not_depend_on_the_order_of_the_tags(
        policy in policy(),
        current in near(),
        (tags, shuffled) in prop::collection::vec(near(), 0..40)
            .prop_flat_map(|tags| (Just(tags.clone()), Just(tags).prop_shuffle())),
    ) {
        prop_assert_eq!(ask(&policy, &current, &tags), ask(&policy, &current, &shuffled));
    }

    #[test]
    fn nothing_chosen_is_lower_than_the_current_tag_unless_allowed(
        policy in policy(),
        current in near(),
        tags in prop::collection::vec(near(), 0..40),
    ) {
        let decision = ask(&policy, &current, &tags);
        let compares_versions = !policy.as_str().contains("glob") && !policy.as_str().contains("regex");
        let allowed = policy.options().allow_downgrade == Some(true);
        for target in &decision.eligible {
            prop_assert!(tags.contains(&target.tag));
            prop_assert_ne!(&target.tag, &current);
            if compares_versions && !allowed {
                prop_assert!(version(&target.tag) > version(&current), "{} from {}", target.tag, current);
            }
        }
        prop_assert!(decision.eligible.len() <= 20 && decision.reasons.len() <= 21);
    }

    #[test]
    fn every_tag_of_a_short_list_has_its_reason(
        policy in policy(),
        current in near(),
        tags in prop::collection::hash_set(near(), 0..12),
    ) {
        let tags: Vec<Tag> = tags.into_iter().collect();
        let decision = ask(&policy, &current, &tags);
        // A problem is about the policy, whatever the tags.
        prop_assume!(decision.problem.is_none());
        for tag in tags.iter().filter(|tag| **tag != current) {
            let count = decision.reasons.iter().filter(|reason| reason.tag.as_ref() == Some(tag)).count();
            prop_assert_eq!(count, 1, "{}: {}", tag, decision);
        }
    }

    #[test]
    fn no_policy_makes_parsing_panic(kind in "(semver|glob|regex|newest|named|minor|.{0,6}):?", text in text_of(PATTERN_PARTS, 12)) {
        let named = NamedPolicies::default();
        let options = Options { allow: vec![text.as_str().into()], ..Options::default() };
        for options in [Options::default(), options] {
            if let Ok(policy) = Policy::parse(&format!("{kind}{text}"), &options, &named) {
                let tags = ["1.2.3", "1.2.3-rc1", "v2.3", "main-1", "x"].map(|tag| Tag::parse(tag).unwrap());
                ask(&policy, &tags[0], &tags);
            }
        }
    }
}
