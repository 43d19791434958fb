//! Writing to Git: the target on its own against a real Git server, and the whole program beside a real cluster.

pub(crate) mod alone;
mod app;
mod configured;
mod crash;
mod deployer;
mod documented;
mod doubts;
mod forge;
mod limit;
mod live;
mod operator;
mod origins;
mod requests;
mod secrets;
mod shared;
mod signing;
pub(crate) mod target;
mod tenants;
