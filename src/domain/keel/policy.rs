//! `keel.sh/policy` and what is read with it.

use super::{Given, Item};
use crate::domain::{
    image::{ImageRef, excerpt},
    reason::{Code, Reason},
    workload::Workload,
};

/// Fills in what a policy of Keel's becomes.
pub(super) fn read(given: &Given, workload: &Workload, item: &mut Item) {
    let value = item.value.clone();
    let mut take = |policy: String| item.becomes.push(("policy", policy));
    match value.as_str() {
        "" | "never" => take("never".into()),
        "all" | "major" | "minor" | "patch" => {
            take(value.clone());
            level(given, workload, &value, item);
        }
        "force" => {
            take("digest".into());
            force(given, item);
        }
        _ => match value.split_once(':') {
            Some(("glob", pattern)) if !pattern.is_empty() && !pattern.contains(':') => {
                take(format!("glob:{}", glob(pattern)));
                item.becomes.push(("order", "alphabetical".into()));
                item.differs.push(
                    "Keel compares the tags by bytes, so `9` is above `10`: leave `order: alphabetical` out to compare \
                     numbers as numbers"
                        .into(),
                );
            }
            Some(("regexp", pattern)) if !pattern.is_empty() => {
                let (policy, ordered) = regexp(pattern);
                take(policy);
                item.becomes.push(("order", "alphabetical".into()));
                item.differs.push(if ordered {
                    "the group `compare` is called `order` here, and it is compared by bytes as Keel does: leave `order: \
                     alphabetical` out to compare numbers as numbers"
                        .into()
                } else {
                    "Keel compares the tags by bytes, so `9` is above `10`: leave `order: alphabetical` out to compare \
                     numbers as numbers"
                        .into()
                });
                item.differs.push("Keel takes a pushed tag that matches even if it is lower; supercargo never".into());
            }
            _ => {
                item.blocks = Some(Reason::new(
                    Code::KeelUnsupported,
                    format!(
                        "`{}: {}` is no policy of Keel's, so it does nothing: write `supercargo.dev/policy` instead",
                        item.key,
                        excerpt(&value)
                    ),
                ));
            }
        },
    }
}

fn level(given: &Given, workload: &Workload, value: &str, item: &mut Item) {
    let images = workload.containers.iter().filter_map(|c| ImageRef::parse(&c.image).ok());
    let tags: Vec<String> = images.map(|i| i.tag.map_or_else(|| "latest".to_owned(), |tag| tag.to_string())).collect();
    let starts_with_digit = |tag: &str| tag.trim_start_matches(['v', 'V']).starts_with(|c: char| c.is_ascii_digit());
    for tag in tags.iter().filter(|tag| !starts_with_digit(tag)) {
        item.differs.push(format!(
            "`{tag}` is no version: {}supercargo reports that and changes nothing; set a version, or write `policy: \
             digest` to follow what the tag points to",
            if tag == "latest" { "Keel jumps from it to the highest version, " } else { "" }
        ));
    }
    let lenient = given.value("keel.sh/matchPreRelease").is_some_and(|v| v != "true");
    if value == "all" {
        item.differs.push(
            "Keel takes `1.2.3-alpine` for a pre-release, so `all` may jump between flavours; supercargo keeps the \
             flavour (`flavour: any` lets it change) and takes release candidates, as Keel does"
                .into(),
        );
    } else if lenient {
        item.differs.push(
            "with `matchPreRelease: false` Keel jumps between flavours and to release candidates; supercargo takes \
             release candidates by `prerelease: allow`, and keeps the flavour (`flavour: any` lets it change)"
                .into(),
        );
    } else if tags.iter().any(|tag| starts_with_digit(tag) && tag.contains('-')) {
        item.differs.push(
            "Keel never leaves the suffix of a tag; supercargo keeps a flavour such as `-alpine`, but goes from a \
             release candidate to the next one and to its release (`prerelease: never` forbids that)"
                .into(),
        );
    }
    if tags.iter().any(|tag| starts_with_digit(tag) && tag.split('.').count() < 3) {
        item.differs.push(
            "supercargo keeps the number of numbers: `1.4` goes to `1.5`, never to `1.4.6`, as Keel would".into(),
        );
    }
}

