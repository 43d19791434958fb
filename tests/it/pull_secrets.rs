//! Whose credentials are shown to a registry: a namespace's own, and the operator's only where it is named.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    attacks,
    control_plane::{Namespace, shared},
    eventually,
    objects::{deployment, event_says, policy, runs},
    operator::{Operator, Setup},
    registry::{Access, Image, Options, PASSWORD, Registry, USER, docker_config},
    token_server::{Rules, TokenServer},
    victim::Victim,
};

async fn secret(namespace: &Namespace<'_>, host: &str, user: &str, password: &str) {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson", "metadata": {"name": "pull"},
        "stringData": {".dockerconfigjson": docker_config(host, user, password)},
    });
    namespace.create(&object.to_string()).await;
}

fn with_secret(mut object: Value) -> String {
    object["spec"]["template"]["spec"]["imagePullSecrets"] = json!([{"name": "pull"}]);
    object.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_namespace_reads_with_its_own_secret_and_the_operators_serves_whom_it_names() {
    let users = [("anna", "annas-password"), ("bert", "berts-password"), ("operator", "operators-password")];
    let known = users.map(|(user, password)| (user.to_owned(), password.to_owned()));
    let server = TokenServer::start_with(Rules { users: known.into(), ..Rules::default() }).await;
    let registry = Registry::start_with(Options { access: Access::Token(server.clone()), ..Options::default() }).await;
    let plane = shared().await;
    let (a, b) = (plane.namespace("ps-anna").await, plane.namespace("ps-bert").await);
    let (named, other) = (plane.namespace("ps-named").await, plane.namespace("ps-other").await);
    let image = |path: &str, tag: &str| format!("{}/{path}:{tag}", registry.host);
    for path in ["team/a", "team/b", "team/both", "team/named", "team/other"] {
        registry.push(path, "1.0.0", &Image::unique()).await;
        registry.push(path, "1.0.1", &Image::unique()).await;
    }
    secret(&a, &registry.host, users[0].0, users[0].1).await;
    secret(&b, &registry.host, users[1].0, users[1].1).await;
    for (namespace, own) in [(&a, "team/a"), (&b, "team/b")] {
        for path in [own, "team/both"] {
            let name = path.replace('/', "-");
            namespace.create(&with_secret(deployment(&name, &image(path, "1.0.0"), policy("patch")))).await;
        }
    }
    named.create(&deployment("web", &image("team/named", "1.0.0"), policy("patch")).to_string()).await;
    other.create(&deployment("web", &image("team/other", "1.0.0"), policy("patch")).to_string()).await;
    // The secret of another namespace, by its name, is not to be had.
    other.create(&with_secret(deployment("borrower", &image("team/both", "1.0.0"), policy("patch")))).await;
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("docker.json");
    std::fs::write(&credentials, docker_config(&registry.host, users[2].0, users[2].1)).unwrap();
    let file = folder.path().join("config.yaml");
    let config = json!({"registries": [{
        "host": registry.host, "insecure": true, "credentials": {"file": credentials}, "namespaces": ["ps-named*"],
    }]});
    std::fs::write(&file, config.to_string()).unwrap();
    let setup = Setup::in_namespace(&a, "1s").with(&[
        "-n",
        &b.name,
        "-n",
        &named.name,
        "-n",
        &other.name,
        "--config",
        file.to_str().unwrap(),
    ]);
    let operator = Operator::start(plane, &setup).await;

    runs(&a, "team-a", &[&image("team/a", "1.0.1")]).await;
    runs(&b, "team-b", &[&image("team/b", "1.0.1")]).await;
    runs(&a, "team-both", &[&image("team/both", "1.0.1")]).await;
    runs(&b, "team-both", &[&image("team/both", "1.0.1")]).await;
    runs(&named, "web", &[&image("team/named", "1.0.1")]).await;
    event_says(&other, "web", "registry-auth").await;
    event_says(&other, "borrower", "registry-auth").await;
    runs(&other, "web", &[&image("team/other", "1.0.0")]).await;
    runs(&other, "borrower", &[&image("team/both", "1.0.0")]).await;

    let shown: BTreeSet<(String, String)> = server
        .asked()
        .into_iter()
        .map(|asked| {
            let scope = url::form_urlencoded::parse(asked.query.as_bytes()).find(|(key, _)| key == "scope").unwrap().1;
            (scope.split(':').nth(1).unwrap().to_owned(), asked.user)
        })
        .filter(|(_, user)| !user.is_empty())
        .collect();
    let wanted = [
        ("team/a", "anna"),
        ("team/b", "bert"),
        ("team/both", "anna"),
        ("team/both", "bert"),
        ("team/named", "operator"),
    ];
    assert_eq!(shown, wanted.map(|(path, user)| (path.to_owned(), user.to_owned())).into());
    let log = operator.process.output();
    for (user, password) in users {
        assert!(!log.contains(password), "the password of {user} is in the log");
        let encoded = docker_config("x", user, password);
        let encoded = encoded.split('"').nth(7).unwrap();
        assert!(encoded.len() > 20 && !log.contains(encoded), "the password of {user} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_names_thousands_of_secrets_holds_up_no_other() {
    let registry = Registry::start_with(Options { access: Access::Password, ..Options::default() }).await;
    let plane = shared().await;
    let (greedy, victim) = (plane.namespace("ps-greedy").await, plane.namespace("ps-victim").await);
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    registry.push("web", "1.0.0", &Image::unique()).await;
    let with = |name: &str, count: usize| attacks::pull_secrets(name, count, &image("1.0.0"));
    attacks::create(&greedy, [with("endless", 15_000)]).await;
    attacks::create(&greedy, (0..60).map(|n| with(&format!("more-{n}"), 20))).await;
    let hooked = Victim::new("ps-hooked").await;
    let setup = hooked.beside(Setup::in_namespace(&greedy, "1s").with(&["-n", &victim.name]));
    let operator = Operator::start(plane, &setup).await;
    let reads = || {
        let audited = plane.audit(&operator.user).into_iter().map(|audited| audited.uri);
        audited.filter(|uri| uri.contains("/secrets/") && uri.contains(&greedy.name)).collect::<Vec<_>>()
    };
    eventually("the line is long", async || (reads().len() >= 15).then_some(())).await;
    hooked.is_served("1.0.1").await;

    registry.push("web", "1.0.1", &Image::unique()).await;
    secret(&victim, &registry.host, USER, PASSWORD).await;
    victim.create(&with_secret(deployment("web", &image("1.0.0"), policy("patch")))).await;
    runs(&victim, "web", &[&image("1.0.1")]).await;
    let reads = reads();
    event_says(&greedy, "endless", "secrets-left-out").await;
    let endless = reads.iter().filter(|uri| uri.contains("/endless-")).collect::<BTreeSet<_>>();
    assert!(endless.len() <= 20, "{} names of one workload were read", endless.len());
    assert!(reads.len() < 1200, "the other one waited for all of them");
    let log = operator.process.output();
    let longest = log.lines().map(str::len).max().unwrap_or_default();
    assert!(longest < 4 << 10, "a line of {longest} bytes is logged");
}
