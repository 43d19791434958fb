//! One place that makes the images of two workloads: it moves only if both wish the same.

use std::fmt::Write as _;

use serde_json::json;

use super::{
    alone::{command, once},
    target::text,
};
use crate::support::{
    commits::setup,
    control_plane::shared,
    eventually,
    git_server::{BareRepo, GitServer},
    objects::{deployment, event_says},
    operator::Operator,
    registry::{Image, Registry},
};

/// How the image of both overlays is defined.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// A line of the base.
    Line,
    /// An entry of `images` in a kustomization under both.
    Entry,
}

/// A base under the overlays `test` and `prod`; `stays` are annotations of the second.
fn repository(server: &GitServer, image: &str, place: Place, stays: &str) -> BareRepo {
    let tag = if place == Place::Line { "1.0.0" } else { "0.1.0" };
    let web = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, annotations: {{supercargo.dev/policy: minor}}}}\n\
         spec: {{template: {{spec: {{containers: [{{name: web, image: '{image}:{tag}'}}]}}}}}}\n"
    );
    let mut base = "resources: [web.yaml]\n".to_owned();
    if place == Place::Entry {
        writeln!(base, "images: [{{name: '{image}', newTag: 1.0.0}}]").unwrap();
    }
    let patch = format!("{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web, annotations: {{{stays}}}}}}}");
    let prod = format!("namespace: prod\nresources: [../base]\npatches: [{{patch: '{patch}'}}]\n");
    server.create(
        "deploy",
        &[
            ("base/web.yaml", web.as_bytes()),
            ("base/kustomization.yaml", base.as_bytes()),
            ("test/kustomization.yaml", b"namespace: test\nresources: [../base]\n"),
            ("prod/kustomization.yaml", prod.as_bytes()),
        ],
    )
}

#[rstest::rstest]
#[case::suspend("supercargo.dev/suspend: \"true\"")]
#[case::never("supercargo.dev/policy: never")]
#[case::nothing_newer_at_its_level("supercargo.dev/policy: patch")]
#[case::ignored("supercargo.dev/ignore: 1.1.*")]
#[case::a_misspelt_key("supercargo.dev/polcy: minor")]
#[case::a_policy_that_is_none("supercargo.dev/policy: mnior")]
#[tokio::test(flavor = "multi_thread")]
async fn what_one_of_two_wants_to_keep_is_not_moved_for_the_other(
    #[case] stays: &str,
    #[values(Place::Line, Place::Entry)] place: Place,
) {
    let (registry, folder, server) = (Registry::start().await, tempfile::tempdir().unwrap(), GitServer::start().await);
    let repo = repository(&server, &format!("{}/team/web", registry.host), place, stays);
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let file = if place == Place::Line { "base/web.yaml" } else { "base/kustomization.yaml" };
    for args in [&["--dry-run"][..], &[]] {
        let (code, table, said) = once(folder.path(), &server.url("deploy"), args);
        let row = |of: &str| table.lines().find(|line| line.starts_with(of)).unwrap().to_owned();
        let (test, prod) = (row("test/Deployment/web"), row("prod/Deployment/web"));
        assert_eq!(code, 1, "{table} {said}");
        for words in ["blocked", file, "prod/Deployment/web", "an entry of `images` in its overlay"] {
            assert!(test.contains(words), "{words}: {table}");
        }
        assert!(prod.contains("test/Deployment/web is to have"), "{table}");
        assert_eq!(repo.log().len(), 1);
    }
}