fn force(given: &Given, item: &mut Item) {
    let matches = given.is_true("keel.sh/matchTag")
        || (given.value("keel.sh/matchTag").is_none() && given.is_true("keel.sh/match-tag"));
    if !matches {
        item.differs.push(
            "without `matchTag` Keel takes any tag that is pushed, and from `latest` the highest version; supercargo \
             stays on the tag (`policy: newest` takes whichever was pushed last)"
                .into(),
        );
    }
    item.differs.push(
        "Keel writes the same tag again and restarts the pods; supercargo writes the tag with its digest, so that what \
         runs is known"
            .into(),
    );
}

/// In Keel's globs only `*` is special.
fn glob(pattern: &str) -> String {
    let mut out = String::new();
    for c in pattern.chars() {
        match c {
            '?' | '[' | ']' | '{' | '}' | '\\' => out.extend(['[', c, ']']),
            c => out.push(c),
        }
    }
    out
}

/// Keel looks for the pattern anywhere in the tag and compares its group `compare`.
fn regexp(pattern: &str) -> (String, bool) {
    let ordered = pattern.contains("(?P<compare>") || pattern.contains("(?<compare>");
    let pattern = pattern.replace("(?P<compare>", "(?P<order>").replace("(?<compare>", "(?<order>");
    let anchored = pattern
        .strip_prefix('^')
        .and_then(|rest| rest.strip_suffix('$'))
        .filter(|inner| !inner.contains('|') && !inner.ends_with('\\'));
    let whole = match anchored {
        Some(inner) => format!("regex:{inner}"),
        None => format!("regex:.*(?:{pattern}).*"),
    };
    (whole, ordered)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::{
        decide::{Current, Listing, decide},
        image::Tag,
        policy::{NamedPolicies, Options, Order, Policy},
    };

    /// Whether our policy takes that tag alone.
    fn takes(policy: &str, tag: &Tag) -> bool {
        let options = Options { order: Some(Order::Alphabetical), ..Options::default() };
        let policy = Policy::parse(policy, &options, &NamedPolicies::default()).unwrap();
        let current = Current { tag: None, digest: None };
        decide(&policy, current, &Listing::new([tag].into_iter().collect()), &HashMap::new()).choice().is_some()
    }

    #[rstest::rstest]
    #[case("^v[0-9]+$", "regex:v[0-9]+", false)]
    #[case("v[0-9]+", "regex:.*(?:v[0-9]+).*", false)]
    #[case("^a|b$", "regex:.*(?:^a|b$).*", false)]
    #[case("^a\\$", "regex:.*(?:^a\\$).*", false)]
    #[case("^(?P<compare>[0-9]+)-.*$", "regex:(?P<order>[0-9]+)-.*", true)]
    fn a_regexp_is_made_to_match_the_whole_tag(#[case] keels: &str, #[case] ours: &str, #[case] ordered: bool) {
        assert_eq!(regexp(keels), (ours.to_owned(), ordered));
    }

    proptest! {
        #[test]
        fn a_glob_of_keels_matches_what_it_matched(
            pattern in "[a-c*?\\[\\]{}.\\\\-]{1,8}",
            tag in "[a-c][a-c.-]{0,8}",
        ) {
            let parts: Vec<String> = pattern.split('*').map(regex::escape).collect();
            let keels = regex::Regex::new(&format!("^(?s:{})$", parts.join(".*"))).unwrap();
            let ours = format!("glob:{}", glob(&pattern));
            prop_assert_eq!(takes(&ours, &Tag::parse(&tag).unwrap()), keels.is_match(&tag), "{} {}", ours, tag);
        }

        #[test]
        fn a_regexp_of_keels_matches_what_it_matched(
            pattern in "\\^?(a|b|[ab]|c\\*|\\(a\\|b\\)|\\||\\.){1,5}\\$?",
            tag in "[a-c][a-c.-]{0,8}",
        ) {
            if let Ok(keels) = regex::Regex::new(&pattern) {
                let (ours, _) = regexp(&pattern);
                prop_assert_eq!(takes(&ours, &Tag::parse(&tag).unwrap()), keels.is_match(&tag), "{} {}", ours, tag);
            }
        }
    }
}
