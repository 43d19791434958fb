//! What supercargo says of each container, and what the annotations that Kustomize renders ask for.

use std::{collections::BTreeSet, sync::LazyLock};

use regex::Regex;
use serde_json::Value;

use super::images::Images;

/// A row of the table of `run --git --once`.
#[derive(Debug)]
pub(super) struct Row {
    /// `namespace/Kind/name`
    pub(super) workload: String,
    pub(super) container: String,
    pub(super) image: String,
    pub(super) decision: String,
    pub(super) to: String,
    pub(super) reason: String,
}

/// Reasons that hide a fault: it was not known what the edit does, or where the image is.
pub(super) const UNFIT: &[&str] =
    &["report this", "still makes", "no file", "after the edit", "defines", "does not have"];

/// Two images are wished at one place.
pub(super) const SHARED: &str = "its place makes another image, too, which is to be another one or to stay";

/// The rows of a table.
pub(super) fn rows(table: &str) -> Vec<Row> {
    static GAP: LazyLock<Regex> = LazyLock::new(|| Regex::new(" {2,}").unwrap());
    let row = |line: &str| {
        let mut cells = GAP.splitn(line, 6).map(str::to_owned);
        let mut next = || cells.next().unwrap_or_default();
        Row { workload: next(), container: next(), image: next(), decision: next(), to: next(), reason: next() }
    };
    table.lines().skip(1).map(row).collect()
}

impl Row {
    /// The reason without what is only of this tree.
    pub(super) fn why(&self) -> String {
        static OWN: LazyLock<Regex> = LazyLock::new(|| {
            let place = r"\S*z\d+z/\S+: (line \d+: )?";
            Regex::new(&format!(r"Git target \S+: |the branch main of the |{place}|127.0.0.1:\S+|`[^`]*`")).unwrap()
        });
        let all = OWN.replace_all(&self.reason, "…");
        match all.split_once("makes the image of") {
            Some(_) => SHARED.to_owned(),
            None => all.chars().take(100).collect(),
        }
    }
}

/// A workload that Kustomize renders.
pub(super) struct Rendered<'o> {
    object: &'o Value,
    pub(super) id: String,
    /// The pointer of its pod's spec.
    pub(super) pod: &'static str,
}

impl<'o> Rendered<'o> {
    pub(super) fn of(object: &'o Value) -> Option<Self> {
        let kind = object["kind"].as_str()?;
        let pod = match kind {
            "Deployment" | "StatefulSet" | "DaemonSet" => "/spec/template/spec",
            "CronJob" => "/spec/jobTemplate/spec/template/spec",
            _ => return None,
        };
        let word = |key: &str| object["metadata"][key].as_str();
        let namespace = word("namespace").map(|namespace| format!("{namespace}/")).unwrap_or_default();
        Some(Self { object, id: format!("{namespace}{kind}/{}", word("name")?), pod })
    }

    /// The list, the index, the name and the image of each container that has one.
    pub(super) fn containers(&self) -> Vec<(&'static str, usize, &'o str, String)> {
        let mut found = Vec::new();
        for list in ["containers", "initContainers"] {
            let items = self.object.pointer(&format!("{}/{list}", self.pod)).and_then(Value::as_array);
            for (index, item) in items.into_iter().flatten().enumerate() {
                if let (Some(name), Some(image)) = (item["name"].as_str(), item["image"].as_str()) {
                    found.push((list, index, name, image.to_owned()));
                }
            }
        }
        found
    }

    /// Whether two of its containers have one name.
    pub(super) fn has_namesakes(&self) -> bool {
        let lists = ["containers", "initContainers"].map(|list| self.object.pointer(&format!("{}/{list}", self.pod)));
        let items = lists.into_iter().flatten().filter_map(Value::as_array).flatten();
        let mut seen = BTreeSet::new();
        items.into_iter().any(|item| !seen.insert(item["name"].as_str()))
    }

    /// Whether it says anything to us.
    pub(super) fn is_asked(&self) -> bool {
        let annotations = self.object["metadata"]["annotations"].as_object();
        annotations.into_iter().flatten().any(|(key, _)| key.starts_with("supercargo.dev/"))
    }

    fn annotation(&self, key: &str) -> Option<&'o str> {
        self.object["metadata"]["annotations"][format!("supercargo.dev/{key}")].as_str()
    }

    /// The images that a container may have after the update; none if it is to stay.
    pub(super) fn wanted(&self, list: &str, name: &str, image: &str, images: &Images) -> Vec<String> {
        let all = self.containers();
        let annotations = self.object["metadata"]["annotations"].as_object();
        let of_one =
            annotations.into_iter().flatten().filter_map(|(key, _)| key.strip_prefix("supercargo.dev/policy."));
        // A container that is not there is a mistake, which holds the workload, and so is a word that is no policy.
        let mut mistaken = of_one.into_iter().any(|one| all.iter().all(|(_, _, name, _)| *name != one));
        let policies = annotations.into_iter().flatten().filter(|(key, _)| key.starts_with("supercargo.dev/policy"));
        mistaken |= policies.into_iter().any(|(_, policy)| policy == "null");
        if self.annotation("suspend") == Some("true") || mistaken {
            return Vec::new();
        }
        let policy = |name: &str| self.annotation(&format!("policy.{name}"));
        let newer = |policy: Option<&str>, image: &str| policy.and_then(|policy| images.newer(image, policy));
        let general = self.annotation("policy");
        if list == "containers" || policy(name).is_some() {
            return newer(policy(name).or(general), image).into_iter().collect();
        }
        match self.annotation("init-containers") {
            Some("all") => newer(general, image).into_iter().collect(),
            Some("none") => Vec::new(),
            _ => {
                let alike = all.iter().filter(|(list, _, _, other)| *list == "containers" && other == image);
                let mut found: Vec<String> = alike
                    .map(|(_, _, name, _)| newer(policy(name).or(general), image).unwrap_or_else(|| image.to_owned()))
                    .collect();
                found.dedup();
                if found.iter().all(|found| found == image) { Vec::new() } else { found }
            }
        }
    }
}
