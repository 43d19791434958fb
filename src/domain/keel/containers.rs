//! Which containers are watched, by a regular expression on their names.

use crate::domain::workload::Workload;

/// The names of the containers that a regular expression matches somewhere; `None` if those are all.
pub(super) fn monitored(pattern: &str, workload: &Workload) -> Result<Option<String>, String> {
    let regex = regex::RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build()
        .map_err(|_| "no regular expression that supercargo can read; Keel watches all containers then".to_owned())?;
    let names: Vec<&str> = workload.containers.iter().map(|c| &*c.name).filter(|name| regex.is_match(name)).collect();
    match names.len() {
        0 => Err("matches no container here; name them in `supercargo.dev/containers`".to_owned()),
        count if count == workload.containers.len() => Ok(None),
        _ => Ok(Some(names.join(","))),
    }
}
