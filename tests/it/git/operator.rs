//! `write: git:<target>` from the push of an image to the commit, and on until the cluster runs it.

use serde_json::json;

use crate::support::{
    commits::{config, config_with, manifest, setup, setup_with},
    control_plane::{ADMIN, shared},
    eventually,
    git_server::{BareRepo, GitServer, Options},
    gitea,
    objects::{deployment, event_says, runs},
    operator::{Operator, Setup, supercargo},
    registry::{Image, Registry},
};

fn annotations(write: &str) -> serde_json::Value {
    json!({"supercargo.dev/policy": "minor", "supercargo.dev/write": write})
}

async fn commits(repo: &BareRepo, count: usize) {
    eventually(&format!("{count} commits"), async || (repo.log().len() == count).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_image_is_committed_and_followed_until_the_cluster_runs_it() {
    let (plane, registry, folder) = (shared().await, Registry::start().await, tempfile::tempdir().unwrap());
    let password = Some(("bot".to_owned(), "geheim-4711".to_owned()));
    let server = GitServer::start_with(Options { password, ..Options::default() }).await;
    let namespace = plane.namespace("git").await;
    let image = |tag: &str| format!("{}/team/web:{tag}", registry.host);
    let before = manifest(&namespace, "web", &image("1.0.0"));
    let repo = server.create("deploy", &[("apps/web.yaml", before.as_bytes()), ("other/web.yaml", before.as_bytes())]);
    registry.push("team/web", "1.0.0", &Image::unique()).await;
    namespace.create(&deployment("web", &image("1.0.0"), annotations("git:prod")).to_string()).await;
    let setup = setup(&namespace, folder.path(), &server.url("deploy"));
    registry.push("team/web", "1.1.0", &Image::unique()).await;

    // `plan` says where, and changes nothing.
    let kubeconfig = plane.kubeconfig(ADMIN);
    let args = ["plan", "-n", &namespace.name, "-o", "json", "--kubeconfig", kubeconfig.to_str().unwrap()];
    let planned = supercargo(&[&args[..], &["--config", "config.yaml"]].concat(), folder.path());
    let said = String::from_utf8(planned.stdout).unwrap();
    assert!(
        said.contains("git-edit") && said.contains("apps/web.yaml:10"),
        "{said} {}",
        String::from_utf8_lossy(&planned.stderr)
    );
    assert_eq!(repo.log().len(), 1);

    let operator = Operator::start(plane, &setup).await;
    commits(&repo, 2).await;
    assert_eq!(String::from_utf8(repo.read("apps/web.yaml")).unwrap(), before.replace("1.0.0", "1.1.0"));
    assert_eq!(repo.read("other/web.yaml"), before.as_bytes(), "outside the target's paths");
    let log = repo.log();
    assert!(log[0].message.contains("1.0.0 to 1.1.0") && log[0].message.contains("Supercargo-Update: "), "{log:?}");
    assert_eq!(log[0].author, "supercargo <supercargo@localhost>");
    let message = event_says(&namespace, "web", &log[0].id[..12]).await;
    assert!(message.contains("apps/web.yaml:10"), "{message}");

    // The cluster still runs the old one: nothing is committed twice, nothing is patched.
    let looks = operator.metric("supercargo_registry_requests_total", "tags").await;
    eventually("two more looks", async || {
        (operator.metric("supercargo_registry_requests_total", "tags").await >= looks + 2.0).then_some(())
    })
    .await;
    assert_eq!(repo.log().len(), 2);
    runs(&namespace, "web", &[&image("1.0.0")]).await;

    // The deployer does its part.
    let containers = json!([{"name": "web", "image": image("1.1.0")}]);
    namespace.merge("deployments", "web", json!({"spec": {"template": {"spec": {"containers": containers}}}})).await;
    eventually("the operator says that it runs", async || {
        let said = operator.process.output();
        said.lines().any(|line| line.contains("\"updated\"") && line.contains("1.1.0")).then_some(())
    })
    .await;
    registry.push("team/web", "1.2.0", &Image::unique()).await;
    commits(&repo, 3).await;
    assert_eq!(String::from_utf8(repo.read("apps/web.yaml")).unwrap(), before.replace("1.0.0", "1.2.0"));
    eventually("it counts both", async || {
        (operator.metric("supercargo_updates_total", "committed").await == 2.0).then_some(())
    })
    .await;

    let said = operator.process.output();
    assert!(!said.contains("geheim") && !said.contains("Z2VoZWlt"), "{said}");
    let mut clones = std::fs::read_dir(folder.path().join("cache")).unwrap().map(|entry| entry.unwrap().path());
    let clone = clones.find(|path| path.is_dir()).unwrap();
    let settings = std::fs::read_to_string(clone.join("config")).unwrap();
    assert!(!settings.contains("geheim") && !settings.to_lowercase().contains("authorization"), "{settings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_image_is_proposed_and_followed_through_the_merge_until_the_cluster_runs_it() {
    let (plane, registry, folder) = (shared().await, Registry::start().await, tempfile::tempdir().unwrap());
    let gitea = gitea::shared().await;
    let namespace = plane.namespace("git-pr").await;
    let image = |tag: &str| format!("{}/team/web:{tag}", registry.host);
    let before = manifest(&namespace, "web", &image("1.0.0"));
    let repo = gitea.repository("proposed", &[("apps/web.yaml", before.as_bytes())]).await;
    let bot = gitea.bot().await;
    repo.invite(&bot).await;
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    namespace.create(&deployment("web", &image("1.0.0"), annotations("pr:prod")).to_string()).await;
    let user = (&*bot.name, &*bot.token);
    let config = config_with(folder.path(), &namespace.name, &repo.url(), user, "  forge: gitea\n");
    let operator = Operator::start(plane, &setup_with(&namespace, folder.path(), &config)).await;

    let request = eventually("a request is open", async || repo.pulls().await.pop()).await;
    let message = event_says(&namespace, "web", request["html_url"].as_str().unwrap()).await;
    assert!(message.contains("apps/web.yaml:10") && message.contains("request-open"), "{message}");
    assert_eq!(repo.bare("main").read("apps/web.yaml"), before.as_bytes());
    // A newer one comes into the same request.
    registry.push("team/web", "1.2.0", &Image::unique()).await;
    let branch = repo.bare("supercargo/prod/updates");
    let after = before.replace("1.0.0", "1.2.0");
    eventually("the newer one", async || (branch.read("apps/web.yaml") == after.as_bytes()).then_some(())).await;
    assert_eq!(repo.pulls().await.len(), 1);

    repo.merge(request["number"].as_u64().unwrap(), "merge").await;
    // It looks at the forge again half a minute after it was there last.
    event_says(&namespace, "web", "the branch main of the Git target prod has it").await;
    let containers = json!([{"name": "web", "image": image("1.2.0")}]);
    namespace.merge("deployments", "web", json!({"spec": {"template": {"spec": {"containers": containers}}}})).await;
    eventually("the operator says that it runs", async || {
        let said = operator.process.output();
        said.lines().any(|line| line.contains("\"updated\"") && line.contains("1.2.0")).then_some(())
    })
    .await;
    assert_eq!((repo.pulls().await.len(), repo.bare("main").read("apps/web.yaml")), (1, after.into_bytes()));
    assert!(!operator.process.output().contains(&bot.token));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_serves_only_the_namespaces_it_names() {
    let (plane, registry, folder) = (shared().await, Registry::start().await, tempfile::tempdir().unwrap());
    let server = GitServer::start().await;
    let namespace = plane.namespace("git-stranger").await;
    let image = format!("{}/team/web:1.0.0", registry.host);
    let repo = server.create("deploy", &[("apps/web.yaml", manifest(&namespace, "web", &image).as_bytes())]);
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    namespace.create(&deployment("web", &image, annotations("git:prod")).to_string()).await;
    let config = config(folder.path(), "somebody-else", &server.url("deploy"));
    let setup = Setup::in_namespace(&namespace, "1s").with(&["--config", config.to_str().unwrap()]);
    let _operator = Operator::start(plane, &setup).await;
    let message = event_says(&namespace, "web", "target-refused").await;
    assert!(message.contains("does not serve the namespace"), "{message}");
    assert_eq!((repo.log().len(), server.requests().len()), (1, 0));
}
