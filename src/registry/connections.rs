//! The connections to registries: one client for each host that was spoken to lately, each with at most one connection
//! that it keeps, and so many requests at a time; together they are no more than the settings allow. The client of the
//! host that was used the longest ago is dropped, and its connection closed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    address::Guard,
    names::{GuardedNames, Names},
};
use crate::net::{self, Timeouts};

/// Hosts whose client, and connection, are kept: what each holds is small, and of thousands it is much.
const KEPT: usize = 256;

/// How connections to a host are made.
#[derive(Clone)]
pub(super) struct Manner {
    /// Whom TLS trusts.
    pub(super) tls: Arc<ClientConfig>,
    pub(super) guard: Guard,
}

/// Clients by host.
pub(super) struct Connections {
    names: Arc<Names>,
    timeouts: Timeouts,
    clients: Mutex<Clients>,
    most: usize,
    requests: Arc<Semaphore>,
}

#[derive(Default)]
struct Clients {
    /// Each with when it was last used, counted in uses.
    by_host: HashMap<String, (reqwest::Client, u64)>,
    uses: u64,
}

impl Connections {
    /// Half of the connections are for requests under way, half, and no more than [`KEPT`], for those that are kept.
    pub(super) fn new(most: usize, timeouts: Timeouts, names: Arc<Names>) -> Self {
        let most = (most / 2).clamp(1, Semaphore::MAX_PERMITS);
        Self { names, timeouts, clients: Mutex::default(), most, requests: Arc::new(Semaphore::new(most)) }
    }

    /// The client for a host, and the right to use it while the permit is held.
    pub(super) async fn client(
        &self,
        host: &str,
        manner: &Manner,
    ) -> reqwest::Result<(reqwest::Client, Option<OwnedSemaphorePermit>)> {
        // It is never closed.
        let permit = self.requests.clone().acquire_owned().await.ok();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.uses += 1;
        let now = clients.uses;
        if let Some((client, used)) = clients.by_host.get_mut(host) {
            *used = now;
            return Ok((client.clone(), permit));
        }
        if clients.by_host.len() >= self.most.min(KEPT) {
            let oldest = clients.by_host.iter().min_by_key(|(_, (_, used))| *used).map(|(host, _)| host.clone());
            oldest.and_then(|host| clients.by_host.remove(&host));
        }
        let names = GuardedNames { names: self.names.clone(), guard: manner.guard };
        let client = net::builder(&manner.tls, self.timeouts).dns_resolver(Arc::new(names)).build()?;
        clients.by_host.insert(host.to_owned(), (client.clone(), now));
        Ok((client, permit))
    }
}
