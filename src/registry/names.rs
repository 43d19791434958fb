//! Names of hosts are looked up in a small pool, as each lookup takes a thread for as long as the name's servers like. A
//! namespace has a share of it, and its lookups wait for one another; none is waited for longer than five seconds.
//! What was found is used for a while, and somewhat longer where nothing new is to be had.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::{Either, select};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

use super::address::Guard;
use crate::{
    domain::{image::excerpt, line::Line},
    ports::Clock,
};

/// Lookups under way.
const PLACES: usize = 32;
/// How many may wait in one namespace.
const WAITING: usize = 256;
const LIMIT: Duration = Duration::from_secs(5);
/// How long what was found is used, and how long where nothing new is found.
const FRESH: Duration = Duration::from_secs(30);
const STALE: Duration = Duration::from_secs(900);
/// How many names are remembered, and how many addresses of each.
const MANY: usize = 4096;
const ADDRESSES: usize = 16;

/// What is known of names, and who looks.
pub(super) struct Names {
    resolver: Arc<dyn Resolve>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// The system's own resolver.
#[derive(Debug, Clone, Copy)]
pub(super) struct System;

/// Takes the addresses for a connection from what is known, without those that are not connected to.
pub(super) struct GuardedNames {
    pub(super) names: Arc<Names>,
    pub(super) guard: Guard,
}

#[derive(Default)]
struct State {
    known: HashMap<String, Addresses>,
    line: Line<oneshot::Sender<LookupPermit>>,
    /// Lookups under way, by namespace.
    busy: HashMap<Arc<str>, usize>,
}

#[derive(Clone)]
struct Addresses {
    ips: Arc<[IpAddr]>,
    at: Duration,
}

/// A place in the pool, until it is dropped.
struct LookupPermit {
    names: Arc<Names>,
    namespace: Arc<str>,
}

impl Names {
    pub(super) fn new(resolver: Arc<dyn Resolve>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { resolver, clock, state: Mutex::default() })
    }

    /// Sees to it that a host's addresses are known, for that namespace; else says why they are not.
    pub(super) async fn look_up(self: &Arc<Self>, host: &str, namespace: Option<&str>) -> Result<(), String> {
        let known = |within| self.known(host).is_some_and(|found| found.at + within > self.clock.monotonic());
        if known(FRESH) {
            return Ok(());
        }
        // Where nobody knows for whom it is, the domain that the host is in stands for a namespace.
        let namespace = namespace.map_or_else(|| domain(host), str::to_owned);
        let limit = self.clock.sleep_until(self.clock.monotonic() + LIMIT);
        let found = match select(Box::pin(self.find(host, &namespace)), limit).await {
            Either::Left((found, _)) => found,
            Either::Right(_) => Err(format!("was not found: its name was not looked up within {} s", LIMIT.as_secs())),
        };
        if known(STALE) { Ok(()) } else { found }
    }

    async fn find(self: &Arc<Self>, host: &str, namespace: &str) -> Result<(), String> {
        let place = self.place(namespace).await?;
        // Another may have looked meanwhile.
        if self.known(host).is_some_and(|found| found.at + FRESH > self.clock.monotonic()) {
            return Ok(());
        }
        let name: Name = host.parse().map_err(|_| "is no name of a host".to_owned())?;
        // It goes on when nobody waits for it any more, as the thread does, and keeps its place until its end.
        let (names, host) = (self.clone(), host.to_owned());
        let looking = tokio::spawn(async move {
            let _place = place;
            let found = names
                .resolver
                .resolve(name)
                .await
                .map_err(|error| format!("was not found: {}", excerpt(&error.to_string())))?;
            let ips: Arc<[IpAddr]> = found.take(ADDRESSES).map(|address| address.ip()).collect();
            if ips.is_empty() {
                return Err("was not found: its name has no address".to_owned());
            }
            names.learn(host, ips);
            Ok(())
        });
        looking.await.unwrap_or_else(|_| Err("was not found".to_owned()))
    }

    /// Waits for a place.
    async fn place(self: &Arc<Self>, namespace: &str) -> Result<LookupPermit, String> {
        let (yours, place) = oneshot::channel();
        if !self.state().line.join(namespace, yours, WAITING, |yours| !yours.is_closed()) {
            return Err(format!("was not found: {WAITING} lookups of names wait already for {namespace}"));
        }
        self.hand_out();
        place.await.map_err(|_| "was not found".to_owned())
    }

    /// Gives away the places that are free.
    fn hand_out(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            let State { line, busy, .. } = &mut *state;
            let free = PLACES.saturating_sub(busy.values().sum());
            if free == 0 {
                return;
            }
            // A third of what is free, so that there is always something left for who comes next.
            let may = |namespace: &str| busy.get(namespace).is_none_or(|count| *count < free / 3);
            let Some((namespace, yours)) = line.next(may) else { return };
            if yours.is_closed() {
                continue;
            }
            *busy.entry(namespace.clone()).or_default() += 1;
            drop(state);
            // Who has gone this very moment drops it.
            let _ = yours.send(LookupPermit { names: self.clone(), namespace });
        }
    }

    fn known(&self, host: &str) -> Option<Addresses> {
        self.state().known.get(host).cloned()
    }

    fn learn(&self, host: String, ips: Arc<[IpAddr]>) {
        let now = self.clock.monotonic();
        let mut state = self.state();
        if state.known.len() >= MANY && !state.known.contains_key(&host) {
            state.known.retain(|_, found| found.at + FRESH > now);
            if state.known.len() >= MANY {
                state.known.clear();
            }
        }
        state.known.insert(host, Addresses { ips, at: now });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LookupPermit {
    fn drop(&mut self) {
        let mut state = self.names.state();
        if let Some(count) = state.busy.get_mut(&self.namespace) {
            *count -= 1;
            if *count == 0 {
                state.busy.remove(&self.namespace);
            }
        }
        drop(state);
        self.names.hand_out();
    }
}

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

impl Resolve for GuardedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.names.known(name.as_str()).map(|found| found.ips).unwrap_or_default();
        let allowed: Vec<_> = found.iter().filter(|ip| self.guard.forbids(**ip).is_none()).collect();
        let forbidden = found.iter().find_map(|ip| self.guard.forbids(*ip)).filter(|_| allowed.is_empty());
        let addresses: Vec<SocketAddr> = allowed.into_iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
        Box::pin(async move {
            match forbidden {
                Some(forbidden) => Err(forbidden.into()),
                None => Ok(Box::new(addresses.into_iter()) as Addrs),
            }
        })
    }
}

/// `*.example.com` of `registry.example.com`, which is the name of no namespace.
fn domain(host: &str) -> String {
    let labels: Vec<&str> = host.trim_end_matches('.').rsplit('.').take(2).collect();
    format!("*.{}", labels.into_iter().rev().collect::<Vec<_>>().join("."))
}
