//! Names of hosts that are looked up for long.

use super::Street;
use crate::support::{
    attacks, eventually,
    objects::{deployment, runs},
    operator::{Operator, Setup},
    registry::Image,
    victim::{hooked, tell},
};

/// The neighbour's registry is found by a name, too.
#[tokio::test(flavor = "multi_thread")]
async fn fifteen_hundred_names_that_are_looked_up_for_half_a_minute_hold_up_no_other() {
    let (street, folder) = (Street::new("names").await, tempfile::tempdir().unwrap());
    let neighbour = &street.neighbour;
    let host = neighbour.registry.host.replace("127.0.0.1", "localhost");
    let image = |tag: &str| format!("{host}/web:{tag}");
    attacks::create(&street.tenant, attacks::names::slow_names(1500)).await;
    let setup = neighbour.beside(Setup::in_namespace(&street.tenant, "5s"));
    let setup = Setup { through: attacks::names::through(folder.path()), ..setup };
    let operator = Operator::start(street.tenant.plane, &setup).await;
    eventually("names are given up", async || {
        operator.process.output().contains("its name was not looked up within 5 s").then_some(())
    })
    .await;
    neighbour.namespace.create(&deployment("by-name", &image("1.0.0"), hooked()).to_string()).await;
    for tag in ["1.0.1", "1.0.2", "1.0.3"] {
        neighbour.registry.push("web", tag, &Image::unique()).await;
        tell(&operator, &host, "web", tag).await;
        runs(&neighbour.namespace, "by-name", &[&image(tag)]).await;
    }
    let threads = operator.status("Threads");
    assert!(threads < 64, "{threads} threads");
}
