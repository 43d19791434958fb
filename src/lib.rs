//! supercargo: an image auto-updater for Kubernetes.

pub mod app;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod domain;
pub mod engine;
pub mod ingest;
pub mod logging;
pub mod manifest;
pub mod metrics;
pub mod ports;
pub mod registry;
pub mod store;
pub mod web;
