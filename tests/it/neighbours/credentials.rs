//! Tokens as long as registries like.

use std::sync::atomic::Ordering;

use super::Street;
use crate::support::{attacks, eventually, operator::RESIDENT};

#[rstest::rstest]
#[case::longest(16 << 10, "200")]
#[case::far_too_long(1 << 20, "401")]
#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_of_five_hundred_registries_take_little(#[case] length: usize, #[case] ends: &str) {
    let street = Street::new("tokens").await;
    let (objects, given) = attacks::long_tokens(500, length).await;
    attacks::create(&street.tenant, objects).await;
    let operator = street.operator("1h", &[]).await;
    street.neighbour.is_served("1.0.1").await;
    eventually("every registry has given a token", async || (given.load(Ordering::SeqCst) >= 500).then_some(())).await;
    street.neighbour.is_served("1.0.2").await;
    let resident = operator.resident();
    assert!(resident < RESIDENT, "{resident} MB");
    let answered = operator.metric("supercargo_registry_requests_total", ends).await;
    assert!(answered >= 500.0, "{}", operator.metrics().await);
}
