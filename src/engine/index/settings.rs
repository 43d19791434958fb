//! What the engine is told by the command line and the configuration.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::domain::{
    guard::Guard, image::Repository, keel::KeelMode, policy::NamedPolicies, rollout::Times, target::Targets,
    workload::WorkloadId,
};

/// Whether the operator's own credentials for a repository's host may serve a namespace.
pub type OperatorServes = Arc<dyn Fn(&Repository, &str) -> bool + Send + Sync>;

/// Whether the Applications of a namespace are Argo CD's.
pub type ArgoCdNamespaces = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Whether somebody of another system, such as `slack:TEAM/USER`, is that user of the API server.
pub type SpeaksFor = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// What the engine is told at the start, and whenever the configuration is read anew.
#[derive(Clone)]
pub struct Settings {
    /// How often to look where an annotation does not say.
    pub poll_interval: Duration,
    /// The policy files.
    pub named: Arc<NamedPolicies>,
    /// What to do with Keel's annotations.
    pub keel: KeelMode,
    /// Floors under all annotations.
    pub guards: Arc<[Guard]>,
    /// The Git targets.
    pub targets: Arc<Targets>,
    /// How long is waited for what of a rollout.
    pub rollout: Times,
    /// Nothing is changed.
    pub dry_run: bool,
    /// What people wish for all workloads: [`WorkloadId::all`] of the operator's namespace, if that is known.
    pub all: Option<WorkloadId>,
    /// See [`OperatorServes`].
    pub operator_serves: OperatorServes,
    /// See [`ArgoCdNamespaces`].
    pub argocd_namespaces: ArgoCdNamespaces,
    /// See [`SpeaksFor`].
    pub speaks_for: SpeaksFor,
    /// Whether a workload is left alone until its Namespace's defaults are known.
    pub await_namespaces: bool,
    /// Whether `poll: never` waits for a webhook. A command that a person starts is asked to look now.
    pub await_webhooks: bool,
    /// Whether the reasons for single tags are kept (a command shows them, the operator does not).
    pub keep_reasons: bool,
    /// Whether it is said how every gate stands.
    pub show_gates: bool,
    /// The time that ages and gates are judged by where it is not the clock's: a command may ask for another.
    pub at: Option<Timestamp>,
}