#[rstest::rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_over_one_of_two_holds_the_place_that_both_share(#[values(Place::Line, Place::Entry)] place: Place) {
    let (registry, folder, server) = (Registry::start().await, tempfile::tempdir().unwrap(), GitServer::start().await);
    let repo = repository(&server, &format!("{}/team/web", registry.host), place, "supercargo.dev/poll: 10m");
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let config = format!(
        "git:\n- {{name: deploy, url: '{}', branch: main, namespaces: ['*']}}\n\
         guards:\n- {{namespaces: [prod], policies: [patch]}}\n",
        server.url("deploy")
    );
    std::fs::write(folder.path().join("config.yaml"), config).unwrap();
    let done = command(folder.path(), "deploy", &["--config", "config.yaml", "--once"]).output().unwrap();
    let table = String::from_utf8(done.stdout).unwrap();
    let test = table.lines().find(|line| line.starts_with("test/Deployment/web")).unwrap();
    assert!(test.contains("blocked") && test.contains("prod/Deployment/web"), "{table}");
    let prod = table.lines().find(|line| line.starts_with("prod/Deployment/web")).unwrap();
    assert!(prod.contains("test/Deployment/web is to have"), "{table}");
    assert_eq!(repo.log().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_wish_the_same_move_together_and_another_wish_holds_both() {
    let (registry, folder, server) = (Registry::start().await, tempfile::tempdir().unwrap(), GitServer::start().await);
    let repo = repository(&server, &format!("{}/team/web", registry.host), Place::Line, "supercargo.dev/policy: major");
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let (code, table, said) = once(folder.path(), &server.url("deploy"), &[]);
    assert!(code == 0 && table.matches(" update ").count() == 2, "{table} {said}");
    assert!(text(&repo, "base/web.yaml").contains("web:1.1.0"));

    registry.push_tags("team/web", ["1.2.0", "2.0.0"]).await;
    let (code, table, said) = once(folder.path(), &server.url("deploy"), &[]);
    assert!(code == 1 && table.matches(" blocked ").count() == 2, "{table} {said}");
    assert!(text(&repo, "base/web.yaml").contains("web:1.1.0"));
}

/// Two tags make no image, and the entry is for one tag only: at another it would be an image again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_image_in_one_of_two_stays_so() {
    let (registry, folder, server) = (Registry::start().await, tempfile::tempdir().unwrap(), GitServer::start().await);
    let image = format!("{}/team/web", registry.host);
    let repo = repository(&server, &image, Place::Line, "supercargo.dev/policy: minor");
    let prod = format!(
        "namespace: prod\nresources: [../base]\nimages: [{{name: '{image}:1.0.0', newName: '{image}:0.9.0', newTag: 0.9.1}}]\n"
    );
    repo.commit(&[("prod/kustomization.yaml", Some(prod.as_bytes()))], "Overlay", "A Person <a@example.com>");
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let (code, table, said) = once(folder.path(), &server.url("deploy"), &[]);
    assert_eq!(code, 1, "{table} {said}");
    let test = table.lines().find(|line| line.starts_with("test/Deployment/web")).unwrap();
    assert!(test.contains("blocked") && test.contains("prod/Deployment/web"), "{table}");
    assert!(text(&repo, "base/web.yaml").contains("web:1.0.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_of_two_workloads_of_a_cluster_waits_until_both_wish_the_same() {
    let (plane, registry, folder) = (shared().await, Registry::start().await, tempfile::tempdir().unwrap());
    let (server, namespace) = (GitServer::start().await, plane.namespace("places").await);
    let image = |tag: &str| format!("{}/team/web:{tag}", registry.host);
    let web = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec: {{template: {{spec: {{containers: [{{name: \
         web, image: '{}'}}]}}}}}}\n",
        image("1.0.0")
    );
    let overlay =
        |suffix: &str| format!("namespace: {}\nnameSuffix: -{suffix}\nresources: [../base]\n", namespace.name);
    let (test, prod) = (overlay("test"), overlay("prod"));
    let repo = server.create(
        "deploy",
        &[
            ("apps/base/web.yaml", web.as_bytes()),
            ("apps/base/kustomization.yaml", b"resources: [web.yaml]\n"),
            ("apps/test/kustomization.yaml", test.as_bytes()),
            ("apps/prod/kustomization.yaml", prod.as_bytes()),
        ],
    );
    registry.push("team/web", "1.0.0", &Image::unique()).await;
    registry.push("team/web", "1.1.0", &Image::unique()).await;
    let own = json!({"supercargo.dev/policy": "minor", "supercargo.dev/write": "git:prod"});
    let mut suspended = own.clone();
    suspended["supercargo.dev/suspend"] = json!("true");
    namespace.create(&deployment("web-test", &image("1.0.0"), own).to_string()).await;
    namespace.create(&deployment("web-prod", &image("1.0.0"), suspended).to_string()).await;
    let setup = setup(&namespace, folder.path(), &server.url("deploy"));
    let _operator = Operator::start(plane, &setup).await;
    let said = event_says(&namespace, "web-test", "git-conflict").await;
    assert!(said.contains("Deployment/web-prod") && said.contains("suspended"), "{said}");
    assert_eq!(repo.log().len(), 1);

    let lifted = json!({"metadata": {"annotations": {"supercargo.dev/suspend": null}}});
    namespace.merge("deployments", "web-prod", lifted).await;
    eventually("one commit for both", async || (repo.log().len() == 2).then_some(())).await;
    assert!(text(&repo, "apps/base/web.yaml").contains("web:1.1.0"));
}

/// What the operator does not know, as it runs in another cluster, is asked for by its Namespace, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_held_by_what_a_namespace_of_another_cluster_asks_for() {
    let (plane, registry, folder) = (shared().await, Registry::start().await, tempfile::tempdir().unwrap());
    let (server, namespace) = (GitServer::start().await, plane.namespace("places").await);
    let image = |tag: &str| format!("{}/team/web:{tag}", registry.host);
    let web = super::alone::deployment("web", &image("1.0.0"));
    let own = format!("namespace: {}\nresources: [../base]\n", namespace.name);
    let suspended = "namespace: elsewhere\nresources: [../base, ns.yaml]\n";
    let of_namespace =
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: x, annotations: {supercargo.dev/suspend: 'true'}}\n";
    let repo = server.create(
        "deploy",
        &[
            ("apps/base/web.yaml", web.as_bytes()),
            ("apps/base/kustomization.yaml", b"resources: [web.yaml]\n"),
            ("apps/own/kustomization.yaml", own.as_bytes()),
            ("apps/elsewhere/kustomization.yaml", suspended.as_bytes()),
            ("apps/elsewhere/ns.yaml", of_namespace.as_bytes()),
        ],
    );
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let annotations = json!({"supercargo.dev/policy": "minor", "supercargo.dev/write": "git:prod"});
    namespace.create(&deployment("web", &image("1.0.0"), annotations).to_string()).await;
    let setup = setup(&namespace, folder.path(), &server.url("deploy"));
    let _operator = Operator::start(plane, &setup).await;
    let said = event_says(&namespace, "web", "git-conflict").await;
    assert!(said.contains("elsewhere/Deployment/web") && said.contains("other annotations"), "{said}");
    assert_eq!(repo.log().len(), 1);
}

