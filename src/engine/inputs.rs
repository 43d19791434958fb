//! What the loop is given: the outside world, and what comes in.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::{
    domain::hint::Source,
    engine::{index::settings::Settings, look::inbox::Inbox, report::view::Ask},
    metrics::Metrics,
    ports::{
        Clock, ClusterChange, Events, Histories, Polling, Pool, Records, Registry, Rollouts, Sink, Votes, Workloads,
    },
};

/// The outside world.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the port of its name")]
pub struct Ports {
    pub registry: Arc<dyn Registry>,
    pub workloads: Arc<dyn Workloads>,
    pub sink: Arc<dyn Sink>,
    pub records: Arc<dyn Records>,
    pub histories: Arc<dyn Histories>,
    pub rollouts: Arc<dyn Rollouts>,
    pub votes: Arc<dyn Votes>,
    pub events: Arc<dyn Events>,
    pub polling: Arc<dyn Polling>,
    pub pool: Arc<dyn Pool>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
}

/// What comes in.
pub struct Inputs {
    /// The cluster's changes, in order.
    pub changes: mpsc::Receiver<ClusterChange>,
    /// Sources whose time has come.
    pub due: mpsc::Receiver<Source>,
    /// Hints of webhooks.
    pub inbox: Inbox,
    /// Who asks how a workload stands.
    pub asks: mpsc::Receiver<Ask>,
    /// Settings, whenever the configuration is read anew.
    pub settings: watch::Receiver<Settings>,
    /// Whether this process may write.
    pub leader: watch::Receiver<bool>,
    /// Told when the cluster has told of everything.
    pub ready: watch::Sender<bool>,
}
