//! What a command remembers before it ends.

use std::{sync::Arc, time::Duration};

use super::{
    ledger::{CHANGED, Ledger, News},
    writing::{Entry, StoreAnswer},
};
use crate::{
    domain::update::Tracked,
    ports::{PutError, Records},
};

/// Remembers these, for a command that ends afterwards: in place of what was remembered of the same updates before.
pub async fn remember(records: &Arc<dyn Records>, updates: Vec<Tracked>) -> Result<(), PutError> {
    let mut ledger = Ledger::default();
    let mut all = Ok(());
    for update in updates {
        ledger.write(Entry::Update(Box::new(update.clone())));
        while let Some(writing) = ledger.next() {
            let (writing, answer) = writing.end(records.clone()).await;
            if let StoreAnswer::Failed(error) = answer {
                return Err(error);
            }
            match ledger.answered(writing, answer, Duration::ZERO) {
                News::Recorded(theirs) if !theirs.phase.is_over() => {
                    ledger.write(Entry::Update(Box::new(update.clone())));
                }
                // What somebody else has ended meanwhile stays so.
                News::Nothing | News::Recorded(_) => {}
                News::Failed(_, why) => all = Err(PutError::Unavailable(why)),
                News::Lost(_, why) => all = Err(PutError::Refused(why.to_owned())),
            }
        }
        if !ledger.is_idle(&update.update.workload) && all.is_ok() {
            all = Err(PutError::Unavailable(CHANGED.to_owned()));
        }
    }
    all
}