/// What the operator does not know goes along, with the same annotations, also where it reaches the place by an alias.
#[tokio::test(flavor = "multi_thread")]
async fn an_alias_of_another_cluster_is_a_second_place_of_the_same_edit() {
    let (plane, registry, folder) = (shared().await, Registry::start().await, tempfile::tempdir().unwrap());
    let (server, namespace) = (GitServer::start().await, plane.namespace("aliases").await);
    let item = |namespace: &str, image: &str| {
        format!(
            "- apiVersion: apps/v1\n  kind: Deployment\n  metadata:\n    name: web\n    namespace: {namespace}\n    annotations: \
             {{supercargo.dev/policy: minor, supercargo.dev/write: 'git:prod'}}\n  spec: {{template: {{spec: {{containers: [{{name: \
             web, image: {image}}}]}}}}}}\n"
        )
    };
    let own = item(&namespace.name, &format!("&image '{}/team/web:1.0.0'", registry.host));
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{own}{}", item("elsewhere", "*image"));
    let repo = server.create("deploy", &[("apps/all.yaml", list.as_bytes())]);
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let annotations = json!({"supercargo.dev/policy": "minor", "supercargo.dev/write": "git:prod"});
    let image = format!("{}/team/web:1.0.0", registry.host);
    namespace.create(&deployment("web", &image, annotations).to_string()).await;
    let setup = setup(&namespace, folder.path(), &server.url("deploy"));
    let _operator = Operator::start(plane, &setup).await;
    eventually("a commit", async || (repo.log().len() == 2).then_some(())).await;
    assert_eq!(text(&repo, "apps/all.yaml"), list.replace("web:1.0.0", "web:1.1.0"));
}

/// Stands for the guard in `git/check.rs` (SECURITY.md): what an edit renders is compared with what was wanted.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_after_which_another_image_would_be_rendered_is_not_made() {
    let (registry, folder, server) = (Registry::start().await, tempfile::tempdir().unwrap(), GitServer::start().await);
    let host = &registry.host;
    let web = super::alone::deployment("web", &format!("{host}/team/web:1.0.0"));
    // The entry is for the tag that the manifest is to have, and gives it another name.
    let layer =
        format!("resources: [web.yaml]\nimages: [{{name: '{host}/team/web:1.1.0', newName: {host}/team/api}}]\n");
    let files = [("web.yaml", web.as_bytes()), ("kustomization.yaml", layer.as_bytes())];
    let repo = server.create("deploy", &files);
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let (code, table, said) = once(folder.path(), &server.url("deploy"), &[]);
    assert!(code == 1 && table.contains("blocked") && table.contains("after the edit"), "{table} {said}");
    assert_eq!(text(&repo, "web.yaml"), web);
}

/// The same where another workload, which goes along with the edit, would get an image that nobody wants.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_edit_would_make_of_another_workload_is_named_with_the_way_out() {
    let (registry, folder, server) = (Registry::start().await, tempfile::tempdir().unwrap(), GitServer::start().await);
    let host = &registry.host;
    let web = super::alone::deployment("web", &format!("{host}/team/web:1.0.0"));
    let web = web.replace("  annotations: {supercargo.dev/policy: minor}\n", "");
    let listed = format!("images: [{{image: {host}/team/web, policy: minor}}]\n");
    let layer = format!(
        "resources: [../base]\nnamespace: b\nimages: [{{name: '{host}/team/web:1.1.0', newName: {host}/team/api, newTag: 2.0.0}}]\n"
    );
    let files = [
        ("supercargo.yaml", &*listed),
        ("base/web.yaml", &web),
        ("base/kustomization.yaml", "resources: [web.yaml]\n"),
        ("a/kustomization.yaml", "resources: [../base]\nnamespace: a\n"),
        ("b/kustomization.yaml", &layer),
    ];
    let repo = server.create("deploy", &files.map(|(path, text)| (path, text.as_bytes())));
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let (code, table, said) = once(folder.path(), &server.url("deploy"), &[]);
    let would = format!(
        "the edit of base/web.yaml:9 would make the image of b/Deployment/web, container web, {host}/team/api:2.0.0, too, \
         where it is {host}/team/web:1.0.0: give one of them a place of its own"
    );
    assert!(code == 1 && table.contains(&would) && !table.contains("report"), "{table} {said}");
    assert_eq!(text(&repo, "base/web.yaml"), web);
}
