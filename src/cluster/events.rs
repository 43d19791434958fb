//! Kubernetes Events on workloads: a bounded queue, and one task that writes.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use http::{Method, Request};
use jiff::Timestamp;
use kube::Client;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{failure, in_time};
use crate::{
    net::foreign,
    ports::{Clock, Events, Notice},
};

/// Queues notices; see [`Events`].
#[derive(Debug, Clone)]
pub struct EventWriter {
    queue: mpsc::Sender<Notice>,
}

/// How many notices may wait; more are dropped, as Events may be.
const QUEUE: usize = 1024;
/// For how long the same notice is counted and not written anew.
const SERIES: Duration = Duration::from_secs(3600);
/// How often the count of a series is written at most.
const COUNT_EVERY: Duration = Duration::from_secs(300);
/// How many different notices are remembered.
const MAX_SEEN: usize = 4096;
const TRIES: u32 = 3;
const REPORTER: &str = "supercargo";

impl EventWriter {
    /// The writer, and the task that does the writing: it ends when every writer is dropped and the queue is empty.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (queue, mut notices) = mpsc::channel(QUEUE);
        let mut task = Task { client, clock, seen: HashMap::new(), hashes: RandomState::new() };
        let work = async move {
            while let Some(notice) = notices.recv().await {
                task.tell(&notice).await;
            }
        };
        (Self { queue }, work)
    }
}

impl Events for EventWriter {
    fn publish(&self, notice: Notice) {
        if let Err(error) = self.queue.try_send(notice) {
            tracing::debug!(%error, "an Event is dropped");
        }
    }
}

struct Task {
    client: Client,
    clock: Arc<dyn Clock>,
    /// By a hash of workload, reason and message.
    seen: HashMap<u64, Seen>,
    hashes: RandomState,
}

/// An Event that was written.
struct Seen {
    name: String,
    /// When it was first told, and when it was last written.
    first: Duration,
    written: Duration,
    count: u32,
}

impl Task {
    async fn tell(&mut self, notice: &Notice) {
        let key = self.hashes.hash_one((&notice.workload, &notice.uid, notice.reason, &notice.message));
        let now = self.clock.monotonic();
        let collection = format!("/apis/events.k8s.io/v1/namespaces/{}/events", notice.workload.namespace);
        if let Some(seen) = self.seen.get_mut(&key).filter(|seen| now.saturating_sub(seen.first) < SERIES) {
            seen.count += 1;
            if seen.count > 2 && now.saturating_sub(seen.written) < COUNT_EVERY {
                return;
            }
            seen.written = now;
            let series = json!({"series": {"count": seen.count, "lastObservedTime": micro(self.clock.now())}});
            let path = format!("{collection}/{}", seen.name);
            self.send(Method::PATCH, &path, &series, notice).await;
            return;
        }
        let name = name(&notice.workload.name, key ^ self.hashes.hash_one(now));
        let event = event(notice, &name, self.clock.now());
        if self.send(Method::POST, &collection, &event, notice).await {
            if self.seen.len() >= MAX_SEEN {
                self.seen.retain(|_, seen| now.saturating_sub(seen.first) < SERIES);
                if self.seen.len() >= MAX_SEEN {
                    self.seen.clear();
                }
            }
            self.seen.insert(key, Seen { name, first: now, written: now, count: 1 });
        }
    }

    /// Whether it was written.
    async fn send(&self, method: Method, path: &str, body: &Value, notice: &Notice) -> bool {
        let content = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let mut last = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                self.clock.sleep_until(self.clock.monotonic() + Duration::from_millis(500 << attempt)).await;
            }
            let request = Request::builder().method(method.clone()).uri(path).header("content-type", content);
            let Ok(request) = request.body(body.to_string().into_bytes()) else { break };
            match in_time(&self.clock, self.client.request::<IgnoredAny>(request)).await {
                Some(Ok(_)) => return true,
                // A lost answer to an earlier try: it is there.
                Some(Err(kube::Error::Api(status))) if status.code == 409 => return true,
                Some(Err(error)) => {
                    last = failure(&error);
                    if matches!(&error, kube::Error::Api(status) if status.code < 500 && status.code != 429) {
                        break;
                    }
                }
                None => "the API server did not answer in time".clone_into(&mut last),
            }
        }
        tracing::warn!(workload = %notice.workload, reason = notice.reason, error = last, "an Event could not be written");
        false
    }
}

fn event(notice: &Notice, name: &str, now: Timestamp) -> Value {
    let id = &notice.workload;
    let api_version = id.kind.spec().map(|kind| kind.api_version()).unwrap_or_default();
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": id.namespace},
        "eventTime": micro(now),
        "type": if notice.warning { "Warning" } else { "Normal" },
        "reason": notice.reason,
        "action": notice.reason,
        "note": foreign(&notice.message),
        "reportingController": REPORTER,
        "reportingInstance": REPORTER,
        "regarding": {
            "apiVersion": api_version,
            "kind": id.kind,
            "namespace": id.namespace,
            "name": id.name,
            "uid": notice.uid,
        },
    })
}

/// The API wants exactly six digits.
fn micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// A name for the Event: as kubectl's, the workload's and a number.
fn name(workload: &str, number: u64) -> String {
    let short: String = workload.chars().take(200).collect();
    format!("{}.{number:016x}", short.trim_end_matches(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_six_digits_as_the_api_wants() {
        assert_eq!(micro("2026-01-02T03:04:05Z".parse().unwrap()), "2026-01-02T03:04:05.000000Z");
        assert_eq!(micro("2026-01-02T03:04:05.1234567Z".parse().unwrap()), "2026-01-02T03:04:05.123456Z");
    }

    #[test]
    fn the_name_of_an_event_is_a_name_even_for_the_longest_workload() {
        let name = name(&format!("{}.x", "a".repeat(199)), 7);
        assert!(name.len() <= 253 && !name.contains(".."), "{name}");
    }
}
