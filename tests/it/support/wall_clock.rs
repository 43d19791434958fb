//! A wall clock that is ahead of the machine's, for one process, and can be set while that runs.

use std::{os::unix::fs::FileExt as _, path::PathBuf, process::Command};

use jiff::Timestamp;
use supercargo::{clock::SystemClock, ports::Clock as _};

use super::git_server::run;

/// The clock of the processes that are started through it ([`super::operator::Setup::through`]).
#[derive(Debug)]
pub(crate) struct WallClock {
    folder: tempfile::TempDir,
    ahead: std::fs::File,
}

impl WallClock {
    /// It is that time now, such as `2027-03-01T08:58:00Z`: soon, as certificates say when they begin and end.
    pub(crate) fn at(time: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/it/support/wall_clock.c"].iter().collect();
        let library = folder.path().join("wall_clock.so");
        run(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(library).arg(source), b"");
        let ahead = std::fs::File::create_new(folder.path().join("ahead")).unwrap();
        let clock = Self { folder, ahead };
        clock.set(time);
        clock
    }

    /// From now on it is that time.
    pub(crate) fn set(&self, time: &str) {
        let ahead = time.parse::<Timestamp>().unwrap().as_second() - SystemClock::default().now().as_second();
        assert!(ahead >= 0, "{time} has passed");
        self.ahead.write_all_at(&ahead.to_ne_bytes(), 0).unwrap();
    }

    /// What a program is started through.
    pub(crate) fn through(&self) -> Vec<String> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let ahead = format!("SUPERCARGO_TESTS_AHEAD={}", path("ahead"));
        vec!["env".to_owned(), format!("LD_PRELOAD={}", path("wall_clock.so")), ahead]
    }
}
