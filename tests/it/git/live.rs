//! What a cluster shows of patched manifests and of updates of which a part is left out.

use serde_json::json;

use crate::support::{
    commits::{config_with, manifest, setup, setup_with},
    control_plane::shared,
    eventually,
    git_server::GitServer,
    gitea,
    objects::{event_says, runs, workload},
    operator::Operator,
    registry::Registry,
};

/// An operation on the image, or one that puts another container or another list there, has the last word.
#[rstest::rstest]
#[case::image("{op: replace, path: /spec/template/spec/containers/0/image, value: 'IMAGE'}")]
#[case::container("{op: replace, path: /spec/template/spec/containers/0, value: {name: web, image: 'IMAGE'}}")]
#[case::list("{op: replace, path: /spec/template/spec/containers, value: [{name: web, image: 'IMAGE'}]}")]
#[tokio::test(flavor = "multi_thread")]
async fn what_an_operation_puts_there_is_edited_for_a_workload_of_a_cluster(#[case] operation: &str) {
    let (plane, registry, folder) = (shared().await, Registry::start().await, tempfile::tempdir().unwrap());
    let (server, namespace) = (GitServer::start().await, plane.namespace("operations").await);
    let image = |tag: &str| format!("{}/team/web:{tag}", registry.host);
    // The base has another tag, which stays.
    let base = manifest(&namespace, "web", &image("0.9.0"));
    let operation = operation.replace("IMAGE", &image("1.0.0"));
    let kustomization =
        format!("resources: [web.yaml]\npatches:\n- target: {{kind: Deployment}}\n  patch: |-\n    - {operation}\n");
    let files = [("apps/web.yaml", base.as_bytes()), ("apps/kustomization.yaml", kustomization.as_bytes())];
    let repo = server.create("deploy", &files);
    registry.push_tags("team/web", ["0.9.0", "1.0.0", "1.1.0"]).await;
    let annotations = json!({"supercargo.dev/policy": "minor", "supercargo.dev/write": "git:prod"});
    namespace.create(&workload("Deployment", "web", annotations, &[("web", &image("1.0.0"))]).to_string()).await;
    let _operator = Operator::start(plane, &setup(&namespace, folder.path(), &server.url("deploy"))).await;

    let said = event_says(&namespace, "web", "commit ").await;
    assert!(said.contains("apps/kustomization.yaml:5"), "{said}");
    let text = |path: &str| String::from_utf8(repo.read(path)).unwrap();
    assert_eq!(text("apps/kustomization.yaml"), kustomization.replace("1.0.0", "1.1.0"));
    assert_eq!((text("apps/web.yaml"), repo.log().len()), (base, 2));
    runs(&namespace, "web", &[&image("1.0.0")]).await;
}

/// One container cannot be brought: the request has the other alone and says so, until what stands in the way is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_brings_a_part_and_the_rest_when_it_can() {
    let (plane, registry, folder) = (shared().await, Registry::start().await, tempfile::tempdir().unwrap());
    let (gitea, namespace) = (gitea::shared().await, plane.namespace("partly").await);
    let image = |name: &str, tag: &str| format!("{}/team/{name}:{tag}", registry.host);
    let pair = |web: &str, side: &str| {
        let more = format!("      - name: side\n        image: {}\n", image("side", side));
        manifest(&namespace, "pair", &image("web", web)) + &more
    };
    let repo = gitea.repository("partly", &[("apps/pair.yaml", pair("1.0.0", "${SIDE}").as_bytes())]).await;
    let bot = gitea.bot().await;
    repo.invite(&bot).await;
    for name in ["web", "side"] {
        registry.push_tags(&format!("team/{name}"), ["1.0.0", "1.1.0"]).await;
    }
    let annotations = json!({"supercargo.dev/policy": "minor", "supercargo.dev/write": "pr:prod"});
    let (web, side) = (image("web", "1.0.0"), image("side", "1.0.0"));
    namespace.create(&workload("Deployment", "pair", annotations, &[("web", &web), ("side", &side)]).to_string()).await;
    let config =
        config_with(folder.path(), &namespace.name, &repo.url(), (&*bot.name, &*bot.token), "  forge: gitea\n");
    let operator = Operator::start(plane, &setup_with(&namespace, folder.path(), &config)).await;

    let request = eventually("a request is open", async || repo.pulls().await.pop()).await;
    let said = event_says(&namespace, "pair", "without the container side").await;
    let url = request["html_url"].as_str().unwrap();
    for words in [url, "${SIDE}` is filled in from elsewhere", "apps/pair.yaml:12"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let branch = repo.bare("supercargo/prod/updates");
    let text = || String::from_utf8(branch.read("apps/pair.yaml")).unwrap();
    assert_eq!(text(), pair("1.1.0", "${SIDE}"));
    let body = request["body"].as_str().unwrap();
    assert!(body.contains("team/web:1.1.0") && !body.contains("team/side"), "{body}");

    // Written out, it comes into the same request.
    repo.commit(&[("apps/pair.yaml", Some(pair("1.0.0", "1.0.0").as_bytes()))], "Write it out").await;
    eventually("both", async || (text() == pair("1.1.0", "1.1.0")).then_some(())).await;
    assert_eq!(repo.pulls().await.len(), 1);
    assert!(!operator.process.output().contains(&bot.token));
}
