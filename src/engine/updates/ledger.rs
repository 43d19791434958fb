//! What is to be remembered, on its way to the store: of each workload one thing after the other, in the order in which it
//! came to be, and never over what was not seen.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    versions::Versions,
    writing::{Entry, StoreAnswer, Stored, Writing},
};
use crate::{
    domain::{
        back_off::BackOff,
        line::Line,
        update::{Tracked, UpdateId},
        workload::WorkloadId,
    },
    engine::timers::Timers,
    ports::{PutError, Version},
};

/// What is written at once.
const AT_ONCE: usize = 8;
/// As much may wait of one workload while the store is away.
const WAITING: usize = 20;
/// How many names are tried where others have taken an update's own.
const NAMES: u32 = 20;
/// As often in a row what was changed meanwhile is read and written again at once.
const CONFLICTS: u32 = 5;
pub(super) const CHANGED: &str = "each time it was changed meanwhile";
const AWAY: BackOff = BackOff::millis(1_000, 300_000);
const REFUSED: BackOff = BackOff::millis(60_000, 3_600_000);

/// What follows from an answer, for whoever decides.
#[derive(Debug, PartialEq)]
pub(crate) enum News {
    Nothing,
    /// Somebody else has written this to an update that we had not ended.
    Recorded(Box<Tracked>),
    /// It was not remembered, and is tried again; in these words, which are new.
    Failed(WorkloadId, String),
    /// It is not remembered, and not tried again; why.
    Lost(WorkloadId, &'static str),
}

/// What is known of the store, and what waits.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Of whom anything is open or waits.
    workloads: HashMap<WorkloadId, Shelf>,
    /// What is remembered by a workload's name, as it was seen in the store.
    states: Versions,
    line: Line<WorkloadId>,
    lined_up: HashSet<WorkloadId>,
    under_way: usize,
    /// When those are tried again that failed.
    timers: Timers<WorkloadId>,
}

/// What is known of one workload.
#[derive(Default)]
struct Shelf {
    /// Updates that have not ended.
    open: Vec<StoredUpdate>,
    waiting: VecDeque<Entry>,
    is_busy: bool,
    /// What waits for its time, as the last one failed: updates, and what is remembered by its name.
    delayed: [bool; 2],
    /// How often in a row the store did not take it.
    failures: u32,
    /// How often in a row something was changed since it was seen, and how often that was too often.
    conflicts: u32,
    rounds: u32,
    /// What was said of the last failure.
    said: Option<String>,
}

/// An update in the store.
struct StoredUpdate {
    /// What the engine calls it.
    id: UpdateId,
    /// Its name there differs where another has that one: such as the same change, made before.
    nth: u32,
    version: Option<Version>,
}

impl Ledger {
    /// An update that has not ended is in the store.
    pub(crate) fn has(&mut self, tracked: &mut Tracked, version: Version) {
        let (id, nth) = tracked.update.id.split();
        tracked.update.id = id.clone();
        let shelf = self.workloads.entry(tracked.update.workload.clone()).or_default();
        shelf.open.retain(|known| known.id != id);
        shelf.open.push(StoredUpdate { id, nth, version: Some(version) });
    }

    /// Whether an update is known to be there, or is being written.
    pub(crate) fn knows(&self, workload: &WorkloadId, id: &UpdateId) -> bool {
        let is_it = |id: &UpdateId, of: &UpdateId| *id == of.split().0;
        self.workloads.get(workload).is_some_and(|shelf| {
            shelf.is_busy || !shelf.waiting.is_empty() || shelf.open.iter().any(|known| is_it(&known.id, id))
        })
    }

    /// What is remembered by a workload's name is in the store.
    pub(crate) fn has_state(&mut self, workload: &WorkloadId, version: Version) {
        self.states.see(workload, Some(version));
    }

    /// What is remembered by its name is kept in the store alone: it is read again before anything is written over it.
    pub(crate) fn lose_state(&mut self, workload: &WorkloadId) {
        self.states.see(workload, None);
    }

    /// Whether that is known, or is being written.
    pub(crate) fn knows_state(&self, workload: &WorkloadId) -> bool {
        let is_busy = |shelf: &Shelf| shelf.is_busy || !shelf.waiting.is_empty();
        self.states.of(workload).is_some() || self.workloads.get(workload).is_some_and(is_busy)
    }

    /// Whether all is remembered that was to be of a workload.
    pub(crate) fn is_idle(&self, workload: &WorkloadId) -> bool {
        self.workloads.get(workload).is_none_or(|shelf| !shelf.is_busy && shelf.waiting.is_empty())
    }

