//! Tokens as long as registries like.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    response::IntoResponse as _,
    routing::get,
};
use serde_json::json;
use tokio::net::TcpListener;

use super::{Street, addresses};
use crate::support::{eventually, operator::RESIDENT};

#[rstest::rstest]
#[case::longest(16 << 10, "200")]
#[case::far_too_long(1 << 20, "401")]
#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_of_five_hundred_registries_take_little(#[case] length: usize, #[case] ends: &str) {
    let street = Street::new("tokens").await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let token = async move || {
        count.fetch_add(1, Ordering::SeqCst);
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
    street.fill(&addresses(500).map(|address| format!("{address}:{port}/r:1.0.0")).collect::<Vec<_>>()).await;
    let operator = street.operator("1h", &[]).await;
    street.neighbour.is_served("1.0.1").await;
    eventually("every registry has given a token", async || (asked.load(Ordering::SeqCst) >= 500).then_some(())).await;
    street.neighbour.is_served("1.0.2").await;
    let resident = operator.resident();
    assert!(resident < RESIDENT, "{resident} MB");
    let answered = operator.metric("supercargo_registry_requests_total", ends).await;
    assert!(answered >= 500.0, "{}", operator.metrics().await);
}
