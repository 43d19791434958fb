//! Which objects the `target` of a patch selects.

use std::sync::Arc;

use super::{
    super::{ManifestError, read::text, tree::Id},
    cell::Source,
    subject::Subject,
};
use crate::domain::policy::Matcher;

/// What a patch is for; what is not given may be anything.
#[derive(Debug)]
pub(super) struct PatchTarget {
    group: Pattern,
    version: Pattern,
    kind: Pattern,
    namespace: Pattern,
    name: Pattern,
    labels: Option<Selector>,
    annotations: Option<Selector>,
}

impl PatchTarget {
    pub(super) fn read(source: &Source, target: Id) -> Result<Self, ManifestError> {
        let tree = source.tree;
        let pattern = |key| Ok::<_, ManifestError>(Pattern::new(source, text(tree, target, key)?.unwrap_or_default()));
        let selector = |key| Ok::<_, ManifestError>(text(tree, target, key)?.map(Selector::new));
        Ok(Self {
            group: pattern("group")?,
            version: pattern("version")?,
            kind: pattern("kind")?,
            namespace: pattern("namespace")?,
            name: pattern("name")?,
            labels: selector("labelSelector")?,
            annotations: selector("annotationSelector")?,
        })
    }

    /// Whether it selects an object of which no more is known than this; none if that cannot be told.
    pub(super) fn may_select(&self, group: &str, kind: &str, name: &str) -> Option<bool> {
        let is_more = self.labels.is_some() || self.annotations.is_some();
        all([
            self.group.matches_one([group]),
            self.kind.matches_one([kind]),
            self.name.matches_one([name]),
            if is_more { None } else { Some(true) },
        ])
    }

    /// Whether it selects an object, by its first or its present name; none if that cannot be told.
    pub(super) fn selects(&self, subject: &Subject) -> Option<bool> {
        self.selects_as(subject, subject.ends())
    }

    /// Whether it may select an object, by any name that it has had.
    pub(super) fn may_have_selected(&self, subject: &Subject) -> bool {
        subject.each_end().any(|end| self.selects_as(subject, [end, end]) != Some(false))
    }

    fn selects_as(&self, subject: &Subject, ends: [(&str, &str); 2]) -> Option<bool> {
        let [(first_namespace, first), (namespace, name)] = ends;
        let labels = self.labels.as_ref().map(|selector| selector.matches(|key| subject.label(key)));
        let annotations = self.annotations.as_ref().map(|selector| selector.matches(|key| subject.annotation(key)));
        all([
            self.group.matches_one([subject.group]),
            self.version.matches_one([&*subject.meta.version]),
            self.kind.matches_one([subject.kind]),
            self.namespace.matches_one([first_namespace, namespace]),
            self.name.matches_one([first, name]),
            labels.unwrap_or(Some(true)),
            annotations.unwrap_or(Some(true)),
        ])
    }
}

/// Whether all hold: one that does not settles it.
fn all(each: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut known = Some(true);
    for one in each {
        match one {
            Some(false) => return Some(false),
            Some(true) => {}
            None => known = None,
        }
    }
    known
}

/// A regex that Kustomize anchors at both ends.
#[derive(Debug)]
enum Pattern {
    Any,
    Text(Box<str>),
    Regex(Arc<str>),
    /// One that is not understood here.
    Unknown,
}

impl Pattern {
    fn new(source: &Source, text: &str) -> Self {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_/:".contains(c);
        if text.is_empty() {
            return Self::Any;
        }
        if text.chars().all(is_plain) {
            return Self::Text(text.into());
        }
        let text = format!("^(?:{text})$").into();
        if source.takes(&text) && Matcher::of(&text).is_ok() { Self::Regex(text) } else { Self::Unknown }
    }

    /// Whether it matches one of them.
    fn matches_one<const N: usize>(&self, values: [&str; N]) -> Option<bool> {
        match self {
            Self::Any => Some(true),
            Self::Text(text) => Some(values.contains(&&**text)),
            Self::Regex(text) => {
                let matcher = Matcher::of(text).ok()?;
                Some(values.iter().any(|value| matcher.matches(value)))
            }
            Self::Unknown => None,
        }
    }
}

/// A label selector of Kubernetes.
#[derive(Debug)]
struct Selector(Vec<Requirement>);

#[derive(Debug)]
enum Requirement {
    In(Box<str>, Vec<Box<str>>),
    NotIn(Box<str>, Vec<Box<str>>),
    There(Box<str>),
    NotThere(Box<str>),
    Unknown,
}

impl Selector {
    fn new(text: &str) -> Self {
        let mut depth = 0;
        let parts = text.split(|c| {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            c == ',' && depth == 0
        });
        Self(parts.map(str::trim).filter(|part| !part.is_empty()).map(Requirement::new).collect())
    }

