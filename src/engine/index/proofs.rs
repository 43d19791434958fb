//! Whether it is sure who votes: in each namespace where people are to be asked, that is proved by a request that must be
//! refused, every minute and before what they approved is written. What was said while it was not so never counts.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    domain::{gate::Voting, update::Proved, workload::WorkloadId},
    engine::timers::Timers,
    ports::Proof,
};

/// Between two proofs.
const EVERY: Duration = Duration::from_secs(60);
/// Until it is tried again where there was no answer.
const AGAIN: Duration = Duration::from_secs(5);
/// After a change of a policy it is not proved before: the API server takes a moment to keep to it.
const SETTLE: Duration = Duration::from_secs(5);
const SETTLES: SignedDuration = SignedDuration::from_secs(5);

/// What follows for the updates that people were asked about: [`Event::Voting`](crate::domain::update::Event::Voting).
pub(crate) type Said = Result<Proved, Arc<str>>;

/// What is known of the policies, and was proved in each namespace.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    /// When the policies were changed last, by the clock of the API server, or what is missing. `None`: nobody has said so yet.
    policies: Option<Result<Timestamp, Arc<str>>>,
    /// Not before then (monotonic) anything is proved.
    settled: Duration,
    namespaces: HashMap<Arc<str>, Namespace>,
    due: Timers<Arc<str>>,
    /// Of the last that was said of the policies.
    pub(crate) number: u64,
    is_granted: bool,
}

/// What was proved in one namespace.
#[derive(Debug, Default)]
struct Namespace {
    /// Whose updates are to be approved.
    asks: HashSet<WorkloadId>,
    known: Guarding,
    /// When the last good proof began (monotonic).
    proved: Option<Duration>,
    is_under_way: bool,
    /// It is to be proved again when that has ended.
    again: bool,
    /// Something was not as it must be since the last good proof.
    is_tainted: bool,
}

#[derive(Debug, Default)]
enum Guarding {
    #[default]
    Unknown,
    Guarded,
    Unguarded(Arc<str>),
}

impl Proofs {
    /// Who shows what would be, and writes nothing, takes that for granted.
    pub(crate) fn taken_for_granted() -> Self {
        Self { is_granted: true, ..Self::default() }
    }

    /// Nobody can vote, and why.
    pub(crate) fn closed(why: &str) -> Self {
        Self { policies: Some(Err(why.into())), ..Self::default() }
    }

