//! Hundreds of workloads of one namespace are due in one moment.

use std::collections::HashSet;

use super::Street;
use crate::support::{
    attacks, eventually,
    objects::{runs, written},
    registry::Image,
};

/// Workloads of the tenant.
const MANY: usize = 300;
/// Of the neighbour.
const FEW: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn who_has_hundreds_of_workloads_to_patch_takes_turns_with_others() {
    let street = Street::new("patches").await;
    let neighbour = &street.neighbour;
    let image = neighbour.image("1.0.0");
    attacks::create(&street.tenant, attacks::due_at_once(MANY, &image)).await;
    attacks::create(&neighbour.namespace, attacks::due_at_once(FEW, &image)).await;
    let operator = street.operator("1h", &[]).await;
    eventually("all are watched", async || {
        let watched = operator.metric("supercargo_workloads", "").await;
        (watched == (MANY + FEW + 1) as f64).then_some(())
    })
    .await;

    // One look is for all of them.
    neighbour.registry.push("web", "1.0.1", &Image::unique()).await;
    for n in 0..FEW {
        runs(&neighbour.namespace, &format!("due-{n}"), &[&neighbour.image("1.0.1")]).await;
    }
    let patched = || written(street.tenant.plane, &operator.user);
    let all = eventually("all are patched", async || Some(patched()).filter(|all| all.len() > MANY + FEW)).await;
    let own: Vec<usize> = (0..all.len()).filter(|&n| all[n].0.contains(&neighbour.namespace.name)).collect();
    assert_eq!(own.len(), FEW + 1);
    // Sixteen are under way at once, so that the log is in order but for so many.
    assert!(own.iter().all(|&place| place < 32), "of {} patches those of the neighbour were {own:?}", all.len());
    let objects: HashSet<&str> = all.iter().map(|(object, _)| object.as_str()).collect();
    assert_eq!(objects.len(), all.len(), "each once");
}
