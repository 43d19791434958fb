//! What images say of their origin, read from the real CNCF registry.

use serde_json::{Value, json};
use supercargo::{
    domain::{hint::Source, image::ImageRef},
    ports::{Origin, Registry as _, RegistryErrorKind},
    registry::RegistrySettings,
};

use super::{Bench, anonymous, failed, with_secrets};
use crate::support::registry::{
    Access, Image, OCI_INDEX, OCI_MANIFEST, Options, PASSWORD, Registry, USER, built_from, docker_config,
};

const HERE: (&str, &str) = ("https://a.example/o/r", "1111111");
const THERE: (&str, &str) = ("https://b.example/o/r", "2222222");

fn origin((source, revision): (&str, &str)) -> Origin {
    Origin { source: Some(source.to_owned()), revision: Some(revision.to_owned()) }
}

fn pairs((source, revision): (&str, &str)) -> Vec<(String, Value)> {
    built_from(source, revision)
}

async fn read(bench: &Bench, source: &Source, image: &str) -> Origin {
    bench.client.origin(source, &ImageRef::parse(image).unwrap()).await.unwrap()
}

#[tokio::test]
async fn labels_come_first_then_annotations_of_the_manifest_then_of_the_index() {
    let registry = Registry::start().await;
    let source_only = || pairs(HERE)[..1].to_vec();
    let images = [
        ("labels", Image { labels: pairs(HERE), annotations: pairs(THERE), ..Image::unique() }),
        ("annotations", Image { annotations: pairs(THERE), ..Image::unique() }),
        ("whole", Image { labels: source_only(), annotations: pairs(THERE), ..Image::unique() }),
        ("source", Image { labels: source_only(), ..Image::unique() }),
        ("nothing", Image::unique()),
    ];
    for (tag, image) in &images {
        registry.push("web", tag, image).await;
    }
    let bench = Bench::new(RegistrySettings::default());
    let source = anonymous(registry.repository("web"));
    let name = |tag: &str| format!("{}/web:{tag}", registry.host);
    assert_eq!(read(&bench, &source, &name("labels")).await, origin(HERE));
    assert_eq!((bench.requests("manifest"), bench.requests("blob")), (1, 1));
    assert_eq!(read(&bench, &source, &name("annotations")).await, origin(THERE));
    // The pair of one place, not a mixture.
    assert_eq!(read(&bench, &source, &name("whole")).await, origin(THERE));
    let source_only = Origin { source: Some(HERE.0.to_owned()), revision: None };
    assert_eq!(read(&bench, &source, &name("source")).await, source_only);
    assert_eq!(read(&bench, &source, &name("nothing")).await, Origin::default());

    let of = |platform: &str, labels| Image { platform: platform.into(), labels, ..Image::unique() };
    let children = [of("unknown/unknown", pairs(THERE)), of("linux/arm64", pairs(HERE)), of("linux/amd64", vec![])];
    let labelled = registry.push_index("web", "index", &children).await;
    assert_eq!(read(&bench, &source, &name("index")).await, origin(HERE));
    let index = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX, "annotations": Value::from_iter(pairs(THERE)),
        "manifests": [{"mediaType": OCI_MANIFEST, "digest": registry.push("web", "child", &Image::unique()).await, "size": 1}],
    });
    registry.put_manifest("web", "index", OCI_INDEX, index.to_string().into_bytes()).await;
    assert_eq!(read(&bench, &source, &name("index")).await, origin(THERE));
    // By the digest, where there is one: the tag has moved since.
    assert_eq!(read(&bench, &source, &format!("{}@{labelled}", name("index"))).await, origin(HERE));
    let latest = Image { labels: pairs(THERE), ..Image::unique() };
    registry.push("web", "latest", &latest).await;
    assert_eq!(read(&bench, &source, &format!("{}/web", registry.host)).await, origin(THERE));
}

#[rstest::rstest]
#[case(json!(null))]
#[case(json!(7))]
#[case(json!({"a": "b"}))]
#[case(json!(""))]
#[case(json!("x".repeat(1025)))]
#[tokio::test]
async fn what_is_no_text_or_too_long_is_not_there(#[case] value: Value) {
    let registry = Registry::start().await;
    let labels = ["source", "revision"].map(|key| (format!("org.opencontainers.image.{key}"), value.clone())).to_vec();
    let odd = Image { labels: labels.clone(), ..Image::created("2026-01-01T00:00:00Z") };
    registry.push("web", "1", &odd).await;
    registry.push("web", "2", &Image { labels, annotations: pairs(HERE), ..Image::unique() }).await;
    let bench = Bench::new(RegistrySettings::default());
    let source = anonymous(registry.repository("web"));
    assert_eq!(read(&bench, &source, &format!("{}/web:1", registry.host)).await, Origin::default());
    assert_eq!(read(&bench, &source, &format!("{}/web:2", registry.host)).await, origin(HERE));
    // It takes nothing else away.
    let times = bench.client.image(&source, &super::tag("1")).await.unwrap();
    assert_eq!(times.created.unwrap().to_string(), "2026-01-01T00:00:00Z");
}

#[tokio::test]
async fn it_is_read_with_the_credentials_of_the_source_and_no_others() {
    let registry = Registry::start_with(Options { access: Access::Password, ..Options::default() }).await;
    registry.push("web", "1", &Image { labels: pairs(HERE), ..Image::unique() }).await;
    let bench = Bench::new(RegistrySettings::default());
    bench.secrets.set("anna/pull", docker_config(&registry.host, USER, PASSWORD));
    let image = format!("{}/web:1", registry.host);
    let of = |namespace| with_secrets(registry.repository("web"), namespace, &["pull"]);
    assert_eq!(read(&bench, &of("anna"), &image).await, origin(HERE));
    let image = ImageRef::parse(&image).unwrap();
    for other in [of("bert"), anonymous(registry.repository("web"))] {
        assert_eq!(failed(bench.client.origin(&other, &image).await, "gives no access"), RegistryErrorKind::Auth);
    }
}
