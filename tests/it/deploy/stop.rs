//! The end: SIGTERM drains, a second signal does not wait.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use super::{EVERYWHERE, plane};
use crate::support::{
    control_plane::audited_user,
    eventually, http,
    objects::{deployment, policy, runs},
    operator::{Operator, Setup},
    registry::{Image, Registry},
};

/// What a pod is given to stop: see terminationGracePeriodSeconds.
const DRAIN: Duration = Duration::from_secs(10);
/// As much more a loaded machine may take.
const SLOW: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_updates_flow_ends_in_time_and_leaves_each_workload_whole() {
    let _others = EVERYWHERE.read().await;
    let (plane, registry) = (plane().await, Registry::start().await);
    let namespace = plane.namespace("stop").await;
    registry.push_tags("web", ["1.0.0", "1.0.1"]).await;
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    let names: Vec<String> = (0..40).map(|n| format!("web-{n}")).collect();
    for name in &names {
        namespace.create(&deployment(name, &image("1.0.0"), policy("patch")).to_string()).await;
    }
    let mut operator = Operator::spawn(plane, &Setup::in_namespace(&namespace, "1h"));
    eventually("an update", async || operator.process.output().contains(r#""message":"updated""#).then_some(())).await;

    operator.process.signal("TERM");
    let status = timeout(DRAIN + SLOW, operator.process.wait()).await.expect("it ends in time");

    assert_eq!(status.code(), Some(0), "{}", operator.process.output());
    let requests = plane.audit(&operator.user);
    let mut updated = 0;
    for name in &names {
        let to_it = |uri: &str| uri.contains(&format!("/deployments/{name}?"));
        let patches = requests.iter().filter(|r| r.verb == "patch" && to_it(&r.uri)).count();
        let object = namespace.get("deployments", name).await;
        let container = &object["spec"]["template"]["spec"]["containers"][0];
        let done = container["image"] == image("1.0.1");
        assert_eq!(patches, usize::from(done), "{name}");
        assert_eq!(object["metadata"]["annotations"]["supercargo.dev/last-update"].is_string(), done, "{name}");
        updated += usize::from(done);
    }
    assert!(updated > 0);

    // What was left is done after the next start, and nothing twice.
    let _next = Operator::start(plane, &Setup::in_namespace(&namespace, "1h")).await;
    for name in &names {
        runs(&namespace, name, &[&image("1.0.1")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_an_unanswered_write_holds_up_ends_in_time_and_at_once_by_a_second_signal() {
    let _others = EVERYWHERE.read().await;
    let (plane, registry) = (plane().await, Registry::start().await);
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    registry.push("web", "1.0.0", &Image::unique()).await;
    let (mut operators, mut proxies) = (Vec::new(), Vec::new());
    for hint in ["once", "twice"] {
        let namespace = plane.namespace(hint).await;
        namespace.create(&deployment("web", &image("1.0.0"), policy("patch")).to_string()).await;
        let proxy = Proxy::start(plane.url().trim_start_matches("https://").to_owned()).await;
        let mut setup = Setup::in_namespace(&namespace, "1s");
        let kubeconfig = plane.kubeconfig(&audited_user());
        let text = std::fs::read_to_string(&kubeconfig).unwrap().replace(&plane.url(), &proxy.url);
        std::fs::write(&kubeconfig, text).unwrap();
        setup.kubeconfig = Some(kubeconfig);
        let operator = Operator::start(plane, &setup).await;
        eventually("the first look", async || {
            (operator.metric("supercargo_registry_requests_total", "tags").await >= 1.0).then_some(())
        })
        .await;
        operators.push(operator);
        proxies.push(proxy);
    }
    for proxy in &proxies {
        proxy.open.send_replace(false);
    }
    registry.push("web", "1.0.1", &Image::unique()).await;
    for proxy in &proxies {
        let mut held = proxy.held.subscribe();
        timeout(Duration::from_secs(30), held.wait_for(|held| *held)).await.expect("a write begins").unwrap();
    }

    for operator in &operators {
        operator.process.signal("TERM");
        eventually("it waits for the write", async || {
            operator.process.output().contains("stopping: writes under way").then_some(())
        })
        .await;
        let answer = http().get(format!("{}/livez", operator.private)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "probes are answered until the end");
    }
    let [once, twice] = &mut operators[..] else { panic!("two") };
    twice.process.signal("TERM");
    // Who waits until the 10 s are over ends with 0.
    assert_eq!(twice.process.wait().await.code(), Some(1));
    let status = timeout(DRAIN + SLOW, once.process.wait()).await.expect("it ends after 10 s");
    assert_eq!(status.code(), Some(0));
    assert!(once.process.output().contains("stopped before all writes had ended"));
}

/// Stands before the API server, and lets nothing through while it is closed.
struct Proxy {
    url: String,
    open: watch::Sender<bool>,
    /// Whether the client has sent something that is held back.
    held: watch::Sender<bool>,
}

impl Proxy {
    async fn start(target: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (open, held) = (watch::Sender::new(true), watch::Sender::new(false));
        let (opened, holding) = (open.clone(), held.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&target).await else { continue };
                let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                let (mut opened, mut also_opened, holding) = (opened.subscribe(), opened.subscribe(), holding.clone());
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
                        if !*opened.borrow() {
                            holding.send_replace(true);
                        }
                        if opened.wait_for(|open| *open).await.is_err()
                            || to_server.write_all(&buffer[..n]).await.is_err()
                        {
                            break;
                        }
                    }
                });
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
                        let closed = also_opened.wait_for(|open| *open).await.is_err();
                        if closed || to_client.write_all(&buffer[..n]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { url, open, held }
    }
}
