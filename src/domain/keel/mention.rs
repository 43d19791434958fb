//! Keel's keys within a text: lines of a manifest, paths of JSON patches, names of Helm parameters.

use std::sync::LazyLock;

use regex::Regex;

/// As it is, as a step of a JSON pointer, or with the dot that Helm would split at escaped.
static MENTION: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?x)
        (?: (?:^|[^A-Za-z0-9./\\_-]) keel\.(?<plain>sh|observer)/
          | / keel\.(?<pointer>sh|observer)~1
          | keel\\+\.(?<helm>sh|observer)/
        ) (?<name>[A-Za-z][A-Za-z0-9_-]*)",
    )
    .ok()
});

/// The lines, from 0, that hold a key of Keel's in any spelling, and the key; what is behind a `#` at a line's start is
/// a comment.
pub fn mentions(text: &str) -> Vec<(usize, String)> {
    let Some(mention) = &*MENTION else { return Vec::new() };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#'));
    let keys = lines.flat_map(|(at, line)| mention.captures_iter(line).map(move |found| (at, found)));
    let spelt = keys.map(|(at, found)| {
        let domain = ["plain", "pointer", "helm"].iter().find_map(|group| found.name(group));
        (at, format!("keel.{}/{}", domain.map_or("", |domain| domain.as_str()), &found["name"]))
    });
    spelt.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("keel.sh/policy: minor", &["keel.sh/policy"])]
    #[case("{\"keel.sh/policy\":\"minor\",\"keel.observer/policy\":\"all\"}", &["keel.sh/policy", "keel.observer/policy"])]
    #[case("/metadata/annotations/keel.sh~1trigger", &["keel.sh/trigger"])]
    #[case("podAnnotations.keel\\.sh/match-tag", &["keel.sh/match-tag"])]
    #[case("--set=annotations.keel\\\\.sh/policy=all", &["keel.sh/policy"])]
    #[case("# keel.sh/policy: minor", &[])]
    #[case("https://keel.sh/docs", &[])]
    #[case("www.keel.sh/docs my-keel.sh/policy", &[])]
    #[case("docker.io/keelhq/keel.sh", &[])]
    fn a_key_is_found_in_every_spelling_and_an_address_is_none(#[case] line: &str, #[case] keys: &[&str]) {
        let found: Vec<String> = mentions(line).into_iter().map(|(_, key)| key).collect();
        assert_eq!(found, keys);
    }

    #[test]
    fn each_line_of_a_text_is_told() {
        let text = "metadata:\n  annotations:\n    # keel.sh/policy: all\n    keel.sh/policy: minor\n";
        assert_eq!(mentions(text), [(3, "keel.sh/policy".to_owned())]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|keel\\.sh/|\n){0,40}") {
            mentions(&text);
        }
    }
}
