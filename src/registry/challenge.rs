//! `WWW-Authenticate`: how a registry wants to know who asks.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use url::Url;

/// The longest text of a challenge that is looked at.
const MAX: usize = 8 * 1024;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token of a token server.
    Bearer(Bearer),
}

/// Where a token is to be had, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) realm: Url,
    pub(super) service: Option<String>,
    /// Names what the token is for; some registries leave it out.
    pub(super) scope: Option<String>,
}

/// The challenge of an answer. Where there are several, Bearer is taken before Basic.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let found: Vec<Challenge> = texts.filter(|text| text.len() <= MAX).flat_map(parse).collect();
    let bearer = found.iter().find(|c| matches!(c, Challenge::Bearer(_)));
    bearer.or_else(|| found.first()).cloned()
}

/// The challenges of one header that we know.
fn parse(text: &str) -> Vec<Challenge> {
    let mut found = vec![];
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (scheme, after) = token(rest);
        if scheme.is_empty() {
            return found;
        }
        let (parameters, after) = parameters(after);
        rest = after;
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer") {
            let value = |name: &str| {
                let of_name = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                of_name.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
            };
            let realm = value("realm").and_then(|realm| Url::parse(&realm).ok());
            if let Some(realm) = realm.filter(Url::has_host) {
                found.push(Challenge::Bearer(Bearer { realm, service: value("service"), scope: value("scope") }));
            }
        }
    }
}

/// `key=value` pairs up to the next scheme.
fn parameters(mut text: &str) -> (Vec<(&str, String)>, &str) {
    let mut found = vec![];
    loop {
        let start = text.trim_start_matches([' ', '\t', ',']);
        let (key, after) = token(start);
        let Some(value) = after.trim_start().strip_prefix('=').filter(|_| !key.is_empty()) else {
            return (found, start);
        };
        let value = value.trim_start();
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = value.find([',', ' ', '\t']).unwrap_or(value.len());
                (value[..end].to_owned(), &value[end..])
            }
        };
        found.push((key, value));
        text = after;
    }
}

/// A word at the start of `text`, and what follows. What can start neither a word nor anything else is skipped.
fn token(text: &str) -> (&str, &str) {
    let word = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
    let end = text.find(|c| !word(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// A quoted text up to its closing quote, and what follows.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, &text[at + 1..]),
            c => {
                value.push(c);
                escaped = false;
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(headers: &[&str]) -> Option<Challenge> {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(WWW_AUTHENTICATE, header.parse().unwrap());
        }
        challenge(&map)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let text = |t: Option<&str>| t.map(str::to_owned);
        let realm = Url::parse(realm).unwrap();
        Some(Challenge::Bearer(Bearer { realm, service: text(service), scope: text(scope) }))
    }

    #[rstest::rstest]
    #[case(&[r#"Bearer realm="https://a.io/t",service="reg",scope="repository:p/a:pull""#])]
    #[case(&[r#"bearer Realm = "https://a.io/t" , SERVICE=reg, scope="repository:p/a:pull", error="x, y=z""#])]
    #[case(&[r#"Basic realm="b", Bearer realm="https://a.io/t",service="reg",scope="repository:p/a:pull""#])]
    #[case(&["Basic realm=b", r#"Bearer realm="https:\/\/a.io/t",service="reg",scope="repository:p/a:pull""#])]
    #[case(&["Negotiate", "Negotiate abc==", r#"Bearer realm="https://a.io/t",service="reg",scope="repository:p/a:pull""#])]
    fn a_bearer_challenge_is_read(#[case] headers: &[&str]) {
        assert_eq!(of(headers), bearer("https://a.io/t", Some("reg"), Some("repository:p/a:pull")));
    }

    #[test]
    fn a_challenge_may_lack_service_and_scope() {
        assert_eq!(of(&[r#"Bearer realm="https://a.io/t?x=1""#]), bearer("https://a.io/t?x=1", None, None));
    }

    #[rstest::rstest]
    #[case(&["Basic"], Some(Challenge::Basic))]
    #[case(&[r#"BASIC realm="r""#], Some(Challenge::Basic))]
    #[case(&[r#"Bearer realm="not a url", Basic realm=x"#], Some(Challenge::Basic))]
    #[case(&[r#"Bearer realm="mailto:x""#], None)]
    #[case(&["Bearer"], None)]
    #[case(&["Digest realm=x"], None)]
    #[case(&[""], None)]
    #[case(&[], None)]
    fn what_is_left_is_basic_or_nothing(#[case] headers: &[&str], #[case] expected: Option<Challenge>) {
        assert_eq!(of(headers), expected);
    }

    proptest! {
        #[test]
        fn no_header_panics_or_hangs(text in r#"(Bearer|Basic|[a-zA-Z ]{0,4}|[ ,="\\/:é]{0,3}|realm|scope){0,20}"#) {
            let _ = parse(&text);
        }
    }
}
