//! supercargo: an image auto-updater for Kubernetes.
//!
//! It reads update policies from annotations, learns of new images from registries (by polling and from webhooks),
//! decides, and patches the workload, commits to Git, or opens a pull request. Without a cluster the same decision edits
//! a folder of manifests or a Git repository. This page is the map of the code; `tests/it/architecture.rs` reads the
//! table of imports below and holds every file against it.
//!
//! # The flow
//!
//! ```text
//!  webhook ─┐                                                  ┌─ cluster: one guarded JSON Patch ─┐
//!           ├─► hint: repository ─► refresh ─► decide ─► gate ─┼─ git: one commit for many edits ──┼─► step: record,
//!  poll  ───┘   (nothing else       one        per      may it ├─ git: one pull request a group ───┘   tell, see to it
//!  change ──┘    is believed)       look,      container now?  └─ folder: exact edits (update)
//!                                   shared
//! ```
//!
//! - *Level-triggered.* A hint only says "look at this repository now". What is in the registry and the cluster is read
//!   again before anything is written, so that a lost webhook, a missed event or a crash costs time, never correctness.
//! - *One look per source.* Workloads that use one repository with the same credentials share a listing
//!   ([`domain::hint::Source`]). A hint that names a tag costs one HEAD, one without a listing.
//! - *Plan, then act.* `decide` returns a value and changes nothing. Only a [`domain::plan::Plan`] that every gate
//!   let through can be written; its type says so.
//! - *The unit of work* is an [`domain::update::Update`]: all changes of one workload, in one patch and one rollout.
//! - *One home for its life.* [`domain::update::step()`] is pure: a record and an event in, a record and acts out. Every
//!   answer of the outside is an event, every effect an act; nothing else sets a phase.
//! - *People vote, the API server proves who they are.* [`domain::votes`] counts what was said of exactly one update; that
//!   nobody can vote for another is proved by a request that must be refused (`engine/index/proofs.rs`), again before what
//!   people approved is written.
//!
//! # The modules
//!
//! | | |
//! |---|---|
//! | [`domain`] | values and decisions; pure |
//! | [`manifest`] | YAML: finds images, edits exact bytes; pure |
//! | [`ports`] | every trait of the outside world, on one page |
//! | [`engine`] | the flow, stage by stage, over ports |
//! | [`ingest`] | the queue of due times; webhooks: bytes in, hints out |
//! | [`registry`] | the OCI client: pages, tokens, limits, where requests may lead |
//! | [`cluster`] | watches, the guarded patch, records of updates, votes and the proof of who makes them, pull secrets, Events |
//! | [`net`] | what goes out shares: HTTP clients, where credentials end, who asked to wait, how namespaces share what is kept |
//! | [`git`] | targets: find the image, edit, commit, push; pull requests at forges |
//! | [`notify`] | people elsewhere: messages with buttons in Slack, made of records; a click becomes a vote |
//! | [`store`] | what is remembered where there is no cluster |
//! | [`web`] | the listeners: hooks, probes, metrics |
//! | [`config`] | flags, file and environment, read into settings |
//! | [`clock`], [`pool`] | the system's clock; threads for what takes long |
//! | [`logging`], [`metrics`] | lines on stderr; names of metrics |
//! | [`cli`], [`app`] | the commands; the composition root of `run` |
//!
//! # Invariants
//!
//! Nothing in `domain` can fail because of the outside world. No image in a cluster is set except from an approved
//! plan. No decision, also "no", is without a reason that a person can read. No annotation that does not parse lets a
//! change through. No vote counts that another could have made. No webhook content is believed. No queue is unbounded.
//! No effect is done twice. No listing is half used, and no registry error reads as "up to date". No secret is in a log,
//! an error, a `Debug` or an argument list. No credential goes to a host, or serves a namespace, that it is not for. No
//! environment variable is read outside `config.rs`, no clock outside `clock.rs`. No handler works: it checks, enqueues,
//! answers. No foreign text is passed on raw: it is capped, and escaped for where it goes.
//!
//! # Who may use whom
//!
//! A name stands for all below it. What a row does not name may not be used; unit tests are free.
//!
//! | module | of this crate | other crates | not of `std` |
//! |---|---|---|---|
//! | `domain` | | `serde` `serde_json` `serde_saphyr` `semver` `regex` `regex_automata` `regex_syntax` `globset` `croner` `sha2` `jiff` `thiserror` | `env` `fs` `net::TcpListener` `net::TcpStream` `net::ToSocketAddrs` `net::UdpSocket` `process` `thread` `time::Instant` `time::SystemTime` |
//! | `manifest` | `domain` | `base64` `globset` `granit_parser` `regex` `thiserror` | `env` `fs` `net` `process` `thread` `time` |
//! | `ports` | `domain` | `futures` `secrecy` `thiserror` `jiff` | `env` `fs` `net` `process` `thread` |
//! | `metrics` | | `prometheus_client` | `env` `fs` `net` `process` `thread` |
//! | `engine` | `domain` `manifest` `ports` `metrics` | `futures` `jiff` `serde_json` `thiserror` `tracing` `tokio::sync` `tokio::select` `tokio::task::coop` | `env` `fs` `net` `process` `thread` `time::Instant` `time::SystemTime` |
//! | `ingest` | `domain` `ports` `metrics` | `base64` `hmac` `http` `jiff` `secrecy` `serde` `serde_json` `sha1` `sha2` `subtle` `thiserror` `tokio::sync` `tokio::select` `url` | `env` `fs` `net` `process` `thread` |
//! | `net` | `domain` | `http` `jiff` `moka` `reqwest` `rustls` `rustls_platform_verifier` `thiserror` `tracing` `url` | `env` `fs` `process` `thread` |
//! | `registry` | `domain` `metrics` `net` `ports` | `base64` `bytes` `futures` `http` `jiff` `moka` `reqwest` `rustls` `secrecy` `serde` `serde_json` `sha2` `thiserror` `tokio` `tracing` `url` | `env` `process` |
//! | `cluster` | `domain` `manifest` `metrics` `net` `ports` | `backon` `base64` `futures` `http` `jiff` `k8s_openapi` `kube` `secrecy` `serde` `serde_json` `serde_saphyr` `sha2` `thiserror` `tokio` `tower` `tracing` | `env` `process` |
//! | `git` | `domain` `manifest` `net` `ports` | `base64` `futures` `globset` `hmac` `jiff` `minijinja` `reqwest` `rustls` `secrecy` `serde` `serde_json` `sha2` `tempfile` `thiserror` `tokio` `tracing` `url` | `env` |
//! | `notify` | `domain` `metrics` `net` `ports` | `backon` `futures` `globset` `http` `jiff` `reqwest` `secrecy` `serde` `serde_json` `tokio` `tokio_tungstenite` `tracing` `thiserror` `url` | `env` `process` `thread` |
//! | `store` | `domain` `ports` | `futures` `jiff` `rusqlite` `serde` `serde_json` `tokio::task` | `env` `net` `process` |
//! | `web` | `domain` `ports` `metrics` `ingest::webhook` | `axum` `futures` `http` `hyper` `hyper_util` `rustls` `secrecy` `serde_json` `sha2` `thiserror` `tokio` `tokio_rustls` `tokio_util` `tracing` | `env` `process` |
//! | `config` | `domain` `logging` | `clap` `globset` `jiff` `regex` `secrecy` `serde` `serde_saphyr` `sha2` `thiserror` `url` | `process` |
//! | `pool` | `domain::line` `ports` | `tokio::task` | `env` `fs` `net` `process` |
//! | `clock` | `ports` | `futures` `jiff` `rustix::time` `tokio::time` | `env` `fs` `net` `process` |
//! | `logging` | `domain::text` | `clap` `thiserror` `tracing` `tracing_subscriber` | `env` `fs` `net` `process` |
//! | `cli` | everything | | |
//! | `app` | everything | | |
//!
//! # One more of something
//!
//! One file and one visible line: a webhook sender in `ingest/webhook/` and its table [`ingest::webhook::SENDERS`]; a
//! forge in `git/forges/` and its table [`git::forges::FORGES`]; a gate in `domain/gate/`; a check of a candidate in
//! `domain/candidate/`; a command in `cli/`. A policy kind is a file in `domain/policy/`, a line of the table in its
//! `mod.rs` and a variant. For a workload kind see the README. A reason is one line of
//! [`domain::reason::Code`], an annotation one of `keys!` in `domain/annotations/keys.rs`, a metric one of
//! [`metrics::Metrics`]. `tests/it/architecture.rs` holds the files against the tables. What is built loses its line in
//! [`domain::later`].

pub mod app;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod domain;
pub mod engine;
pub mod git;
pub mod ingest;
pub mod logging;
pub mod manifest;
pub mod metrics;
pub mod net;
pub mod notify;
pub mod pool;
pub mod ports;
pub mod registry;
pub mod store;
pub mod web;