    /// Lets something be written.
    pub(crate) fn write(&mut self, entry: Entry) -> News {
        let workload = entry.workload().clone();
        let shelf = self.workloads.entry(workload.clone()).or_default();
        // What has not begun is written as it is now; what was set last after the record of its update, which may wait.
        // The same of a workload that is there again comes after what is forgotten of the one before.
        let is_forgotten = |place| shelf.waiting.iter().skip(place).any(|later| matches!(later, Entry::Forget(_)));
        match shelf.waiting.iter().position(|waiting| waiting.is_said_by(&entry)) {
            Some(place) if !entry.is_state() && !is_forgotten(place) => shelf.waiting[place] = entry,
            place => {
                place.map(|place| shelf.waiting.remove(place));
                shelf.waiting.push_back(entry);
            }
        }
        let is_full = shelf.waiting.len() > WAITING;
        if is_full {
            shelf.waiting.pop_front();
        }
        if !shelf.is_busy && shelf.may_write() {
            self.line_up(&workload);
        }
        if is_full { News::Lost(workload, "too much of it waits already") } else { News::Nothing }
    }

    fn line_up(&mut self, workload: &WorkloadId) {
        if self.lined_up.insert(workload.clone()) {
            self.line.join(&workload.namespace, workload.clone(), usize::MAX, |_| true);
        }
    }

    /// The next that may be written now.
    pub(crate) fn next(&mut self) -> Option<Writing> {
        while self.under_way < AT_ONCE {
            let (_, workload) = self.line.next(|_| true)?;
            self.lined_up.remove(&workload);
            let Some(shelf) = self.workloads.get_mut(&workload).filter(|shelf| !shelf.is_busy) else { continue };
            let Some(mut entry) = shelf.take() else { continue };
            shelf.is_busy = true;
            self.under_way += 1;
            let seen = match &mut entry {
                Entry::State(_) => self.states.of(&workload).cloned(),
                Entry::Forget(_) => None,
                Entry::Update(tracked) => {
                    let known = shelf.open.iter().find(|known| known.id == tracked.update.id);
                    let (nth, version) = known.map_or((0, None), |known| (known.nth, known.version.clone()));
                    tracked.update.id = tracked.update.id.nth(nth);
                    version
                }
            };
            return Some(Writing { entry, seen });
        }
        None
    }

    /// Takes in what came of a write.
    pub(crate) fn answered(&mut self, writing: Writing, answer: StoreAnswer, now: Duration) -> News {
        let Writing { mut entry, seen } = writing;
        let workload = entry.workload().clone();
        self.under_way -= 1;
        let shelf = self.workloads.entry(workload.clone()).or_default();
        shelf.is_busy = false;
        let nth = entry.rename();
        let mut news = News::Nothing;
        match answer {
            StoreAnswer::Written(version) => {
                shelf.succeeded();
                match &entry {
                    // Of one that is gone it is kept in the store alone.
                    Entry::State(state) => {
                        let version = version.filter(|_| !state.is_empty() && !state.uid.is_empty());
                        self.states.see(&workload, version);
                    }
                    Entry::Forget(_) => {
                        shelf.open.clear();
                        self.states.see(&workload, None);
                    }
                    Entry::Update(tracked) => {
                        let id = tracked.update.id.clone();
                        shelf.open.retain(|known| known.id != id);
                        if !tracked.phase.is_over() {
                            shelf.open.push(StoredUpdate { id, nth, version });
                        }
                    }
                }
            }
            StoreAnswer::Taken(found) => {
                let (is_state, was_seen) = (entry.is_state(), seen.is_some());
                let taken = match (found, entry) {
                    (Stored::State(found), Entry::State(ours)) => {
                        let (theirs, version) = found.unzip();
                        self.states.see(&workload, version);
                        let ours = theirs.into_iter().fold(ours, |ours, theirs| Box::new(ours.with(*theirs)));
                        shelf.again(Entry::State(ours));
                        None
                    }
                    (Stored::Update(found), Entry::Update(ours)) => shelf.taken(*ours, nth, found, was_seen),
                    _ => None,
                };
                let counts = was_seen || is_state || matches!(taken, Some(News::Recorded(_)));
                if matches!(taken, Some(News::Nothing | News::Lost(..))) {
                    shelf.succeeded();
                // What is not there as it was seen time and again is something else than somebody else's write.
                } else if counts && shelf.conflicts_too_often() {
                    self.timers.set(workload.clone(), now + AWAY.after(shelf.rounds - 1));
                    shelf.delayed[usize::from(is_state)] = true;
                    news = News::Failed(workload.clone(), CHANGED.to_owned());
                }
                news = taken.unwrap_or(news);
            }
            StoreAnswer::Failed(error) => {
                let back_off = if matches!(error, PutError::Refused(_)) { REFUSED } else { AWAY };
                self.timers.set(workload.clone(), now + back_off.after(shelf.failures));
                shelf.failures = shelf.failures.saturating_add(1);
                let said = error.to_string();
                if shelf.said.as_ref() != Some(&said) {
                    news = News::Failed(workload.clone(), said.clone());
                }
                shelf.said = Some(said);
                if shelf.delay(entry) {
                    self.line_up(&workload);
                }
                return news;
            }
        }
        if shelf.may_write() {
            self.line_up(&workload);
        }
        self.tidy(&workload);
        news
    }

