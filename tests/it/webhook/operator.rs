//! Webhooks that the program itself hears, beside a real control plane.

use supercargo::ingest::webhook::auth::Hash;

use super::{senders::hex, *};
use crate::support::{
    control_plane::shared,
    front::Front,
    gitea,
    objects::{deployment, rolled_out, runs, written},
    operator::{Operator, Setup},
    victim::hooked,
};

/// Looks at nothing by itself, and knows the secret of this sender.
fn setup(sender: &str, namespace: &crate::support::control_plane::Namespace<'_>) -> Setup {
    let variable = format!("SUPERCARGO_HOOK_SECRET_{}", sender.to_ascii_uppercase());
    Setup { variables: vec![(variable, SECRET.to_owned())], ..Setup::in_namespace(namespace, "1h") }
}

async fn first_looks(operator: &Operator, count: usize) {
    eventually("the first looks", async || {
        (operator.metric("supercargo_registry_requests_total", "class=\"tags\"").await >= count as f64).then_some(())
    })
    .await;
}

/// Tells the operator of these images as a pipeline would.
async fn tell(operator: &Operator, secret: &str, body: &str) -> (u16, Value) {
    let request = client().post(format!("{}/hooks/generic", operator.hooks)).body(body.to_owned());
    answer(request.header("x-signature", format!("sha256={}", hex(Hash::Sha256, secret, body.as_bytes())))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_hook_brings_one_update_and_the_same_again_a_hundred_times_brings_nothing() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("signed-hook").await;
    let front = Front::start(&registry).await;
    for name in ["web", "fence"] {
        registry.push(name, "1.0.0", &Image::unique()).await;
        let image = format!("{}/{name}:1.0.0", front.host);
        namespace.create(&deployment(name, &image, hooked()).to_string()).await;
    }
    let operator = Operator::start(plane, &setup("generic", &namespace)).await;
    first_looks(&operator, 2).await;
    for name in ["web", "fence"] {
        registry.push(name, "1.0.1", &Image::unique()).await;
    }
    let asked = || front.came().into_iter().filter(|came| came.line.contains("/web/")).collect::<Vec<_>>();
    let (before, image) = (asked().len(), |name: &str| format!("{}/{name}:1.0.1", front.host));
    let body = json!({"image": image("web")}).to_string();

    assert_eq!(tell(&operator, "another", &body).await.0, 401);
    for _ in 0..100 {
        assert_eq!(tell(&operator, SECRET, &body).await, (202, json!({"outcome": "queued"})));
    }
    runs(&namespace, "web", &[&image("web")]).await;
    for _ in 0..100 {
        assert_eq!(tell(&operator, SECRET, &body).await, (202, json!({"outcome": "queued"})));
    }
    // With the last hook answered by an update, all before it have been.
    assert_eq!(tell(&operator, SECRET, &json!({"images": [image("fence")]}).to_string()).await.0, 202);
    runs(&namespace, "fence", &[&image("fence")]).await;

    // On a machine where a hundred of them take longer, one each ten seconds.
    let looks = &asked()[before..];
    let far_apart = looks.windows(2).all(|two| two[1].at.duration_since(two[0].at) >= Duration::from_secs(10));
    assert!(!looks.is_empty() && far_apart, "{:?}", front.came());
    assert_eq!(written(plane, &operator.user).len(), 2, "{:?}", written(plane, &operator.user));
}

/// It looks for a webhook only; what that brings is neither what was undone nor what lies between.
#[tokio::test(flavor = "multi_thread")]
async fn an_undo_stays_whatever_a_webhook_tells_until_it_tells_of_a_newer_one() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("hook-undo").await;
    registry.push("web", "1.0.0", &Image::unique()).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    namespace.create(&deployment("web", &image("1.0.0"), hooked()).to_string()).await;
    rolled_out(&namespace, "web").await;
    let operator = Operator::start(plane, &setup("generic", &namespace)).await;
    first_looks(&operator, 1).await;
    let told = async |tag: &str| tell(&operator, SECRET, &json!({"image": image(tag)}).to_string()).await.0;
    let push = async |tag: &str| registry.push("web", tag, &Image::unique()).await;
    push("1.0.2").await;
    assert_eq!(told("1.0.2").await, 202);
    runs(&namespace, "web", &[&image("1.0.2")]).await;
    rolled_out(&namespace, "web").await;

    plane.kubectl(&["-n", &namespace.name, "rollout", "undo", "deployment/web"]);
    eventually("it is held", async || (operator.metric("supercargo_holds", "").await == 1.0).then_some(())).await;
    push("1.0.1").await;
    let requests = async || operator.metric("supercargo_registry_requests_total", "").await;
    let before = requests().await;
    for tag in ["1.0.2", "1.0.1"] {
        assert_eq!(told(tag).await, 202);
    }
    eventually("they had it look", async || (requests().await > before).then_some(())).await;
    push("1.0.3").await;
    assert_eq!(told("1.0.3").await, 202);
    runs(&namespace, "web", &[&image("1.0.3")]).await;
    assert_eq!(written(plane, &operator.user).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_file_names_the_secret_and_the_host_that_images_name() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("hook-host").await;
    registry.push("web", "1.0.0", &Image::unique()).await;
    let written = registry.host.replace("127.0.0.1", "localhost");
    namespace.create(&deployment("web", &format!("{written}/web:1.0.0"), hooked()).to_string()).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (folder.path().join("secret"), folder.path().join("config.yaml"));
    fs::write(&file, SECRET).unwrap();
    let hosts = format!("{{\"{}\": \"{written}\"}}", registry.host);
    fs::write(&config, format!("hooks: {{generic: {{secretFiles: [{}], hosts: {hosts}}}}}\n", file.display())).unwrap();
    let setup = Setup::in_namespace(&namespace, "1h").with(&["--config", config.to_str().unwrap()]);
    let operator = Operator::start(plane, &setup).await;
    first_looks(&operator, 1).await;
    registry.push("web", "1.0.1", &Image::unique()).await;
    let body = json!({"image": format!("{}/web:1.0.1", registry.host)}).to_string();
    assert_eq!(tell(&operator, SECRET, &body).await, (202, json!({"outcome": "queued"})));
    runs(&namespace, "web", &[&format!("{written}/web:1.0.1")]).await;
}

/// A MB is 1,000 kB here.
#[tokio::test(flavor = "multi_thread")]
async fn a_mebibyte_on_each_of_256_connections_of_strangers_takes_at_most_20_mb() {
    let plane = shared().await;
    let namespace = plane.namespace("strangers").await;
    let operator = Operator::start(plane, &setup("generic", &namespace)).await;
    let address = operator.hooks.strip_prefix("http://").unwrap().to_owned();
    // What a first request takes for good is not theirs.
    assert_eq!(tell(&operator, "another", &" ".repeat(1024 * 1024)).await.0, 401);
    fs::write(format!("/proc/{}/clear_refs", operator.process.pid()), "5").unwrap();
    let before = operator.status("VmHWM");
    let head = format!(
        "POST /hooks/generic HTTP/1.1\r\nHost: h\r\nX-Signature: sha256={}\r\nContent-Length: {}\r\n\r\n",
        "0".repeat(64),
        1024 * 1024,
    );
    let body = vec![b' '; 1024 * 1024 - 1];
    // Each reads while it writes: most are told to come again before all of theirs is there.
    let strangers = (0..256).map(|_| async {
        let (mut read, mut write) = TcpStream::connect(&address).await.unwrap().into_split();
        let (head, body) = (&head, &body);
        let writes = async {
            write.write_all(head.as_bytes()).await?;
            write.write_all(body).await?;
            write.write_all(b" ").await
        };
        let mut line = [0; 12];
        let (_, answered) = tokio::join!(writes, read.read_exact(&mut line));
        answered.unwrap();
        String::from_utf8(line.to_vec()).unwrap()
    });
    let answers = futures::future::join_all(strangers).await;
    let count = |status: &str| answers.iter().filter(|line| line.ends_with(status)).count();
    assert!(count("401") > 0 && count("503") > 0 && count("401") + count("503") == 256, "{answers:?}");
    let after = operator.status("VmHWM");
    assert!(after - before <= 20_000, "{before} kB, then {after} kB");
    println!("{} kB for 256 connections", after - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_a_sender_that_knows_its_secret_have_a_total() {
    let plane = shared().await;
    let namespace = plane.namespace("known").await;
    let operator = Operator::start(plane, &setup("acr", &namespace)).await;
    let address = operator.hooks.strip_prefix("http://").unwrap().to_owned();
    fs::write(format!("/proc/{}/clear_refs", operator.process.pid()), "5").unwrap();
    let before = operator.status("VmHWM");
    let length = 1024 * 1024;
    let head = format!(
        "POST /hooks/acr HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {SECRET}\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut held = Vec::new();
    for _ in 0..250 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; length - 1]).await.unwrap();
        held.push(stream);
    }
    let ping = client().post(format!("{}/hooks/acr", operator.hooks)).bearer_auth(SECRET).body(r#"{"action": "ping"}"#);
    assert_eq!(answer(ping).await.0, 202);
    let after = operator.status("VmHWM");
    assert!(after - before <= 60_000, "{before} kB, then {after} kB");
    println!("{} kB for 250 bodies", after - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_the_registry_of_a_real_gitea_is_told_by_its_webhook_and_runs() {
    let (plane, gitea) = (shared().await, gitea::shared().await);
    let namespace = plane.namespace("gitea-hook").await;
    let owner = gitea.bot_with(&["write:package", "write:user"]).await;
    let port = crate::support::free_port();
    gitea.tell_of_packages(&owner, &format!("http://127.0.0.1:{port}/hooks/gitea"), SECRET).await;
    let old = gitea.push_image(&owner, "web", "1.0.0");
    namespace.create(&deployment("web", &old, hooked()).to_string()).await;
    let setup = Setup { hooks_port: Some(port), ..setup("gitea", &namespace) };
    let operator = Operator::start(plane, &setup).await;
    first_looks(&operator, 1).await;

    let new = gitea.push_image(&owner, "web", "1.0.1");

    runs(&namespace, "web", &[&new]).await;
    assert!(operator.metric("supercargo_hooks_total", "outcome=\"queued\"").await >= 1.0);
}
