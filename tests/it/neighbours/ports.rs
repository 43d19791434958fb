//! Strangers at the ports.

use super::Street;
use crate::support::{http, victim::idle};

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_at_both_ports_keep_neither_hooks_nor_probes_waiting() {
    let street = Street::new("idle").await;
    let operator = street.operator("1h", &[]).await;
    let strangers = [operator.private.clone(), operator.hooks.clone()].map(|url| tokio::spawn(idle(url)));
    for tag in ["1.0.1", "1.0.2", "1.0.3"] {
        street.neighbour.is_served(tag).await;
        assert_eq!(http().get(format!("{}/livez", operator.private)).send().await.unwrap().status(), 200);
    }
    for stranger in strangers {
        assert!(!stranger.is_finished());
        stranger.abort();
    }
}