    /// Nothing is kept of whom nothing is known.
    fn tidy(&mut self, workload: &WorkloadId) {
        let is_empty = |shelf: &Shelf| {
            let has_conflicts = shelf.conflicts + shelf.rounds > 0;
            shelf.waiting.is_empty() && shelf.open.is_empty() && !shelf.is_busy && !has_conflicts
        };
        if self.workloads.get(workload).is_some_and(is_empty) {
            self.workloads.remove(workload);
        }
    }

    /// When something is next tried again.
    pub(crate) fn wakes_at(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Lets those be tried again whose time has come.
    pub(crate) fn woke(&mut self, now: Duration) {
        while let Some(workload) = self.timers.due(now) {
            if let Some(shelf) = self.workloads.get_mut(&workload) {
                shelf.delayed = Default::default();
                if shelf.waiting.is_empty() && !shelf.is_busy {
                    (shelf.conflicts, shelf.rounds) = (0, 0);
                }
            }
            self.tidy(&workload);
            self.line_up(&workload);
        }
    }

    /// Everything that waits is tried once more, and how many there are.
    pub(crate) fn hurry(&mut self) {
        self.woke(Duration::MAX);
    }
}

impl Shelf {
    /// What was set says that its update is recorded, so it waits for that; what somebody took away does not.
    fn is_open(&self, entry: &Entry) -> bool {
        let [update, state] = self.delayed;
        match entry {
            Entry::State(of) => !state && (!update || !of.holds.is_empty()),
            Entry::Update(_) | Entry::Forget(_) => !update,
        }
    }

    fn may_write(&self) -> bool {
        self.waiting.iter().any(|entry| self.is_open(entry))
    }

    fn take(&mut self) -> Option<Entry> {
        let next = self.waiting.iter().position(|entry| self.is_open(entry))?;
        self.waiting.remove(next)
    }

    /// It waits for its time; whether anything else does not.
    fn delay(&mut self, entry: Entry) -> bool {
        self.delayed[usize::from(entry.is_state())] = true;
        self.again(entry);
        self.may_write()
    }

    /// The store has taken something, or has it.
    fn succeeded(&mut self) {
        (self.failures, self.conflicts, self.rounds, self.said) = (0, 0, 0, None);
    }

    /// Something was changed again since it was seen; whether that is enough for now.
    fn conflicts_too_often(&mut self) -> bool {
        self.conflicts += 1;
        let is_enough = self.conflicts > CONFLICTS;
        if is_enough {
            (self.conflicts, self.rounds) = (0, self.rounds.saturating_add(1));
        }
        is_enough
    }

    /// It is tried before all others, unless something newer came to take its place.
    fn again(&mut self, entry: Entry) {
        if !self.waiting.iter().any(|newer| entry.is_said_by(newer)) {
            self.waiting.push_front(entry);
        }
    }

