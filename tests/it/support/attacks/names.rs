//! Names that are looked up for half a minute. Which servers a process asks stands in files of the machine, to mount others
//! in their place takes rights that a test does not have everywhere, and port 53 as well: so the lookup itself is slow.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{super::git_server::run, hundreds};

/// Containers at as many names, each in a domain of its own.
pub(crate) fn slow_names(count: usize) -> Vec<Value> {
    hundreds("names", &(0..count).map(|n| format!("r.n{n}.slow/r:1.0.0")).collect::<Vec<_>>())
}

/// What a program is started through ([`super::super::operator::Setup::through`]) so that its lookups of those are slow.
pub(crate) fn through(folder: &Path) -> Vec<String> {
    let library = folder.join("names.so");
    let source: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/it/support/attacks/names.c"].iter().collect();
    run(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl"), b"");
    vec!["env".to_owned(), format!("LD_PRELOAD={}", library.display())]
}
