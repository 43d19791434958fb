//! What people wish for a workload, or for all: each wish is carried out once, the newest counts.

use jiff::Timestamp;

use super::{Act, Aim, Now, asked, rollback};
use crate::domain::{
    reason::{Code, Reason},
    update::{HeldBy, KeptKey, News, Record},
    wish::{What, Wish, WishAnswer},
    workload::WorkloadId,
};

/// A person wishes something; and what that is about, where that had to be found out.
pub(super) fn wished(
    record: &mut Record,
    wish: Wish,
    workload: WorkloadId,
    aim: Result<Option<Aim>, String>,
    now: Now,
    acts: &mut Vec<Act>,
) {
    let is_older = |other: &Wish| other.object == wish.object && other.generation > wish.generation;
    if !wish.is_new(record.rare.answer.as_deref()) || record.rare.wish.as_deref().is_some_and(is_older) {
        return;
    }
    record.rare.wish = None;
    let (object, generation) = (wish.object.clone(), wish.generation);
    let answer = match (wish.what.clone(), aim) {
        (_, Err(why)) => Some((false, Reason::new(refused(&wish.what), why))),
        (What::Rollback(_), Ok(None)) => None,
        (What::Rollback(_), Ok(Some(aim))) => rollback::wished(record, wish, aim, now, acts),
        (What::Hold, Ok(_)) => Some((true, hold(record, &wish, &workload, now, acts))),
        (What::Resume { keep_quarantine }, Ok(_)) => Some((true, resume(record, keep_quarantine, now.at))),
    };
    let Some((done, reason)) = answer else { return };
    record.rare.answer = Some(Box::new(WishAnswer { object, generation, at: now.at, done, reason }));
    acts.push(Act::SaveState(record.state(workload)));
    asked(record, acts);
}

fn refused(what: &What) -> Code {
    match what {
        What::Rollback(_) => Code::RollbackNotPossible,
        What::Hold => Code::Held,
        What::Resume { .. } => Code::Resumed,
    }
}

/// Nothing is begun from now on; what waits for its turn does not get it.
fn hold(record: &mut Record, wish: &Wish, workload: &WorkloadId, now: Now, acts: &mut Vec<Act>) -> Reason {
    let Wish { by, on_behalf_of, reason, .. } = wish.clone();
    let held = HeldBy { by, on_behalf_of, reason, at: now.at };
    record.stop(held.clone());
    acts.push(Act::Announce(News::Stopped(workload.clone(), held)));
    let what = if workload.is_all() { "everything is left as it is" } else { "it is left as it is" };
    Reason::new(Code::Held, format!("{what} until somebody resumes it"))
}

/// What people or the past held up goes on.
fn resume(record: &mut Record, keep_quarantine: bool, now: Timestamp) -> Reason {
    let mut lifted: Vec<String> = Vec::new();
    lifted.extend(record.held().map(|held| format!("the hold of {}", held.by)));
    lifted.extend(record.holds().iter().map(|hold| format!("the hold on {}", hold.to)));
    let freed = record.quarantined().iter().filter(|_| !keep_quarantine);
    lifted.extend(freed.map(|bad| format!("the quarantine of {}", bad.to)));
    let (in_force, gone) = record.resume(keep_quarantine, now);
    let mut message = match lifted.is_empty() {
        true if record.rare.pardoned => "what was moved just now is not held".to_owned(),
        true => "nothing of it was held; `supercargo explain` shows what else keeps it".to_owned(),
        false => format!("lifted: {}", lifted.join(", ")),
    };
    let mut add = |what: &str, keys: &[KeptKey]| {
        let said = |KeptKey { key, value, .. }: &KeptKey| {
            value.as_ref().map_or_else(|| format!("no `{key}`"), |value| format!("`{key}: {value}`"))
        };
        let keys: Vec<String> = keys.iter().map(said).collect();
        if !keys.is_empty() {
            message = format!("{message}; {what}: {}", keys.join(", "));
        }
    };
    add("in force again, as before", &in_force);
    add("not in force any more, unless written again", &gone);
    Reason::new(Code::Resumed, message)
}
