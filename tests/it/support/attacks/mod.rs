//! What a tenant, who may edit Deployments in one namespace, or a stranger does: `tests/it` lays one beside a neighbour,
//! the siege of `tests/soak` all of them, for longer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    response::IntoResponse as _,
    routing::get,
};
use futures::{StreamExt as _, stream};
use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    control_plane::{ADMIN, Namespace, request},
    free_port,
    front::{Front, Way},
    objects::{deployment, policy, workload},
    registry::Registry,
    victim::hooked,
};

pub(crate) mod git;
pub(crate) mod names;

/// Creates Deployments, some at a time.
pub(crate) async fn create(namespace: &Namespace<'_>, objects: impl IntoIterator<Item = Value>) {
    let client = namespace.plane.client(ADMIN).await;
    let path = format!("/apis/apps/v1/namespaces/{}/deployments", namespace.name);
    stream::iter(objects)
        .for_each_concurrent(8, async |object| {
            let created = request(&client, Method::POST, &path, Some(&object)).await;
            _ = created.unwrap_or_else(|error| panic!("POST {path}: {error}"));
        })
        .await;
}

/// Deployments of a hundred containers each, whose images are these.
pub(crate) fn hundreds(name: &str, images: &[String]) -> Vec<Value> {
    images.chunks(100).enumerate().map(|(n, images)| hundred(&format!("{name}-{n}"), policy("patch"), images)).collect()
}

/// One with the containers `c0`, `c1`, ….
fn hundred(name: &str, annotations: Value, images: &[String]) -> Value {
    let names: Vec<String> = (0..images.len()).map(|n| format!("c{n}")).collect();
    let containers: Vec<(&str, &str)> =
        names.iter().zip(images).map(|(name, image)| (name.as_str(), image.as_str())).collect();
    workload("Deployment", name, annotations, &containers)
}

/// Images at `127.1.0.1`, `127.1.0.2`, …: all of them are this machine.
fn at_addresses(count: usize, port: u16) -> Vec<String> {
    (0..count).map(|n| format!("127.1.{}.{}:{port}/r:1.0.0", n / 250, n % 250 + 1)).collect()
}

/// Containers at hosts that take connections and never answer.
pub(crate) async fn slow_hosts(count: usize) -> Vec<Value> {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    hundreds("slow", &at_addresses(count, port))
}

/// Containers at hosts that refuse connections.
pub(crate) fn refusing_hosts(count: usize) -> Vec<Value> {
    hundreds("refusing", &at_addresses(count, free_port()))
}

/// Workloads of one container each, at as many hosts, which keep connections open for as long as they are let; and how
/// often each was asked.
pub(crate) async fn keeping_hosts(count: usize) -> (Vec<Value>, Arc<Mutex<HashMap<String, usize>>>) {
    let asked = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let counted = asked.clone();
    let app = Router::new().fallback(move |headers: HeaderMap| {
        *counted.lock().unwrap().entry(headers["host"].to_str().unwrap().to_owned()).or_default() += 1;
        std::future::ready(r#"{"tags": ["1.0.0"]}"#)
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    let images = at_addresses(count, port);
    let objects =
        images.iter().enumerate().map(|(n, image)| deployment(&format!("keeping-{n}"), image, policy("patch")));
    (objects.collect(), asked)
}

/// What an operator is started through ([`super::operator::Setup::through`]) so that it may have so many files open.
pub(crate) fn with_files(count: usize) -> Vec<String> {
    ["sh", "-c", &format!("ulimit -n {count}; exec \"$@\""), "-"].map(str::to_owned).into()
}

/// Containers at registries that each give a token of that many bytes; and how many were given.
pub(crate) async fn long_tokens(count: usize, length: usize) -> (Vec<Value>, Arc<AtomicUsize>) {
    let given = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let counted = given.clone();
    let token = async move || {
        counted.fetch_add(1, Ordering::SeqCst);
        json!({"token": "t".repeat(length), "expires_in": 3600}).to_string()
    };
    let list = async |headers: HeaderMap| match headers.get("authorization") {
        Some(_) => r#"{"tags": ["1.0.0"]}"#.into_response(),
        None => {
            let challenge = format!("Bearer realm=\"http://{}/token\"", headers["host"].to_str().unwrap());
            (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response()
        }
    };
    let app = Router::new().route("/token", get(token)).fallback(list);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (hundreds(&format!("tokens-{length}"), &at_addresses(count, port)), given)
}

/// A hundred containers of one image, each with a pattern that counted repetition makes much of.
pub(crate) fn patterns(n: usize, image: &str) -> Value {
    let regex = |c: usize| format!("regex:(?P<order>[0-9]{{1,9}})-x{n}c{c}-[a-z]{{1,200}}");
    let annotations = (0..100).map(|c| (format!("supercargo.dev/policy.c{c}"), json!(regex(c)))).collect();
    hundred(&format!("patterns-{n}"), annotations, &vec![image.to_owned(); 100])
}

/// A workload that is polled at another time than the next one.
pub(crate) fn cron_line(n: usize, image: &str) -> Value {
    let mut annotations = policy("patch");
    annotations["supercargo.dev/poll"] = json!(format!("{} {} * * *", n % 60, n / 60 % 24));
    deployment(&format!("cron-{n}"), image, annotations)
}

/// A workload that names that many pull secrets, none of which is there.
pub(crate) fn pull_secrets(name: &str, count: usize, image: &str) -> Value {
    let mut object = deployment(name, image, policy("patch"));
    let names: Value = (0..count).map(|n| json!({"name": format!("{name}-{n}")})).collect();
    object["spec"]["template"]["spec"]["imagePullSecrets"] = names;
    object
}

/// What [`long_annotations`] counts of each workload, in bytes.
pub(crate) const LONG_ANNOTATIONS: usize = 60_086;

/// A workload with annotations that are nearly as long as may be.
pub(crate) fn long_annotations(name: &str, image: &str) -> Value {
    let mut annotations = hooked();
    for key in ["a", "b", "c", "d"] {
        annotations[format!("keel.sh/{key}")] = json!(key.repeat(15_000));
    }
    deployment(name, image, annotations)
}

/// Workloads of one image, so that a push makes all of them due.
pub(crate) fn due_at_once(count: usize, image: &str) -> Vec<Value> {
    (0..count).map(|n| deployment(&format!("due-{n}"), image, hooked())).collect()
}

/// Before a registry: asks for a year's rest where its repository `greedy` is asked for.
pub(crate) async fn year_of_rest(registry: &Registry) -> Front {
    let way = |path: &str| match path.starts_with("/v2/greedy/") {
        true => Way::Later(365 * 24 * 3600),
        false => Way::Pass,
    };
    Front::start_with(registry, way).await
}

/// The workload that has its image there.
pub(crate) fn greedy(host: &str) -> Value {
    deployment("greedy", &format!("{host}/greedy:1.0.0"), policy("patch"))
}
