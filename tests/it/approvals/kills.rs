//! The operator is killed between votes and the end of what they are about: nothing is written twice, and no vote is lost.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;

use super::{flow::Shop, plane};
use crate::support::{
    kills::{Random, how_many, seed},
    objects::runs,
    operator::Operator,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_approved_is_written_once_and_no_vote_is_lost_whenever_the_operator_is_killed() {
    let (kills, seed) = (how_many(6), seed());
    println!("SUPERCARGO_SEED={seed}, {kills} kills");
    let mut random = Random::new(seed);
    let shop = Shop::open(plane().await, "kills", json!({"supercargo.dev/approvals": "2"})).await;
    let setup = shop.setup().await;
    let mut operator = Operator::start(shop.plane, &setup).await;
    let mut wanted = Vec::new();
    for n in 1..=kills {
        let tag = format!("1.{n}.0");
        let digest = shop.push(&tag).await;
        let ballot = shop.ballot(&tag).await;
        shop.stands(&tag, "0 of 2").await;
        // The time is the fault.
        let wait =
            async |most: u64, random: &mut Random| tokio::time::sleep(Duration::from_millis(random.below(most))).await;
        let (early, mut killed) = (random.below(4) == 0, false);
        for user in ["alice", "bob"] {
            shop.raw(user, &ballot, user).await.unwrap();
            if early && !killed {
                wait(150, &mut random).await;
                operator.process.signal("KILL");
                killed = true;
            }
        }
        if !killed {
            wait(400, &mut random).await;
            operator.process.signal("KILL");
        }
        operator = Operator::start(shop.plane, &setup).await;
        let image = format!("{}@{digest}", shop.image(&tag));
        runs(&shop.namespace, "web", &[&image]).await;
        let done = shop.update(&tag, "Succeeded").await;
        let votes = done["status"]["approval"]["votes"].as_array().unwrap();
        let mut by: Vec<&str> = votes.iter().map(|vote| vote["by"].as_str().unwrap()).collect();
        by.sort_unstable();
        assert_eq!(by, ["alice", "bob"], "{tag} (seed {seed})");
        wanted.push(image);
    }
    drop(operator);
    // Of a patch whose client was killed the audit log may tell no success: that it was done, and once, the generation does.
    let written = shop.written();
    let distinct: BTreeSet<&String> = written.iter().collect();
    assert!(
        distinct.len() == written.len() && distinct.iter().all(|image| wanted.contains(image)),
        "{written:?} (seed {seed})"
    );
    let generation = shop.namespace.get("deployments", "web").await["metadata"]["generation"].as_u64();
    assert_eq!(generation, Some(1 + kills), "each once (seed {seed})");
}
