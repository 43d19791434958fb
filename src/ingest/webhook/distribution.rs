//! Notifications of the CNCF registry (distribution): an envelope of events.
//!
//! A `push` of a manifest counts. Not so blobs, which no workload names, nor `pull` (our own polling comes back as
//! pulls), `mount` and `delete`. The host is the one by which the registry was asked, as that is how its users, and so
//! their workloads, write it; the URL's host, which the registry's configuration may set, stands in for it.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Push, Sample, Sender, WebhookError, auth::Proof, host_of, parse_json};
use crate::domain::image::ImageRef;

pub(super) const SENDER: Sender = Sender { name: "distribution", proofs: &[Proof::Header], parse, sample };

#[derive(Deserialize)]
struct Envelope<'a> {
    /// Each is read alone: one that is odd must not hold up the others, as the registry sends what is refused again
    /// and again, and everything after it waits.
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Event {
    action: Option<String>,
    #[serde(default)]
    target: EventTarget,
    #[serde(default)]
    request: Request,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct EventTarget {
    media_type: Option<String>,
    repository: Option<String>,
    tag: Option<String>,
    digest: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize, Default)]
struct Request {
    host: Option<String>,
}

fn parse(_: &HeaderMap, body: &[u8]) -> Result<Vec<Push>, WebhookError> {
    let envelope: Envelope = parse_json(body, "a notification of a CNCF registry, `{\"events\": […]}`")?;
    Ok(envelope.events.iter().filter_map(|event| push(serde_json::from_str(event.get()).ok()?)).collect())
}

/// `None` for what is no push of a manifest.
fn push(event: Event) -> Option<Push> {
    let target = event.target;
    if event.action.as_deref() != Some("push") || !is_manifest(&target) {
        return None;
    }
    let asked = event.request.host.filter(|host| !host.is_empty());
    let host = asked.or_else(|| host_of(target.url.as_deref()?));
    Some(Push { host, path: target.repository?, tag: target.tag, digest: target.digest })
}

fn sample(image: &ImageRef) -> Result<Sample, &'static str> {
    let target = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "repository": image.repository.path(), "tag": image.tag, "digest": image.digest,
    });
    let event = json!({"action": "push", "request": {"host": image.repository.host()}, "target": target});
    Ok(Sample { headers: &[], body: json!({"events": [event]}).to_string() })
}

