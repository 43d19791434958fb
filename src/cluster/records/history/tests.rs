//! What is written is read, and whatever else stands there breaks nothing.

use proptest::prelude::*;

use super::*;

const AT: &str = "2026-03-01T08:00:00Z";

fn repository() -> Repository {
    Repository::parse("registry.test/team/web").unwrap()
}

fn sighting(tag: &str, pushed: bool) -> Sighting {
    let digest = Digest::parse(&format!("sha256:{}", "0a".repeat(32))).unwrap();
    let at = AT.parse().unwrap();
    Sighting { tag: Tag::parse(tag).unwrap(), digest, first_seen: at, pushed: pushed.then_some(at) }
}

fn object(status: &Value) -> Value {
    let metadata = json!({"name": name(&repository()), "namespace": "supercargo", "resourceVersion": "7"});
    json!({"metadata": metadata, "spec": {"repository": repository().to_string()}, "status": status})
}

fn read_value(object: &Value) -> Result<(Repository, There), String> {
    read(&serde_json::from_str(&object.to_string()).unwrap())
}

#[test]
fn what_is_written_is_read_and_what_is_not_ours_stays() {
    let sightings = [sighting("1.0", false), sighting("1.1", true)];
    let more = json!({"votes": [{"by": "ann"}]}).as_object().unwrap().clone();
    let written = status(&sightings, more.clone());
    assert_eq!(written["tags"][0], json!({"tag": "1.0", "digest": sightings[0].digest, "firstSeen": AT}));
    assert_eq!(written["tags"][1]["pushed"], AT);
    let (of, there) = read_value(&object(&written)).unwrap();
    assert_eq!((of, there.sightings, there.more), (repository(), sightings.to_vec(), more));
}

#[test]
fn two_repositories_have_two_names_however_they_are_spelt() {
    let name = |text: &str| name(&Repository::parse(text).unwrap());
    assert_eq!(name("nginx"), name("index.docker.io/library/nginx"));
    assert_ne!(name("r.io/a-b"), name("r.io/a/b"));
    assert_eq!(name("r.io/a").len(), 16);
}

#[test]
fn what_cannot_be_read_of_a_list_is_passed_over() {
    let good = json!({"tag": "1.0", "digest": sighting("1.0", false).digest, "firstSeen": AT});
    let with = |key: &str, value: Value| {
        let mut entry = good.clone();
        entry[key] = value;
        entry
    };
    let odd = [
        with("tag", json!("no tag at all")),
        with("tag", json!(7)),
        with("digest", json!("sha256:none")),
        with("firstSeen", json!("yesterday")),
        with("firstSeen", Value::Null),
        with("pushed", json!("yesterday")),
        json!("1.0"),
        Value::Null,
        good.clone(),
    ];
    let (_, there) = read_value(&object(&json!({"tags": odd}))).unwrap();
    assert_eq!(there.sightings, [sighting("1.0", false)]);
    for tags in [Value::Null, json!("none"), json!({})] {
        assert!(read_value(&object(&json!({"tags": tags}))).unwrap().1.sightings.is_empty());
    }
    assert!(read_value(&object(&Value::Null)).unwrap().1.sightings.is_empty());
    let (_, there) = read_value(&object(&json!({"tags": vec![good; 2 * MOST]}))).unwrap();
    assert_eq!(there.sightings.len(), MOST);
}

#[rstest::rstest]
#[case("/spec/repository", json!("registry.test/team/api"), "the one of registry.test/team/api would have the name ")]
#[case("/spec/repository", json!("No Repository"), "spec.repository: `No Repository` is no repository")]
#[case("/metadata/name", json!("web"), "the one of registry.test/team/web would have the name ")]
#[case("/spec", json!({}), "spec.repository: ")]
#[case("/spec", json!(7), "invalid type")]
#[case("/status", json!("seen"), "invalid type")]
fn what_is_none_of_ours_is_told_from_the_rest(#[case] at: &str, #[case] value: Value, #[case] words: &str) {
    let mut object = object(&Value::Null);
    *object.pointer_mut(at).unwrap() = value;
    let why = read_value(&object).err().unwrap();
    assert!(why.starts_with(words), "{why}");
}

fn arb_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("tags|tag|digest|firstSeen|pushed|repository", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_object_breaks_the_reader(
        odd in arb_json(), at in prop::sample::select(vec!["", "/metadata", "/spec", "/spec/repository", "/status", "/status/tags"]),
    ) {
        let mut object = object(&json!({"tags": []}));
        *object.pointer_mut(at).unwrap() = odd;
        _ = read_value(&object);
    }
}
