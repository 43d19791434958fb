//! What the handler of webhooks does with a body of 100 KiB, until its hints are handed on: the proof by two secrets, and
//! the reading.
//!
//! `cargo bench --bench webhooks` prints the times that docs/benchmarks.md records, and fails if one is out of bounds.
//! `cargo test --all-targets` runs it too, without optimisation: then once, and no bound is checked.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{hint::black_box, time::Instant};

use criterion::Criterion;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use supercargo::{
    domain::image::ImageRef,
    ingest::webhook::{
        self, Hosts, Message, SENDERS, Sender,
        auth::{self, Proof, Shown},
    },
};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZE: usize = 100 * 1024;
/// Milliseconds.
const BOUND: f64 = 2.0;

fn main() {
    let measured = std::env::args().any(|argument| argument == "--bench");
    let rounds = if measured { 101 } else { 1 };
    // The one that signs comes last, as all are tried.
    let secrets: [SecretString; 2] = ["the new secret".into(), "the old secret".into()];
    let requests: Vec<Request> = SENDERS.iter().map(|sender| Request::new(sender, &secrets[1])).collect();
    let mut worst = 0.0_f64;
    for request in &requests {
        let times = (0..rounds).map(|_| {
            let start = Instant::now();
            black_box(request.handle(&secrets));
            start.elapsed().as_secs_f64() * 1e3
        });
        let mut times: Vec<f64> = times.collect();
        times.sort_unstable_by(f64::total_cmp);
        let median = times[times.len() / 2];
        worst = worst.max(median);
        let hints = request.handle(&secrets).hints.len();
        println!("{:14} {} bytes, {hints} hints: {median:.3} ms", request.sender.name, request.body.len());
    }
    if !measured {
        return;
    }
    println!("WORST {worst:.3} ms (at most {BOUND} ms)");
    assert!(worst <= BOUND, "out of bounds");

    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    for request in &requests {
        criterion.bench_function(&format!("a webhook of {} with 100 KiB", request.sender.name), |b| {
            b.iter(|| request.handle(&secrets));
        });
    }
    criterion.final_summary();
}

/// A push as that sender tells it, and as much else as makes 100 KiB.
struct Request {
    sender: &'static Sender,
    headers: HeaderMap,
    query: String,
    body: Vec<u8>,
}

impl Request {
    fn new(sender: &'static Sender, secret: &SecretString) -> Self {
        let image = ImageRef::parse("docker.io/team/web:1.0.0").expect("an image");
        let sample = (sender.sample)(&image).expect("a sample");
        let mut value: Value = serde_json::from_str(&sample.body).expect("JSON");
        fill(&mut value);
        let body = value.to_string().into_bytes();
        let header = |name: &str, value: &str| -> (HeaderName, HeaderValue) {
            (name.parse().expect("a name"), value.parse().expect("a value"))
        };
        let mut headers: HeaderMap = sample.headers.iter().map(|(name, value)| header(name, value)).collect();
        let mut query = String::new();
        match sender.proofs[0] {
            Proof::Header => headers.extend([header("authorization", secret.expose_secret())]),
            Proof::Query => query = format!("token={}", secret.expose_secret().replace(' ', "+")),
            Proof::Hmac { header: name, prefix, hash } => {
                headers.extend([header(name, &format!("{prefix}{}", hash.hmac(secret, [&body[..]])))]);
            }
        }
        Self { sender, headers, query, body }
    }

    fn handle(&self, secrets: &[SecretString]) -> Message {
        let proved = match auth::show(self.sender.proofs, &self.headers, Some(&self.query), secrets) {
            Shown::Secret => true,
            Shown::Signature(signature) => signature.fits(secrets, [&self.body[..]].into_iter()),
            Shown::Nothing => false,
        };
        assert!(proved, "{}", self.sender.name);
        webhook::read(self.sender, &Hosts::default(), &self.headers, &self.body).expect("a webhook")
    }
}

/// The first list in it is made long, each entry another one; where there is none, a list of numbers that nobody reads is
/// put beside the rest.
fn fill(value: &mut Value) {
    if let Some(list) = list(value) {
        let entry = list[0].to_string();
        let (mut length, mut entries) = (0, Vec::new());
        for number in 0.. {
            let next = entry.replace("1.0.0", &format!("1.0.{number}"));
            length += next.len() + 1;
            if length > SIZE {
                break;
            }
            entries.push(serde_json::from_str(&next).expect("JSON"));
        }
        *list = entries;
    } else if value.get("image").is_some() {
        *value = json!({"images": [value["image"].clone()]});
        fill(value);
    } else {
        value["others"] = (0..SIZE / 4).map(|number| json!(100 + number % 900)).collect();
    }
}

fn list(value: &mut Value) -> Option<&mut Vec<Value>> {
    match value {
        Value::Array(list) => Some(list),
        Value::Object(map) => map.values_mut().find_map(list),
        _ => None,
    }
}
