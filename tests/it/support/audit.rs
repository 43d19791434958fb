//! The audit log of an API server. It gets long, and tests ask for it again and again: each line is read once.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use serde_json::Value;

/// One request of the audit log.
#[derive(Debug, Clone)]
pub(crate) struct Audited {
    /// `get`, `list`, `watch`, `patch`, …
    pub(crate) verb: String,
    /// Path and query.
    pub(crate) uri: String,
    /// The HTTP status.
    pub(crate) code: u16,
    /// What was sent; null where nothing was.
    pub(crate) body: Value,
}

/// What was read of it so far.
#[derive(Debug, Default)]
pub(crate) struct AuditLog {
    read: u64,
    users: HashMap<String, Requests>,
}

/// Those of a user, and the place of each by its id.
#[derive(Debug, Default)]
struct Requests {
    all: Vec<Audited>,
    places: HashMap<String, usize>,
}

impl AuditLog {
    /// What a user has asked so far, oldest first.
    pub(crate) fn of(&mut self, file: &Path, user: &str) -> Vec<Audited> {
        for line in self.more(file).lines() {
            self.take(line);
        }
        self.users.get(user).map(|requests| requests.all.clone()).unwrap_or_default()
    }

    /// What has come since then, but for a last line that is half written.
    fn more(&mut self, file: &Path) -> String {
        let Ok(mut file) = File::open(file) else { return String::new() };
        file.seek(SeekFrom::Start(self.read)).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        self.read += bytes.len() as u64;
        String::from_utf8(bytes).unwrap()
    }

    fn take(&mut self, line: &str) {
        let mut event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entry = Audited {
            verb: text(&event["verb"]),
            uri: text(&event["requestURI"]),
            code: event["responseStatus"]["code"].as_u64().unwrap_or_default() as u16,
            body: event["requestObject"].take(),
        };
        let Requests { all, places } = self.users.entry(text(&event["user"]["username"])).or_default();
        // A watch appears when it starts and again when it ends.
        match places.get(event["auditID"].as_str().unwrap_or_default()) {
            Some(&place) => all[place] = entry,
            None => {
                places.insert(text(&event["auditID"]), all.len());
                all.push(entry);
            }
        }
    }
}
