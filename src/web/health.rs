//! The private listener: `/livez`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};
use http::{StatusCode, header::CONTENT_TYPE};
use tokio::sync::watch;

use crate::metrics::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The routes: [`probes`], and the metrics.
pub fn router(probes: Router, metrics: Arc<Metrics>) -> Router {
    probes.route("/metrics", get(exposition).with_state(metrics))
}

/// The routes of probes. `ready` is whether all has been read that is watched, and `unread` what is said until then;
/// without a sender it stays as it is.
pub fn probes(ready: watch::Receiver<bool>, unread: &'static str) -> Router {
    Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(readyz).with_state((ready, unread)))
}

async fn readyz(State((ready, unread)): State<(watch::Receiver<bool>, &'static str)>) -> (StatusCode, String) {
    if *ready.borrow() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {unread}\n"))
    }
}

async fn exposition(State(metrics): State<Arc<Metrics>>) -> ([(http::HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, OPEN_METRICS)], metrics.encode())
}
