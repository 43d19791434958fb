//! What is remembered of ten thousand workloads: what it takes of the program's memory.

use std::time::Duration;

use futures::{StreamExt, stream};
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Table,
    fleet::{AT_ONCE, Fleet, NEWEST, namespace},
    program::Program,
    support::control_plane::{ADMIN, request},
};

/// Finished updates of each workload: as many as are kept.
const FINISHED: usize = 10;
const BEFORE: &str = "1.5.8";

pub(crate) async fn run(fleet: &Fleet, table: &mut Table) {
    let without = settled(fleet).await;
    write(fleet).await;
    let with = settled(fleet).await;
    let what = format!("{} workloads, {} finished updates recorded", fleet.size, fleet.size * FINISHED);
    table.noted(format!("{what}: resident memory, without and with them"), format!("{without:.1} MB, {with:.1} MB"));
    table.bounded(format!("{what}: resident memory, more than without"), with - without, 6.0, " MB");
}

/// What a program takes that has looked at all there is, at its most in ten seconds.
pub(crate) async fn settled(fleet: &Fleet) -> f64 {
    let (program, _) = Program::start(&fleet.plane, "1h").await;
    program.looked(fleet.repositories()).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let mut memory = 0_f64;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        memory = memory.max(program.memory("VmRSS"));
    }
    memory
}

/// Records of every workload, as the program writes them.
async fn write(fleet: &Fleet) {
    eprintln!("recording {} updates", fleet.size * FINISHED);
    let client = fleet.plane.client(ADMIN).await;
    let send = async |method: Method, path: String, object: Value| {
        request(&client, method, &path, Some(&object)).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    };
    let of = async |n: usize| {
        let (space, name) = (namespace(n), format!("app-{n:05}"));
        let group = format!("/apis/supercargo.dev/v1alpha1/namespaces/{space}");
        let found = fleet.plane.request(Method::GET, &fleet.path(n), None).await.expect("the Deployment");
        let workload = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": found["metadata"]["uid"],
        });
        let image = |tag: &str| format!("{}/{}:{tag}", fleet.registry.host, fleet.repository(n));
        let at = Timestamp::now();
        let owner = json!([{
            "apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": found["metadata"]["uid"],
            "controller": false, "blockOwnerDeletion": false,
        }]);
        for nth in 0..FINISHED {
            let (id, name) = (format!("{:016x}", n * FINISHED + nth), format!("deployment-{name}"));
            let object = json!({
                "apiVersion": "supercargo.dev/v1alpha1", "kind": "ImageUpdate",
                "metadata": {
                    "name": format!("{name}-{id}"), "ownerReferences": owner, "labels": {"supercargo.dev/workload": name},
                },
                "spec": {
                    "id": id, "workload": workload, "write": "cluster", "policyHash": id, "proposedAt": at,
                    "changes": [{
                        "container": "app", "init": false, "from": image(BEFORE), "to": image(NEWEST), "policy": "minor",
                    }],
                },
            });
            let status = json!({"status": {"phase": "Succeeded", "log": [{"at": at, "phase": "Succeeded"}]}});
            send(Method::POST, format!("{group}/imageupdates"), object).await;
            send(Method::PATCH, format!("{group}/imageupdates/{name}-{id}/status"), status).await;
        }
        let state = json!({
            "apiVersion": "supercargo.dev/v1alpha1", "kind": "ImageState", "metadata": {"name": format!("deployment-{name}")},
        });
        let applied = json!([{
            "container": "app", "init": false, "from": image(BEFORE), "to": image(NEWEST), "at": at,
        }]);
        let status = json!({"status": {"workload": workload, "applied": applied}});
        send(Method::POST, format!("{group}/imagestates"), state).await;
        send(Method::PATCH, format!("{group}/imagestates/deployment-{name}/status"), status).await;
    };
    stream::iter((0..fleet.size).map(of)).buffer_unordered(AT_ONCE).for_each(async |()| ()).await;
}