    /// `get` has the value of a key, if there is one; none if that is not known.
    fn matches<'v>(&self, get: impl Fn(&str) -> Option<Option<&'v str>>) -> Option<bool> {
        let is_in = |key: &str, values: &[Box<str>]| {
            Some(get(key)?.is_some_and(|has| values.iter().any(|value| **value == *has)))
        };
        all(self.0.iter().map(|requirement| match requirement {
            Requirement::In(key, values) => is_in(key, values),
            Requirement::NotIn(key, values) => is_in(key, values).map(|is_in| !is_in),
            Requirement::There(key) => Some(get(key)?.is_some()),
            Requirement::NotThere(key) => Some(get(key)?.is_none()),
            Requirement::Unknown => None,
        }))
    }
}

impl Requirement {
    fn new(text: &str) -> Self {
        let is_key =
            |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        let one = |value: &str| vec![value.trim().into()];
        let set = |values: &str| {
            let values = values.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some(values.split(',').map(|value| value.trim().into()).collect())
        };
        let words = |word: &str| {
            let (key, values) = text.split_once(word)?;
            Some((key.trim(), set(values)?)).filter(|(key, _)| is_key(key))
        };
        if let Some((key, values)) = words(" notin") {
            return Self::NotIn(key.into(), values);
        }
        if let Some((key, values)) = words(" in") {
            return Self::In(key.into(), values);
        }
        if let Some(key) = text.strip_prefix('!').map(str::trim).filter(|key| is_key(key)) {
            return Self::NotThere(key.into());
        }
        for (sign, is_not) in [("!=", true), ("==", false), ("=", false)] {
            if let Some((key, value)) = text.split_once(sign).filter(|(key, _)| is_key(key.trim())) {
                let key = key.trim().into();
                return if is_not { Self::NotIn(key, one(value)) } else { Self::In(key, one(value)) };
            }
        }
        if is_key(text) { Self::There(text.into()) } else { Self::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::tree::Tree, *};

    #[rstest::rstest]
    #[case("web", "web", Some(true))]
    #[case("web", "webx", Some(false))]
    #[case("", "x", Some(true))]
    #[case("we.*", "web", Some(true))]
    #[case("^we.*$", "we", Some(true))]
    #[case("we.+", "we", Some(false))]
    #[case("web|api", "webx", Some(false))]
    #[case("web|api", "xapi", Some(false))]
    #[case("web|api", "api", Some(true))]
    #[case("(a|b)-web", "b-web", Some(true))]
    #[case("(?:a|b)-web", "c-web", Some(false))]
    #[case("w.b", "wxb", Some(true))]
    #[case("w\\.b", "wxb", Some(false))]
    #[case("web[0-9]", "web3", Some(true))]
    #[case("web[^0-9]", "web3", Some(false))]
    #[case("webs?", "web", Some(true))]
    #[case("web(s)?", "web", Some(true))]
    #[case("web[0-9]+", "web3x", Some(false))]
    #[case("\\w{2,}", "web", Some(true))]
    #[case("(\\w{1,99}){1,99}", "web", None)]
    #[case("(web", "web", None)]
    #[case("[", "web", None)]
    fn a_pattern_matches_whole_names(#[case] pattern: &str, #[case] name: &str, #[case] expected: Option<bool>) {
        let tree = Tree::parse("").unwrap();
        assert_eq!(Pattern::new(&Source::file(&tree), pattern).matches_one([name]), expected);
    }

    #[test]
    fn a_file_has_100_patterns_and_what_another_selects_cannot_be_told() {
        let tree = Tree::parse("").unwrap();
        let source = Source::file(&tree);
        let matches = |pattern: &str| Pattern::new(&source, pattern).matches_one(["web"]);
        assert!((0..100).all(|n| matches(&format!("x.*{n}")) == Some(false)));
        assert_eq!((matches("w.*"), matches("x.*1"), matches("web")), (None, Some(false), Some(true)));
    }

    #[rstest::rstest]
    #[case("track=canary", Some(true))]
    #[case("track==canary, app = web", Some(true))]
    #[case("track!=canary", Some(false))]
    #[case("other!=x,!other", Some(true))]
    #[case("track", Some(true))]
    #[case("!track", Some(false))]
    #[case("track in (stable, canary),app", Some(true))]
    #[case("track notin (stable,canary)", Some(false))]
    #[case("other in (x)", Some(false))]
    #[case("n > 1", None)]
    #[case("n > 1,track=stable", Some(false))]
    #[case("lost=x", None)]
    #[case("lost!=x,track", None)]
    #[case("!lost,track=stable", Some(false))]
    fn a_selector_is_kubernetes_own(#[case] selector: &str, #[case] expected: Option<bool>) {
        let get = |key: &str| match key {
            "lost" => None,
            _ => Some([("track", "canary"), ("app", "web")].into_iter().find(|(k, _)| *k == key).map(|(_, v)| v)),
        };
        assert_eq!(Selector::new(selector).matches(get), expected);
    }
}
