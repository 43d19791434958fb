//! What may go wrong at a forge, in words for people: the forge's own among them, capped and escaped, and never a
//! token.

use std::time::Duration;

use serde_json::Value;

use crate::net::foreign;

/// Why a forge did not do what was asked. Only [`Limited`](Self::Limited) and [`Unavailable`](Self::Unavailable) pass
/// by themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForgeError {
    /// It asked for fewer requests.
    #[error("{host} asked for fewer requests; nothing is sent to it for another {} s", after.as_secs().max(1))]
    Limited {
        /// Which one.
        host: String,
        /// For how long nothing is sent to it, from now.
        after: Duration,
    },
    /// It will not do that: its words.
    #[error("{0}")]
    Refused(String),
    /// No connection, a timeout, a 5xx, not yet, or an answer that breaks the protocol or a limit.
    #[error("{0}")]
    Unavailable(String),
    /// The token is missing, refused, or may not do that (401, 403).
    #[error("{0}")]
    Auth(String),
    /// No such repository, branch or request, or none that the token may see.
    #[error("{0}")]
    NotFound(String),
}

/// The words of an answer in JSON: GitHub's `message` and `errors`, GitLab's `message`, which may be a list or an
/// object, or `error`, Gitea's `message`. None of anything else, which may be any page.
pub(super) fn words(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let mut found = Vec::new();
    for key in ["message", "error", "error_description", "errors"] {
        collect(&answer[key], &mut found);
    }
    found.dedup();
    Some(foreign(&found.join("; "))).filter(|words| !words.is_empty())
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.trim().is_empty() => found.push(text.trim().to_owned()),
        Value::Array(values) => values.iter().take(10).for_each(|value| collect(value, found)),
        Value::Object(object) => match (&value["message"], &value["field"], &value["code"]) {
            (Value::String(message), ..) => found.push(message.clone()),
            (_, Value::String(field), Value::String(code)) => found.push(format!("{field}: {code}")),
            _ => {
                for (key, value) in object.iter().take(10) {
                    let mut inner = Vec::new();
                    collect(value, &mut inner);
                    found.extend(inner.into_iter().map(|text| format!("{key}: {text}")));
                }
            }
        },
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(
        r#"{"message":"Validation Failed","errors":[{"resource":"PullRequest","code":"custom","message":"A pull request already exists for o:b."}]}"#,
        "Validation Failed; A pull request already exists for o:b."
    )]
    #[case(
        r#"{"message":"Validation Failed","errors":[{"resource":"P","field":"base","code":"invalid"}]}"#,
        "Validation Failed; base: invalid"
    )]
    #[case(
        r#"{"message":["Another open merge request already exists: !4"]}"#,
        "Another open merge request already exists: !4"
    )]
    #[case(r#"{"message":{"title":["is too long"]}}"#, "title: is too long")]
    #[case(
        r#"{"error":"insufficient_scope","error_description":"The request requires api"}"#,
        "insufficient_scope; The request requires api"
    )]
    #[case(r#"{"message":"a\u001b[31m\nb"}"#, "a\\u{1b}[31m b")]
    fn every_forges_words_are_found(#[case] body: &str, #[case] want: &str) {
        assert_eq!(words(body.as_bytes()).as_deref(), Some(want));
    }

    #[test]
    fn a_page_is_no_words_and_long_words_end() {
        assert_eq!(words(b"<html>secret</html>"), None);
        assert_eq!(words(b"{}"), None);
        let long = words(format!(r#"{{"message":"{}"}}"#, "ä".repeat(2000)).as_bytes()).unwrap();
        assert!(long.len() <= 1024 && long.ends_with('…'));
    }
}
