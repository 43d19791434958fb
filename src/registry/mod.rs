//! A thin OCI registry client: tag lists, digests and created times, and the credentials for them.
//!
//! [`client`] implements the port. A look goes `client` → `session` (as whom, and by which challenge) → `http` (one
//! request: where it may go, how long it may take, how much it may say), over one of few `connections`, to a host that
//! `names` has found and no `throttle` keeps us from. Nothing of the answers is kept but challenges and tokens.

mod address;
mod answer;
mod auth;
mod challenge;
mod client;
mod connections;
mod credentials;
mod docker_config;
mod http;
mod manifest;
mod names;
mod no_secrets;
mod page;
mod session;
mod settings;
mod tags;
mod throttle;

pub use client::Client;
pub use no_secrets::NoSecrets;
pub use settings::{HostSettings, RegistrySettings, SettingsError};