/// Blobs are `application/octet-stream` and have no tag. What has a tag is a manifest, whatever its type.
fn is_manifest(target: &EventTarget) -> bool {
    let kind = target.media_type.as_deref().unwrap_or_default();
    target.tag.as_deref().is_some_and(|tag| !tag.is_empty())
        || kind.contains("manifest")
        || kind.contains("image.index")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::{
        domain::hint::Hint,
        ingest::webhook::{Hosts, MAX_HINTS, read},
    };

    fn hints(body: impl AsRef<[u8]>) -> Result<Vec<String>, WebhookError> {
        let message = read(&SENDER, &Hosts::default(), &HeaderMap::new(), body.as_ref())?;
        let show = |hint: &Hint| {
            let tag = hint.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
            format!("{}{tag}", hint.repository)
        };
        Ok(message.hints.iter().map(show).collect())
    }

    fn event(action: &str, host: Value, target: Value) -> Value {
        json!({"action": action, "request": {"host": host}, "target": target})
    }

    fn envelope(events: &[Value]) -> String {
        json!({"events": events}).to_string()
    }

    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

    #[rstest::rstest]
    #[case::tag("push", json!({"mediaType": OCI, "repository": "a/b", "tag": "1.0"}), Some("r.io/a/b:1.0"))]
    #[case::digest("push", json!({"mediaType": OCI, "repository": "a/b"}), Some("r.io/a/b"))]
    #[case::no_type("push", json!({"repository": "a/b", "tag": "1.0"}), Some("r.io/a/b:1.0"))]
    #[case::index("push", json!({"mediaType": "application/vnd.oci.image.index.v1+json", "repository": "a"}), Some("r.io/a"))]
    #[case::blob("push", json!({"mediaType": "application/octet-stream", "repository": "a/b"}), None)]
    #[case::bad_tag("push", json!({"mediaType": OCI, "repository": "a/b", "tag": "../x"}), None)]
    #[case::bad_repository("push", json!({"mediaType": OCI, "repository": "A B", "tag": "1"}), None)]
    #[case::pull("pull", json!({"mediaType": OCI, "repository": "a/b", "tag": "1.0"}), None)]
    #[case::mount("mount", json!({"mediaType": OCI, "repository": "a/b", "tag": "1.0"}), None)]
    #[case::delete("delete", json!({"repository": "a/b", "tag": "1.0"}), None)]
    fn only_a_pushed_manifest_is_a_hint(#[case] action: &str, #[case] target: Value, #[case] want: Option<&str>) {
        let body = envelope(&[event(action, json!("r.io"), target)]);
        assert_eq!(hints(body).unwrap(), Vec::from_iter(want));
    }

    #[rstest::rstest]
    #[case::as_asked(json!("r.io:5000"), "https://x.io/v2/a", Some("r.io:5000/a:1"))]
    #[case::url(json!(null), "https://x.io/v2/a", Some("x.io/a:1"))]
    #[case::url_port(json!(""), "http://[::1]:5000/v2/a", Some("[::1]:5000/a:1"))]
    #[case::localhost(json!("localhost"), "", Some("localhost/a:1"))]
    #[case::no_host(json!(null), "/v2/a", None)]
    #[case::bare_name(json!("registry"), "", None)]
    #[case::hostile(json!("r.io@evil.io"), "", None)]
    fn the_host_is_the_one_that_users_write(#[case] host: Value, #[case] url: &str, #[case] want: Option<&str>) {
        let body = envelope(&[event("push", host, json!({"repository": "a", "tag": "1", "url": url}))]);
        assert_eq!(hints(body).unwrap(), Vec::from_iter(want));
    }

    #[test]
    fn many_events_are_many_hints_and_the_same_one_is_one() {
        let push = |tag: &str| event("push", json!("r.io"), json!({"mediaType": OCI, "repository": "a", "tag": tag}));
        let body = envelope(&[push("1"), push("2"), json!(7), json!({"action": []}), push("1"), push("2"), push("3")]);
        assert_eq!(hints(body).unwrap(), ["r.io/a:1", "r.io/a:2", "r.io/a:3"]);
    }

    #[test]
    fn hints_beyond_the_cap_are_counted_and_dropped() {
        let push = |n: usize| event("push", json!("r.io"), json!({"repository": "a", "tag": n.to_string()}));
        let body = envelope(&(0..MAX_HINTS + 5).map(push).collect::<Vec<_>>());
        let message = read(&SENDER, &Hosts::default(), &HeaderMap::new(), body.as_bytes()).unwrap();
        assert_eq!((message.hints.len(), message.dropped), (MAX_HINTS, 5));
    }

    #[rstest::rstest]
    #[case("")]
    #[case("null")]
    #[case("[]")]
    #[case("{}")]
    #[case(r#"{"events": null}"#)]
    #[case(r#"{"events": "s3cret"}"#)]
    #[case(r#"{"events": [}"#)]
    fn another_body_is_not_understood_and_not_quoted(#[case] body: &str) {
        let error = hints(body).unwrap_err().to_string();
        assert!(error.starts_with("not a notification of a CNCF registry") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn every_truncation_of_a_body_is_refused() {
        let body = envelope(&[event("push", json!("r.io"), json!({"repository": "a", "tag": "1"}))]);
        for end in 0..body.len() {
            assert!(hints(&body[..end]).is_err(), "{}", &body[..end]);
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            Just("push".to_owned()),
            Just(OCI.to_owned()),
            Just("r.io".to_owned()),
            Just("https://r.io:1/v2/a".to_owned()),
            ".{0,12}",
        ];
        let leaf = prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), text.prop_map(Value::from)];
        let key = proptest::sample::select(vec![
            "events",
            "action",
            "target",
            "request",
            "mediaType",
            "repository",
            "tag",
            "url",
            "host",
        ]);
        leaf.prop_recursive(4, 64, 8, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((key.clone(), inner), 0..8)
                    .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = hints(body);
        }

        #[test]
        fn whatever_the_events_hold_the_envelope_is_understood(
            events in proptest::collection::vec(any_value(), 0..6),
        ) {
            let hints = hints(json!({"events": events}).to_string());
            prop_assert!(hints.is_ok_and(|hints| hints.len() <= events.len()));
        }

        #[test]
        fn no_json_panics(value in any_value()) {
            let understood = hints(value.to_string()).is_ok();
            prop_assert!(understood || !value.get("events").is_some_and(Value::is_array));
        }
    }
}
