//! `min-age` everywhere: what remembering the age of two hundred thousand tags takes, and when what is old enough goes.

use std::time::Duration;

use futures::{StreamExt, stream};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use supercargo::domain::{image::Digest, update::hash};

use crate::{
    Table,
    fleet::{AT_ONCE, Fleet, REPOSITORIES, TAGS},
    latency::updated,
    milliseconds,
    program::Program,
    records, start,
    support::control_plane::{ADMIN, request},
};

const MIN_AGE: &str = "supercargo.dev/min-age";
const DAYS: i64 = 3;
/// Versions that are old enough one after the other.
const ROUNDS: usize = 10;

pub(crate) async fn run(fleet: &Fleet, table: &mut Table) {
    let without = records::settled(fleet).await;
    fleet.default_annotation(MIN_AGE, json!(format!("{DAYS}d"))).await;
    remember(fleet).await;
    let with = records::settled(fleet).await;
    let what = format!("{} workloads with `min-age`, {REPOSITORIES} repositories of {TAGS} tags", fleet.size);
    table.noted(format!("{what}: resident memory, without and with it"), format!("{without:.1} MB, {with:.1} MB"));
    table.bounded(format!("{what}: resident memory, more than without"), with - without, 20.0, " MB");
    start::against(fleet, table, &what, &[HISTORIES], 1.7).await;
    open(fleet, table).await;
    fleet.default_annotation(MIN_AGE, Value::Null).await;
}

/// In the namespace that the kubeconfig means.
const HISTORIES: &str = "/apis/supercargo.dev/v1alpha1/namespaces/default/imagehistories";

/// When every tag of every repository was first seen.
async fn remember(fleet: &Fleet) {
    eprintln!("remembering {} tags", REPOSITORIES * TAGS);
    let client = fleet.plane.client(ADMIN).await;
    let now = Timestamp::now();
    let of = async |n: usize| {
        let seen = |tag: usize| {
            let first_seen = now - SignedDuration::from_hours(tag as i64);
            json!({"tag": format!("1.5.{tag}"), "digest": digest(n * TAGS + tag), "firstSeen": first_seen})
        };
        write(&client, fleet, &fleet.repository(n), (0..TAGS).map(seen).collect()).await;
    };
    stream::iter((0..REPOSITORIES).map(of)).buffer_unordered(AT_ONCE).for_each(async |()| ()).await;
}

fn digest(n: usize) -> Digest {
    Digest::parse(&format!("sha256:{n:064x}")).unwrap()
}

async fn write(client: &kube::Client, fleet: &Fleet, repository: &str, tags: Vec<Value>) {
    let repository = format!("{}/{repository}", fleet.registry.host);
    let name = hash(std::iter::once(repository.clone()));
    let object = json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "ImageHistory", "metadata": {"name": &*name},
        "spec": {"repository": repository},
    });
    let send = async |method: Method, path: String, object: Value| {
        request(client, method, &path, Some(&object)).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    };
    send(Method::POST, HISTORIES.to_owned(), object).await;
    send(Method::PATCH, format!("{HISTORIES}/{name}/status"), json!({"status": {"tags": tags}})).await;
}

/// From the time at which a version is old enough to the patched workload.
async fn open(fleet: &Fleet, table: &mut Table) {
    let (program, _) = Program::start(&fleet.plane, "1h").await;
    program.looked(fleet.repositories()).await;
    let client = fleet.plane.client(ADMIN).await;
    let mut longest = Duration::ZERO;
    for round in 0..ROUNDS {
        let (repository, tag) = (format!("ages/r{round}"), format!("1.0.{}", round + 1));
        let digest = fleet.registry.push_tags(&repository, [&tag]).await;
        let opens = Timestamp::now() + SignedDuration::from_secs(3);
        let first_seen = opens - SignedDuration::from_hours(DAYS * 24);
        write(&client, fleet, &repository, vec![json!({"tag": tag, "digest": digest, "firstSeen": first_seen})]).await;
        let position = program.process.output().len();
        let path = fleet.add(&format!("ages-{round}"), &repository, "1.0.0").await;
        let patched = updated(&program, position, &tag).await;
        let late = patched.duration_since(opens);
        assert!(late >= SignedDuration::ZERO, "{tag} went before its time");
        longest = longest.max(late.unsigned_abs());
        fleet.plane.request(Method::DELETE, &path, None).await.unwrap();
    }
    table.bounded(
        format!("a version is old enough → patched, longest of {ROUNDS}"),
        milliseconds(longest),
        2000.0,
        " ms",
    );
}