    /// What was to be written is not there as it was seen; what follows from that, unless it is tried again.
    fn taken(
        &mut self,
        ours: Tracked,
        nth: u32,
        found: Option<(Box<Tracked>, Version)>,
        was_seen: bool,
    ) -> Option<News> {
        let id = ours.update.id.clone();
        self.open.retain(|known| known.id != id);
        let known = |nth, version| StoredUpdate { id: id.clone(), nth, version };
        let Some((mut theirs, version)) = found else {
            // Somebody deleted it, or what has that name is none of ours.
            let nth = if was_seen { nth } else { nth + 1 };
            if nth >= NAMES {
                return Some(News::Lost(ours.update.workload, "others have taken every name for it"));
            }
            self.open.push(known(nth, None));
            self.again(Entry::Update(Box::new(ours)));
            return None;
        };
        theirs.update.id = id.clone();
        match theirs.ended() {
            // It is there as it is to be: an answer was lost, or it was recovered from the workload.
            Some(ended) if ours.phase.is_over() && ended >= started(&ours) => Some(News::Nothing),
            // The same change was made before: it has come to its end, and stays so.
            Some(ended) if !was_seen && ended < started(&ours) && nth + 1 < NAMES => {
                self.open.push(known(nth + 1, None));
                self.again(Entry::Update(Box::new(ours)));
                None
            }
            // It is what we had written before: somebody has written beside it, such as what people were told.
            None if ours.continues(&theirs) => {
                self.open.push(known(nth, Some(version)));
                self.again(Entry::Update(Box::new(ours)));
                None
            }
            // Somebody else has ended it, or goes on with it.
            _ => {
                let is_same = *theirs == ours;
                if !theirs.phase.is_over() {
                    self.open.push(known(nth, Some(version)));
                }
                Some(if is_same { News::Nothing } else { News::Recorded(theirs) })
            }
        }
    }
}

/// When the update began that this is the story of.
fn started(tracked: &Tracked) -> Timestamp {
    tracked.log.first().map_or(tracked.update.proposed, |first| first.at.min(tracked.update.proposed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::update::WorkloadState;
    use crate::domain::{
        image::ImageRef,
        reason::{Code, Reason},
        target::Route,
        update::{Change, Item, LogEntry, Phase, Update},
    };

    const NOW: Duration = Duration::from_secs(1000);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    /// An update that was proposed at a time and has come that far since.
    fn update(proposed: i64, phase: Phase) -> Box<Tracked> {
        let image = |tag: &str| ImageRef::parse(&format!("r.io/web:{tag}")).unwrap();
        let change = Change { container: "web".into(), init: false, from: image("1.0.0"), to: image("1.0.1") };
        let workload = "shop/Deployment/web".parse().unwrap();
        let update = Update::new(workload, vec![Item::from(change)], Route::Cluster, at(proposed));
        let log = vec![LogEntry { at: at(proposed + 1), phase: phase.name(), reason: None }];
        Box::new(Tracked::recorded(update, phase, log))
    }

    fn waiting() -> Phase {
        Phase::Waiting { reason: Reason::new(Code::GitConflict, "two files") }
    }

    fn waits(proposed: i64) -> Box<Tracked> {
        update(proposed, waiting())
    }

    /// The same update, which has gone on since.
    fn further(proposed: i64) -> Box<Tracked> {
        let mut further = waits(proposed);
        further.phase = Phase::Progressing;
        further.log.push(LogEntry { at: at(proposed + 2), phase: further.phase.name(), reason: None });
        further
    }

    fn version(number: u32) -> Version {
        Version(number.to_string().into())
    }

    /// What is written next: its name in the store, its phase, and as of which version.
    fn next(ledger: &mut Ledger) -> (Writing, String) {
        let writing = ledger.next().expect("something waits");
        let what = match &writing.entry {
            Entry::Update(tracked) => {
                let name = tracked.update.id.0.replacen(&*update(0, waiting()).update.id.0, "id", 1);
                format!("{name} {}", tracked.phase.name().as_str())
            }
            Entry::State(_) => "state".to_owned(),
            Entry::Forget(_) => "forget".to_owned(),
        };
        let seen = writing.seen.as_ref().map_or("new", |Version(seen)| seen);
        let said = format!("{what} {seen}");
        (writing, said)
    }

    fn found(tracked: Box<Tracked>, number: u32) -> StoreAnswer {
        StoreAnswer::Taken(Stored::Update(Some((tracked, version(number)))))
    }

    #[test]
    fn what_is_written_beside_an_update_does_not_take_it_back() {
        let mut ledger = Ledger::default();
        ledger.has(&mut waits(1000), version(1));
        let further = further(1000);
        ledger.write(Entry::Update(further.clone()));
        let writing = ledger.next().unwrap();
        let beside = StoreAnswer::Taken(Stored::Update(Some((waits(1000), version(2)))));
        assert_eq!(ledger.answered(writing, beside, NOW), News::Nothing);
        let again = ledger.next().unwrap();
        assert_eq!(again.seen, Some(version(2)));
        assert!(matches!(&again.entry, Entry::Update(ours) if **ours == *further));
        // What somebody else has gone on with is taken over.
        let mut theirs = waits(1000);
        theirs.log.push(LogEntry { at: at(1003), phase: theirs.phase.name(), reason: None });
        let gone_on = StoreAnswer::Taken(Stored::Update(Some((theirs.clone(), version(3)))));
        assert_eq!(ledger.answered(again, gone_on, NOW), News::Recorded(theirs));
    }

    #[test]
    fn what_was_set_last_is_never_written_before_the_record_of_its_update() {
        let mut ledger = Ledger::default();
        ledger.write(Entry::Update(update(1, Phase::Progressing)));
        let (first, _) = next(&mut ledger);
        ledger.write(state("u"));
        // The next update is written before the state of this one was, whose place is not that of the newer state.
        let mut newer = update(1, Phase::Progressing);
        newer.update.id = UpdateId("newer".into());
        ledger.write(Entry::Update(newer));
        ledger.write(state("u"));
        ledger.answered(first, StoreAnswer::Written(Some(version(7))), NOW);
        let (second, said) = next(&mut ledger);
        assert_eq!(said, "newer Progressing new");
        ledger.answered(second, StoreAnswer::Written(Some(version(8))), NOW);
        assert_eq!(next(&mut ledger).1, "state new");
    }

    #[test]
    fn what_is_forgotten_of_a_workload_takes_nothing_from_one_that_is_there_again() {
        let mut ledger = Ledger::default();
        ledger.write(Entry::Update(update(1, waiting())));
        let (refused, _) = next(&mut ledger);
        ledger.answered(refused, StoreAnswer::Failed(PutError::Refused("a quota".to_owned())), NOW);
        ledger.write(Entry::Forget("shop/Deployment/web".parse().unwrap()));
        ledger.write(Entry::Update(update(2, Phase::Applying)));
        ledger.hurry();
        let (forgets, said) = next(&mut ledger);
        assert_eq!(said, "forget new");
        ledger.answered(forgets, StoreAnswer::Written(None), NOW);
        assert_eq!(next(&mut ledger).1, "id Applying new");
    }

    #[test]
    fn of_a_workload_one_thing_is_written_after_the_other_as_of_the_last_version() {
        let mut ledger = Ledger::default();
        ledger.write(Entry::Update(update(1, waiting())));
        let (first, said) = next(&mut ledger);
        assert_eq!(said, "id Waiting new");
        // What comes meanwhile waits, and is written as it is then.
        ledger.write(Entry::Update(update(1, Phase::Applying)));
        ledger.write(Entry::Update(update(1, Phase::Succeeded)));
        ledger.write(Entry::Forget("shop/Deployment/web".parse().unwrap()));
        assert!(ledger.next().is_none());
        assert_eq!(ledger.answered(first, StoreAnswer::Written(Some(version(7))), NOW), News::Nothing);
        let (second, said) = next(&mut ledger);
        assert_eq!(said, "id Succeeded 7");
        ledger.answered(second, StoreAnswer::Written(Some(version(8))), NOW);
        let (third, said) = next(&mut ledger);
        assert_eq!(said, "forget new");
        ledger.answered(third, StoreAnswer::Written(None), NOW);
        assert!(ledger.workloads.is_empty(), "nothing is kept of what is done");
    }

    #[test]
    fn the_same_change_made_again_has_a_record_of_its_own() {
        let mut ledger = Ledger::default();
        ledger.write(Entry::Update(update(50, waiting())));
        for (name, ended) in [("id", 10), ("id-2", 20)] {
            let (writing, said) = next(&mut ledger);
            assert_eq!(said, format!("{name} Waiting new"));
            assert_eq!(ledger.answered(writing, found(update(ended, Phase::Succeeded), 3), NOW), News::Nothing);
        }
        let (writing, said) = next(&mut ledger);
        assert_eq!(said, "id-3 Waiting new");
        ledger.answered(writing, StoreAnswer::Written(Some(version(4))), NOW);
        // It keeps that name.
        ledger.write(Entry::Update(update(50, Phase::Succeeded)));
        assert_eq!(next(&mut ledger).1, "id-3 Succeeded 4");
    }

    #[test]
    fn what_is_recovered_and_was_recorded_already_is_not_recorded_twice() {
        let mut ledger = Ledger::default();
        ledger.write(Entry::Update(update(50, Phase::Succeeded)));
        let (writing, _) = next(&mut ledger);
        assert_eq!(ledger.answered(writing, found(update(50, Phase::Succeeded), 3), NOW), News::Nothing);
        assert!(ledger.next().is_none());
    }

    #[test]
    fn what_somebody_else_wrote_is_not_written_over() {
        let mut ledger = Ledger::default();
        ledger.has(&mut update(50, Phase::Applying), version(3));
        ledger.write(Entry::Update(update(50, Phase::Succeeded)));
        let (writing, said) = next(&mut ledger);
        assert_eq!(said, "id Succeeded 3");
        let theirs = update(50, waiting());
        assert_eq!(ledger.answered(writing, found(theirs.clone(), 4), NOW), News::Recorded(theirs));
        assert!(ledger.next().is_none());
        // What the engine makes of it is written as of what was seen.
        ledger.write(Entry::Update(update(50, Phase::Succeeded)));
        assert_eq!(next(&mut ledger).1, "id Succeeded 4");
    }

    #[test]
    fn what_somebody_deleted_is_written_anew_and_a_name_that_is_taken_is_left() {
        let mut ledger = Ledger::default();
        ledger.has(&mut update(50, Phase::Applying), version(3));
        ledger.write(Entry::Update(update(50, waiting())));
        let (writing, _) = next(&mut ledger);
        ledger.answered(writing, StoreAnswer::Taken(Stored::Update(None)), NOW);
        let (writing, said) = next(&mut ledger);
        assert_eq!(said, "id Waiting new");
        ledger.answered(writing, StoreAnswer::Taken(Stored::Update(None)), NOW);
        // Nor are all names tried for ever.
        for nth in 2..=NAMES {
            let (writing, said) = next(&mut ledger);
            assert_eq!(said, format!("id-{nth} Waiting new"));
            let news = ledger.answered(writing, StoreAnswer::Taken(Stored::Update(None)), NOW);
            assert_eq!(matches!(news, News::Lost(..)), nth == NAMES);
        }
        assert!(ledger.next().is_none());
    }

    /// With something that somebody took away.
    fn state(uid: &str) -> Entry {
        let workload = "shop/Deployment/web".parse().unwrap();
        let holds = crate::domain::update::Hold {
            container: "web".into(),
            init: false,
            to: ImageRef::parse("r.io/web:1.0.1").unwrap(),
            back_to: "r.io/web:1.0.0".into(),
            by: "kubectl".into(),
            at: at(1),
            how: crate::domain::update::How::Person,
            in_memory: false,
        };
        Entry::State(Box::new(WorkloadState { holds: vec![holds], ..WorkloadState::new(workload, uid.into()) }))
    }

    #[test]
    fn what_somebody_took_away_does_not_wait_for_an_update_whose_record_is_refused() {
        let mut ledger = Ledger::default();
        ledger.write(Entry::Update(update(50, Phase::Succeeded)));
        let (writing, _) = next(&mut ledger);
        ledger.write(state("u1"));
        let refused = StoreAnswer::Failed(PutError::Refused("a quota".to_owned()));
        assert!(matches!(ledger.answered(writing, refused, NOW), News::Failed(..)));
        let (writing, said) = next(&mut ledger);
        assert_eq!(said, "state new");
        ledger.answered(writing, StoreAnswer::Written(Some(version(1))), NOW);
        assert!(ledger.next().is_none(), "the update waits for its time");
        // Nor does what comes later.
        ledger.write(state("u1"));
        let (writing, said) = next(&mut ledger);
        assert_eq!(said, "state 1");
        ledger.answered(writing, StoreAnswer::Written(Some(version(2))), NOW);
        // What was set does: it would say that the update is recorded.
        let Entry::State(set) = state("u1") else { panic!() };
        ledger.write(Entry::State(Box::new(WorkloadState { holds: vec![], ..*set })));
        assert!(ledger.next().is_none());
        ledger.woke(ledger.wakes_at().unwrap());
        let (writing, said) = next(&mut ledger);
        assert_eq!(said, "id Succeeded new");
        ledger.answered(writing, StoreAnswer::Written(Some(version(1))), NOW);
        assert_eq!(next(&mut ledger).1, "state 2");
    }

    #[test]
    fn of_a_workload_that_is_gone_the_state_is_read_again_before_anything_is_written_over_it() {
        let mut ledger = Ledger::default();
        ledger.write(state(""));
        let (writing, _) = next(&mut ledger);
        ledger.answered(writing, StoreAnswer::Written(Some(version(1))), NOW);
        assert!(ledger.workloads.is_empty() && ledger.states.is_empty(), "nothing is kept of it here");
        ledger.has_state(&"shop/Deployment/web".parse().unwrap(), version(2));
        ledger.lose_state(&"shop/Deployment/web".parse().unwrap());
        assert!(ledger.workloads.is_empty() && ledger.states.is_empty());
    }

    #[test]
    fn what_conflicts_each_time_is_tried_less_and_less_often() {
        let mut ledger = Ledger::default();
        ledger.write(state("u1"));
        for _ in 0..CONFLICTS {
            let (writing, _) = next(&mut ledger);
            assert_eq!(ledger.answered(writing, StoreAnswer::Taken(Stored::State(None)), NOW), News::Nothing);
        }
        let (writing, _) = next(&mut ledger);
        let news = ledger.answered(writing, StoreAnswer::Taken(Stored::State(None)), NOW);
        assert!(matches!(news, News::Failed(..)), "{news:?}");
        assert!(ledger.next().is_none());
        assert!(ledger.wakes_at().unwrap() > NOW);
    }

    #[test]
    fn what_conflicted_time_and_again_is_written_over_what_was_found_last() {
        let mut ledger = Ledger::default();
        ledger.has(&mut waits(1000), version(0));
        ledger.write(Entry::Update(further(1000)));
        for n in 1..=CONFLICTS + 1 {
            let (writing, said) = next(&mut ledger);
            assert_eq!(said, format!("id Progressing {}", n - 1));
            let news = ledger.answered(writing, found(waits(1000), n), NOW);
            assert_eq!(matches!(news, News::Failed(..)), n > CONFLICTS);
        }
        assert!(ledger.next().is_none());
        ledger.woke(ledger.wakes_at().unwrap());
        let (writing, said) = next(&mut ledger);
        assert_eq!(said, format!("id Progressing {}", CONFLICTS + 1));
        assert_eq!(ledger.answered(writing, StoreAnswer::Written(Some(version(100))), NOW), News::Nothing);
        // What is kept by a workload's name is too.
        ledger.write(state("u1"));
        let there = |n: u32| {
            let Entry::State(state) = state("u1") else { panic!() };
            StoreAnswer::Taken(Stored::State(Some((state, version(n)))))
        };
        for n in 1..=CONFLICTS + 1 {
            let (writing, _) = next(&mut ledger);
            ledger.answered(writing, there(n), NOW);
        }
        ledger.woke(ledger.wakes_at().unwrap());
        assert_eq!(next(&mut ledger).1, format!("state {}", CONFLICTS + 1));
    }

    #[test]
    fn after_its_time_what_conflicts_is_read_and_written_again_at_once() {
        let mut ledger = Ledger::default();
        // An outage before does not count.
        ledger.write(state("u1"));
        for _ in 0..10 {
            let (writing, _) = next(&mut ledger);
            ledger.answered(writing, StoreAnswer::Failed(PutError::Unavailable("away".to_owned())), NOW);
            ledger.woke(ledger.wakes_at().unwrap());
        }
        for round in 0..3 {
            for n in 0..=CONFLICTS {
                let (writing, _) = next(&mut ledger);
                let news = ledger.answered(writing, StoreAnswer::Taken(Stored::State(None)), NOW);
                assert_eq!(matches!(news, News::Failed(..)), n == CONFLICTS);
            }
            assert!(ledger.next().is_none());
            assert_eq!(ledger.wakes_at(), Some(NOW + AWAY.after(round)));
            ledger.woke(ledger.wakes_at().unwrap());
        }
    }

    #[test]
    fn what_others_ended_with_no_end_is_not_asked_for_without_end() {
        let mut ledger = Ledger::default();
        let theirs = update(2000, Phase::Succeeded);
        for _ in 0..=CONFLICTS {
            ledger.write(Entry::Update(waits(1000)));
            let (writing, _) = next(&mut ledger);
            assert!(matches!(ledger.answered(writing, found(theirs.clone(), 1), NOW), News::Recorded(_)));
        }
        ledger.write(Entry::Update(waits(1000)));
        assert!(ledger.next().is_none() && ledger.wakes_at().is_some());
    }

    #[test]
    fn what_was_written_and_not_answered_is_gone_on_with() {
        let mut ledger = Ledger::default();
        ledger.write(Entry::Update(waits(1000)));
        let (writing, _) = next(&mut ledger);
        ledger.write(Entry::Update(further(1000)));
        let lost = StoreAnswer::Failed(PutError::Unavailable("no answer".to_owned()));
        ledger.answered(writing, lost, NOW);
        ledger.woke(ledger.wakes_at().unwrap());
        let (writing, said) = next(&mut ledger);
        assert_eq!(said, "id Progressing new");
        assert_eq!(ledger.answered(writing, found(waits(1000), 1), NOW), News::Nothing);
        assert_eq!(next(&mut ledger).1, "id Progressing 1");
    }

    #[test]
    fn an_update_whose_images_an_admission_rewrote_is_still_the_same() {
        let mut ledger = Ledger::default();
        ledger.has(&mut waits(1000), version(1));
        let mut rewritten = further(1000);
        rewritten.update.items[0].change.to = ImageRef::parse("mirror.io/web:1.0.1").unwrap();
        ledger.write(Entry::Update(rewritten));
        let (writing, _) = next(&mut ledger);
        assert_eq!(ledger.answered(writing, found(waits(1000), 2), NOW), News::Nothing);
        assert_eq!(next(&mut ledger).1, "id Progressing 2");
    }

    #[test]
    fn a_newer_state_is_never_written_before_the_record_of_its_update_whatever_was_found() {
        let mut ledger = Ledger::default();
        ledger.write(state("u1"));
        let (writing, _) = next(&mut ledger);
        ledger.write(Entry::Update(waits(1000)));
        ledger.write(state("u1"));
        let Entry::State(theirs) = state("u1") else { panic!() };
        let there = StoreAnswer::Taken(Stored::State(Some((theirs, version(5)))));
        assert_eq!(ledger.answered(writing, there, NOW), News::Nothing);
        let (writing, said) = next(&mut ledger);
        assert_eq!(said, "id Waiting new");
        ledger.answered(writing, StoreAnswer::Written(Some(version(1))), NOW);
        assert_eq!(next(&mut ledger).1, "state 5");
    }

    #[test]
    fn the_end_of_an_update_is_not_lost_where_the_same_change_begins_anew() {
        let mut ledger = Ledger::default();
        ledger.write(Entry::Update(update(50, Phase::Succeeded)));
        let (writing, _) = next(&mut ledger);
        ledger.write(Entry::Update(waits(1000)));
        ledger.answered(writing, StoreAnswer::Failed(PutError::Unavailable("away".to_owned())), NOW);
        ledger.woke(ledger.wakes_at().unwrap());
        let (writing, said) = next(&mut ledger);
        assert_eq!(said, "id Succeeded new");
        ledger.answered(writing, StoreAnswer::Written(Some(version(1))), NOW);
        assert_eq!(next(&mut ledger).1, "id Waiting new");
    }

    #[test]
    fn updates_that_others_ended_do_not_hold_up_one_another() {
        let mut ledger = Ledger::default();
        let mut all = Vec::new();
        for n in 0..2 * CONFLICTS {
            let mut one = waits(1000);
            one.update.id = UpdateId(format!("{n:016x}").into());
            ledger.has(&mut one, version(n));
            one.phase = Phase::Succeeded;
            ledger.write(Entry::Update(one.clone()));
            all.push(one);
        }
        for (ended, n) in all.into_iter().zip(100..) {
            let (writing, _) = next(&mut ledger);
            assert_eq!(ledger.answered(writing, found(ended, n), NOW), News::Nothing);
        }
        assert!(ledger.wakes_at().is_none() && ledger.workloads.is_empty());
    }

    #[test]
    fn a_store_that_does_not_answer_is_asked_again_later_and_that_is_told_once() {
        let mut ledger = Ledger::default();
        ledger.write(Entry::Update(update(50, waiting())));
        let failed = |why: &str| StoreAnswer::Failed(PutError::Unavailable(why.to_owned()));
        let (writing, _) = next(&mut ledger);
        assert!(matches!(ledger.answered(writing, failed("away"), NOW), News::Failed(..)));
        // Nothing is tried before its time, whatever comes.
        ledger.write(Entry::Update(update(50, Phase::Succeeded)));
        assert!(ledger.next().is_none());
        let later = ledger.wakes_at().unwrap();
        assert_eq!(later, NOW + AWAY.after(0));
        ledger.woke(later);
        let (writing, said) = next(&mut ledger);
        assert_eq!(said, "id Succeeded new");
        assert_eq!(ledger.answered(writing, failed("away"), later), News::Nothing);
        assert_eq!(ledger.wakes_at(), Some(later + AWAY.after(1)));
        ledger.woke(ledger.wakes_at().unwrap());
        let (writing, _) = next(&mut ledger);
        ledger.answered(writing, StoreAnswer::Written(Some(version(1))), later);
        assert!(ledger.next().is_none() && ledger.wakes_at().is_none() && ledger.workloads.is_empty());
    }

    #[test]
    fn as_much_waits_of_a_workload_as_there_is_room_for() {
        let mut ledger = Ledger::default();
        let other = |n: usize| {
            let mut tracked = update(1, Phase::Succeeded);
            tracked.update.id = UpdateId(format!("id{n}").into());
            Entry::Update(tracked)
        };
        let news: Vec<News> = (0..=WAITING).map(|n| ledger.write(other(n))).collect();
        assert_eq!(news[..WAITING], [const { News::Nothing }; WAITING]);
        assert!(matches!(news[WAITING], News::Lost(..)));
    }
}
