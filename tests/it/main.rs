//! The integration tests, in one binary: each module is one area.

mod support;

mod architecture;
mod argocd;
mod cases;
mod cluster;
mod commands;
mod control_plane;
mod cost;
mod deploy;
mod deployers;
mod docs;
mod edits;
mod folder;
mod forges;
mod git;
mod git_server;
mod gitea;
mod guards;
mod hostile;
mod keel;
mod kustomize;
mod migrate;
mod neighbours;
mod operator;
mod places;
mod policy;
mod poll;
mod process;
mod pull_secrets;
mod registry;
mod store;
mod survive;
mod text;
mod values;
mod webhook;
