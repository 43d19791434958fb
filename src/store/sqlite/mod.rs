//! What is remembered in a file of SQLite, for where there is no cluster to keep it. Several processes may share the file.
//!
//! A file that is damaged, or that something else or a newer supercargo wrote, is reported and left as it is.

mod file;
mod sightings;
mod updates;

use futures::future::BoxFuture;

use crate::ports::{ClusterChange, RecordError};

pub use file::Sqlite;

impl Sqlite {
    /// The updates that have not ended, what is remembered by the names of workloads, and what was seen of repositories.
    pub fn known(&self) -> BoxFuture<'static, Result<Vec<ClusterChange>, RecordError>> {
        self.run(|file| {
            let mut known = updates::known(file)?;
            known.extend(sightings::known(file)?);
            Ok(known)
        })
    }
}