    /// Whether it is sure who votes in a namespace.
    pub(crate) fn voting(&self, namespace: &str) -> Voting<'_> {
        if self.is_granted {
            return Voting::Guarded;
        }
        match (&self.policies, self.namespaces.get(namespace).map(|namespace| &namespace.known)) {
            (Some(Err(why)), _) | (_, Some(Guarding::Unguarded(why))) => Voting::Unguarded(why),
            (Some(Ok(_)), Some(Guarding::Guarded)) => Voting::Guarded,
            _ => Voting::Unknown,
        }
    }

    /// Whether that was proved since then.
    pub(crate) fn is_fresh(&self, namespace: &str, since: Duration) -> bool {
        let proved = self.namespaces.get(namespace).and_then(|namespace| namespace.proved);
        self.voting(namespace) == Voting::Guarded && proved.is_some_and(|at| at >= since)
    }

    /// Updates of that workload are to be approved, or not.
    pub(crate) fn ask(&mut self, id: &WorkloadId, asks: bool, now: Duration) {
        if asks {
            let namespace = self.namespaces.entry(id.namespace.clone()).or_insert_with(|| {
                self.due.set(id.namespace.clone(), now.max(self.settled));
                Namespace::default()
            });
            namespace.asks.insert(id.clone());
        } else if let Some(namespace) = self.namespaces.get_mut(&id.namespace)
            && namespace.asks.remove(id)
            && namespace.asks.is_empty()
            && !namespace.is_under_way
        {
            self.namespaces.remove(&id.namespace);
            self.due.forget(&id.namespace);
        }
    }

    /// It is to be proved now.
    pub(crate) fn hurry(&mut self, namespace: &Arc<str>, now: Duration) {
        match self.namespaces.get_mut(namespace) {
            Some(known) if known.is_under_way => known.again = true,
            Some(_) => self.due.set(namespace.clone(), now.max(self.settled)),
            None => {}
        }
    }

    /// The policies are there, or something of them is missing; whether that has changed just now. Who is to be thought of
    /// again.
    pub(crate) fn changed(
        &mut self,
        policies: Result<Timestamp, Arc<str>>,
        is_news: bool,
        now: Duration,
    ) -> Vec<WorkloadId> {
        // What was there before we were is as old as it says.
        if is_news {
            self.settled = now + SETTLE;
        }
        self.policies = Some(policies);
        for (name, namespace) in &mut self.namespaces {
            namespace.is_tainted |= is_news;
            (namespace.known, namespace.proved) = (Guarding::Unknown, None);
            self.due.set(name.clone(), now.max(self.settled));
        }
        self.namespaces.values().flat_map(|namespace| namespace.asks.iter().cloned()).collect()
    }

    /// When the next one is to be proved.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.due.next().filter(|_| matches!(self.policies, Some(Ok(_))))
    }

    /// Takes a namespace where it is to be proved now.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Arc<str>> {
        if !matches!(self.policies, Some(Ok(_))) {
            return None;
        }
        loop {
            let name = self.due.due(now)?;
            if let Some(namespace) = self.namespaces.get_mut(&name).filter(|namespace| !namespace.is_under_way) {
                namespace.is_under_way = true;
                return Some(name);
            }
        }
    }

    /// What came of a proof that began then; who is to be told what.
    pub(crate) fn proved(
        &mut self,
        name: &Arc<str>,
        began: Duration,
        proof: Proof,
        now: Duration,
    ) -> (Vec<WorkloadId>, Option<Said>) {
        let Some(namespace) = self.namespaces.get_mut(name) else { return Default::default() };
        namespace.is_under_way = false;
        if namespace.asks.is_empty() {
            self.namespaces.remove(name);
            self.due.forget(name);
            return Default::default();
        }
        let ids = namespace.asks.iter().cloned().collect();
        // Something was changed while it was under way.
        if began < self.settled || matches!(self.policies, None | Some(Err(_))) {
            self.due.set(name.clone(), now.max(self.settled));
            return Default::default();
        }
        let mut next = now + EVERY;
        let changed = self.policies.as_ref().and_then(|policies| policies.as_ref().ok());
        let settled = changed.and_then(|changed| changed.checked_add(SETTLES).ok());
        let said = match proof {
            // The policies were made, or changed, just before we came. Times are whole seconds.
            Proof::Guarded(at) if settled.is_some_and(|settled| at <= settled) => {
                let left = settled.map(|settled| settled.duration_since(at)).unwrap_or_default();
                next = now + Duration::try_from(left).unwrap_or_default().min(SETTLE) + Duration::from_secs(1);
                None
            }
            Proof::Guarded(at) => {
                let is_tainted = std::mem::take(&mut namespace.is_tainted);
                (namespace.known, namespace.proved) = (Guarding::Guarded, Some(began));
                Some(Ok(Proved { at, void: if is_tainted { Some(at) } else { settled } }))
            }
            Proof::Unguarded(why) => {
                let why: Arc<str> = why.into();
                (namespace.known, namespace.proved) = (Guarding::Unguarded(why.clone()), None);
                namespace.is_tainted = true;
                Some(Err(why))
            }
            Proof::Unknown(why) => {
                tracing::warn!(namespace = &**name, why, "whether nobody can vote for another could not be found out");
                (namespace.known, namespace.proved) = (Guarding::Unknown, None);
                next = now + AGAIN;
                None
            }
        };
        if std::mem::take(&mut namespace.again) {
            next = now;
        }
        self.due.set(name.clone(), next);
        (ids, said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// That it is sure at that time, and what was said up to the other does not count.
    fn sure(second: i64, void: i64) -> Option<Said> {
        Some(Ok(Proved { at: at(second), void: Some(at(void)) }))
    }

    fn known() -> (Proofs, WorkloadId, Arc<str>) {
        let (mut proofs, id) = (Proofs::default(), "shop/Deployment/web".parse::<WorkloadId>().unwrap());
        proofs.ask(&id, true, secs(0));
        let namespace = id.namespace.clone();
        (proofs, id, namespace)
    }

    #[test]
    fn nothing_is_sure_before_the_policies_are_known_and_a_proof_has_come() {
        let (mut proofs, id, shop) = known();
        assert_eq!((proofs.due(secs(9)), proofs.next(), proofs.voting("shop")), (None, None, Voting::Unknown));
        assert_eq!(proofs.changed(Ok(at(100)), false, secs(10)), std::slice::from_ref(&id));
        assert_eq!(proofs.due(secs(10)), Some(shop.clone()));
        assert_eq!((proofs.due(secs(10)), proofs.voting("shop")), (None, Voting::Unknown));
        let (ids, said) = proofs.proved(&shop, secs(10), Proof::Guarded(at(200)), secs(11));
        assert_eq!((ids, said), (vec![id.clone()], sure(200, 105)), "what was said before they were there is void");
        assert_eq!(proofs.voting("shop"), Voting::Guarded);
        assert!(proofs.is_fresh("shop", secs(10)) && !proofs.is_fresh("shop", secs(11)));
        assert_eq!(proofs.next(), Some(secs(71)));
        assert_eq!(proofs.voting("other"), Voting::Unknown);
        proofs.ask(&id, false, secs(20));
        assert_eq!((proofs.next(), proofs.voting("shop")), (None, Voting::Unknown));
    }

    #[test]
    fn what_was_said_between_two_proofs_of_which_one_failed_is_void() {
        let (mut proofs, _, shop) = known();
        proofs.changed(Ok(at(100)), false, secs(10));
        proofs.due(secs(10));
        proofs.proved(&shop, secs(10), Proof::Guarded(at(200)), secs(11));
        proofs.due(secs(71));
        let (_, said) = proofs.proved(&shop, secs(71), Proof::Unguarded("accepted".to_owned()), secs(72));
        assert_eq!((said, proofs.voting("shop")), (Some(Err("accepted".into())), Voting::Unguarded("accepted")));
        proofs.due(secs(132));
        let (_, said) = proofs.proved(&shop, secs(132), Proof::Guarded(at(321)), secs(133));
        assert_eq!((said, proofs.voting("shop")), (sure(321, 321), Voting::Guarded));
        proofs.due(secs(193));
        let (_, said) = proofs.proved(&shop, secs(193), Proof::Guarded(at(382)), secs(194));
        assert_eq!(said, sure(382, 105), "nothing new");
    }

    #[test]
    fn after_a_change_it_is_proved_when_the_server_keeps_to_it_and_what_was_said_before_is_void() {
        let (mut proofs, id, shop) = known();
        proofs.changed(Ok(at(100)), false, secs(10));
        proofs.due(secs(10));
        proofs.proved(&shop, secs(10), Proof::Guarded(at(200)), secs(11));
        assert_eq!(proofs.changed(Err("it is gone".into()), true, secs(20)), std::slice::from_ref(&id));
        assert_eq!((proofs.voting("shop"), proofs.next()), (Voting::Unguarded("it is gone"), None));
        proofs.changed(Ok(at(219)), true, secs(30));
        assert_eq!((proofs.due(secs(34)), proofs.voting("shop")), (None, Voting::Unknown));
        assert_eq!(proofs.due(secs(35)), Some(shop.clone()));
        proofs.changed(Ok(at(226)), true, secs(36));
        assert_eq!(
            proofs.proved(&shop, secs(35), Proof::Guarded(at(225)), secs(37)),
            (vec![], None),
            "it was too early"
        );
        assert_eq!((proofs.due(secs(40)), proofs.due(secs(41))), (None, Some(shop.clone())));
        let (_, said) = proofs.proved(&shop, secs(41), Proof::Guarded(at(232)), secs(42));
        assert_eq!(said, sure(232, 232));
    }

    #[test]
    fn policies_that_were_made_just_before_we_came_are_waited_for() {
        let (mut proofs, _, shop) = known();
        proofs.changed(Ok(at(198)), false, secs(10));
        proofs.due(secs(10));
        assert_eq!(proofs.proved(&shop, secs(10), Proof::Guarded(at(200)), secs(11)).1, None);
        assert_eq!((proofs.voting("shop"), proofs.next()), (Voting::Unknown, Some(secs(15))));
        proofs.due(secs(15));
        assert_eq!(proofs.proved(&shop, secs(15), Proof::Guarded(at(204)), secs(16)).1, sure(204, 203));
    }

    #[test]
    fn no_answer_says_nothing_and_is_asked_for_again() {
        let (mut proofs, _, shop) = known();
        proofs.changed(Ok(at(100)), false, secs(10));
        proofs.due(secs(10));
        let (_, said) = proofs.proved(&shop, secs(10), Proof::Unknown("away".to_owned()), secs(40));
        assert_eq!((said, proofs.voting("shop"), proofs.next()), (None, Voting::Unknown, Some(secs(45))));
        proofs.hurry(&shop, secs(41));
        assert_eq!(proofs.due(secs(41)), Some(shop));
    }
}
