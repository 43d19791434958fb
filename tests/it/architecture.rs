//! The rules of the map in `src/lib.rs`, read from it and held against every file of `src/`.
//!
//! Files are read as words, not as Rust: paths with `::`, and the trees of `use`. A file's unit tests, which stand at
//! its end under `#[cfg(test)]` or in a file `tests.rs` (or `engine/model.rs`), may use what they like.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use regex::Regex;

const MAX_LINES: usize = 400;
/// Files that may be longer, each with its reason.
const LONG: &[(&str, &str)] = &[
    ("domain/version.rs", "the grammar and the order of tags are one idea"),
    ("registry/http.rs", "one request, with all that it must refuse"),
];

/// One file of `src/`, without comments, texts and unit tests.
pub(crate) struct Source {
    /// Below `src/`.
    pub(crate) path: String,
    /// `["ingest", "webhook", "auth"]`
    module: Vec<String>,
    lines: usize,
    pub(crate) words: Vec<String>,
}

/// A row of the import table: what a module may use, as path prefixes.
struct Row {
    inside: BTreeSet<String>,
    outside: BTreeSet<String>,
    not_std: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

pub(crate) static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let read = |path: &PathBuf| {
        let relative = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        let module: Vec<_> = relative.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        let module = module.strip_suffix(&["mod".to_owned()]).unwrap_or(&module).to_vec();
        let text = fs::read_to_string(path).unwrap();
        let own = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
        Source { path: relative, module, lines: own.lines().count(), words: words(&blank(own)) }
    };
    let sources: Vec<_> = files
        .iter()
        .filter(|path| !path.ends_with("tests.rs") && !path.ends_with("engine/model.rs"))
        .map(read)
        .collect();
    assert!(sources.len() > 20, "src/ was not found");
    sources
});

/// The text with comments dropped and with nothing left of what stands in quotes.
fn blank(text: &str) -> String {
    static QUOTED: LazyLock<Regex> = LazyLock::new(|| {
        let quoted = r##"//[^\n]*|r#"(?s:.*?)"#|b?"(?:[^"\\]|\\(?s:.))*"|'(?:[^'\\]|\\[^u]|\\u\{[^}]*\})'"##;
        Regex::new(quoted).unwrap()
    });
    QUOTED.replace_all(text, "\"\"").into_owned()
}

fn words(text: &str) -> Vec<String> {
    static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[A-Za-z_][A-Za-z0-9_]*|::|[^\sA-Za-z0-9_]").unwrap());
    WORD.find_iter(text).map(|word| word.as_str().to_owned()).collect()
}

/// Every path of two or more parts, `use` trees spelt out: `["crate", "ports", "Clock"]`. A path that begins with a
/// name that the file imports is not among them: its import is.
fn paths(words: &[String]) -> Vec<Vec<String>> {
    let (mut imports, mut found) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < words.len() {
        // Not `impl Trait + use<…>`.
        if words[at] == "use" && words.get(at + 1).is_some_and(|word| word != "<") {
            at = tree(words, at + 1, &[], &mut imports);
            continue;
        }
        let mut path = vec![words[at].clone()];
        let follows = at > 0 && (words[at - 1] == "::" || words[at - 1] == ".");
        while is_name(&words[at]) && words.get(at + 1).is_some_and(|word| word == "::") {
            let Some(next) = words.get(at + 2).filter(|next| is_name(next)) else { break };
            path.push(next.clone());
            at += 2;
        }
        if path.len() > 1 && !follows {
            found.push(path);
        }
        at += 1;
    }
    let names: BTreeSet<_> = imports.iter().filter(|path| path.len() > 1).filter_map(|path| path.last()).collect();
    found.retain(|path| !names.contains(&path[0]));
    imports.extend(found);
    imports
}

/// Reads one tree of `use`, and returns where it ends.
fn tree(words: &[String], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    while let Some(word) = words.get(at) {
        match word.as_str() {
            "{" => {
                at += 1;
                while words.get(at).is_some_and(|word| word != "}") {
                    let next = tree(words, at, &path, found);
                    assert!(next > at, "not a tree of `use`: {}", words[at.saturating_sub(20)..=at].join(" "));
                    at = next + usize::from(words.get(next).is_some_and(|word| word == ","));
                }
                return at + 1;
            }
            "," | "}" | ";" => break,
            "as" => at += 1,
            "::" => {}
            name => path.push(name.to_owned()),
        }
        at += 1;
    }
    found.push(path);
    at
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// A path from the crate's root (`["crate", …]`), from `std`, or from another crate.
fn resolve(module: &[String], path: &[String]) -> Vec<String> {
    let mut base = module.to_vec();
    let mut rest = path;
    match rest[0].as_str() {
        "super" => {
            while let [first, more @ ..] = rest
                && first == "super"
            {
                base.pop();
                rest = more;
            }
        }
        "self" => rest = &rest[1..],
        _ => return path.to_vec(),
    }
    [&["crate".to_owned()], &*base, rest].concat()
}

fn starts_with(path: &[String], prefix: &str) -> bool {
    prefix == "everything" || prefix.split("::").enumerate().all(|(n, part)| path.get(n).is_some_and(|p| p == part))
}

/// The table under "May use" in the docs of `src/lib.rs`.
fn table() -> BTreeMap<String, Row> {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let cell = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `")).map(|line| {
        let cells: Vec<_> = line.split('|').collect();
        let [module, inside, outside, not_std, ..] = &cells[..] else { panic!("a short row: {line}") };
        let mut inside = cell(inside);
        if cells[1].trim() == "everything" {
            inside.insert("everything".to_owned());
        }
        let module = module.trim().trim_end_matches('`').to_owned();
        (module, Row { inside, outside: cell(outside), not_std: cell(not_std) })
    });
    rows.collect()
}

/// Names of the crates in `[dependencies]`, as Rust writes them.
fn dependencies() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = text.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    section.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.replace('-', "_")).collect()
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn every_module_stands_in_the_import_table() {
    let modules: BTreeSet<_> = SOURCES.iter().filter_map(|source| source.module.first()).collect();
    let table = table();
    let rows: BTreeSet<_> = table.keys().collect();
    assert_eq!(rows, modules.into_iter().filter(|module| !matches!(module.as_str(), "lib" | "main")).collect());
}

#[test]
fn nothing_is_used_but_what_the_import_table_allows() {
    let (table, crates) = (table(), dependencies());
    let mut wrong = Vec::new();
    for source in &*SOURCES {
        let Some(row) = source.module.first().and_then(|module| table.get(module)) else { continue };
        for path in paths(&source.words) {
            let path = resolve(&source.module, &path);
            let allowed = match path[0].as_str() {
                "crate" => {
                    path[1] == source.module[0] || row.inside.iter().any(|prefix| starts_with(&path[1..], prefix))
                }
                "std" => !row.not_std.iter().any(|prefix| starts_with(&path[1..], prefix)),
                name if crates.contains(name) => {
                    row.inside.contains("everything") || row.outside.iter().any(|prefix| starts_with(&path, prefix))
                }
                _ => true,
            };
            if !allowed {
                wrong.push(format!("src/{}: {}", source.path, path.join("::")));
            }
        }
    }
    wrong.dedup();
    assert_none("not allowed by the import table of src/lib.rs", &wrong);
}

/// Of the files and folders of one folder, which uses which.
fn siblings(folder: &[String]) -> BTreeMap<&str, BTreeSet<&str>> {
    let within = |path: &'static [String]| path.strip_prefix(folder)?.first().map(String::as_str);
    let all: BTreeSet<&str> = SOURCES.iter().filter_map(|source| within(&source.module)).collect();
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in &*SOURCES {
        let Some(own) = within(&source.module) else { continue };
        for path in paths(&source.words) {
            let path = resolve(&source.module, &path);
            let used = path.strip_prefix(&["crate".to_owned()][..]).and_then(|path| path.strip_prefix(folder)?.first());
            if let Some(used) = used.and_then(|used| all.get(used.as_str())).filter(|used| **used != own) {
                uses.entry(own).or_default().insert(used);
            }
        }
    }
    uses
}

#[test]
fn no_files_of_a_folder_use_each_other_in_a_circle() {
    let inside = |source: &&Source| matches!(source.module.first().map(String::as_str), Some("engine" | "domain"));
    let folders: BTreeSet<&[String]> = SOURCES
        .iter()
        .filter(inside)
        .flat_map(|source| (1..=source.module.len()).map(|n| &source.module[..n]))
        .collect();
    let mut wrong = Vec::new();
    for folder in folders {
        let mut uses = siblings(folder);
        // What uses nothing that is left is in no circle.
        loop {
            let left: BTreeSet<&str> = uses.keys().copied().collect();
            uses.values_mut().for_each(|used| used.retain(|name| left.contains(name)));
            let before = uses.len();
            uses.retain(|_, used| !used.is_empty());
            if uses.len() == before {
                break;
            }
        }
        wrong.extend(uses.iter().map(|(name, used)| format!("{}: {name} uses {used:?}", folder.join("/"))));
    }
    assert_none("circles, and what leads into one", &wrong);
}

#[test]
fn a_phase_is_set_in_one_place() {
    let sets = |words: &[String]| {
        let is = |at: usize, word: &str| words.get(at).is_some_and(|found| found == word);
        (0..words.len()).any(|at| {
            is(at, "Tracked") && is(at + 1, "{") || is(at, "phase") && is(at + 1, "=") && is(at.wrapping_sub(1), ".")
        })
    };
    let wrong: Vec<String> =
        SOURCES.iter().filter(|source| sets(&source.words)).map(|source| source.path.clone()).collect();
    let (phase, others): (Vec<_>, Vec<_>) = wrong.into_iter().partition(|path| path.starts_with("domain/update/"));
    let is_step = |path: &String| path.starts_with("domain/update/step/") || path == "domain/update/phase.rs";
    assert!(!phase.is_empty() && phase.iter().all(is_step), "the type, and what sets it: {phase:?}");
    assert_none("sets a phase", &others.into_iter().filter(|path| !path.starts_with("web/")).collect::<Vec<_>>());
}

/// What a table such as `const GATES: &[Gate] = &[owner::check, …];` names, as its file writes it.
fn table_of(file: &str, name: &str) -> BTreeSet<String> {
    let source = SOURCES.iter().find(|source| source.path == file).unwrap_or_else(|| panic!("no src/{file}"));
    let begin = source.words.windows(2).position(|pair| pair[0] == name && pair[1] == ":");
    let begin = begin.unwrap_or_else(|| panic!("no {name} in src/{file}"));
    let rest: String = source.words[begin..].iter().map(|word| format!("{word} ")).collect();
    let (_, rest) = rest.split_once("= & [").unwrap();
    let rows = rest.split("] ;").next().unwrap().split(',').map(|row| row.replace(' ', ""));
    rows.filter(|row| !row.is_empty()).collect()
}

/// Of the files of a folder those that hold such words, each as its table would name it.
fn files_with(folder: &str, words: &[&str], item: &str) -> BTreeSet<String> {
    let holds = |source: &&Source| source.words.windows(words.len()).any(|window| window == words);
    let name = |source: &Source| source.path.strip_prefix(folder)?.strip_suffix(".rs").map(str::to_owned);
    let names = SOURCES.iter().filter(holds).filter_map(name).filter(|name| name != "mod");
    names.map(|name| format!("{name}::{item}")).collect()
}

/// The README's "Add one more" names these places. What stands in a folder and not in its table would never run.
#[test]
fn each_file_of_one_more_something_has_its_line_in_the_table() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let check = &["fn", "check", "("][..];
    for (folder, words, item, table) in [
        ("domain/gate/", check, "check", "GATES"),
        ("domain/candidate/", check, "check", "CHECKS"),
        ("git/forges/", &["KIND", ":", "ForgeKind"], "KIND", "FORGES"),
        ("ingest/webhook/", &["SENDER", ":", "Sender"], "SENDER", "SENDERS"),
    ] {
        let (files, rows) = (files_with(folder, words, item), table_of(&format!("{folder}mod.rs"), table));
        assert!(!files.is_empty() && files == rows, "{folder}: files {files:?}, but {table} has {rows:?}");
        let line = format!("a file in `src/{folder}` and a line in `{table}` of its `mod.rs`");
        assert!(readme.contains(&line), "the README's \"Add one more\" lacks: {line}");
    }
    // One that is called otherwise would be missed above.
    for folder in ["domain/gate/", "domain/candidate/"] {
        let all = SOURCES.iter().filter_map(|source| source.path.strip_prefix(folder)).filter(|name| *name != "mod.rs");
        assert_eq!(all.count(), files_with(folder, check, "check").len(), "{folder}");
    }
}

#[test]
fn each_kind_of_policy_stands_on_its_page_and_in_the_vectors() {
    let text = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (page, source) = (text("docs/policy.md"), text("src/domain/policy/mod.rs"));
    let table = source.split("const KINDS: &[KindSpec] = &[").nth(1).unwrap().split("\n];").next().unwrap();
    let row = Regex::new(r#"alone\("(\w+)"|shown: "([^"]+)""#).unwrap();
    let shown: Vec<&str> =
        row.captures_iter(table).map(|found| found.get(1).or(found.get(2)).unwrap().as_str()).collect();
    assert_eq!(shown.len(), table.matches("KindSpec").count(), "{shown:?}");
    let vectors = ["vectors", "times", "newest-digest"].map(|name| text(&format!("tests/data/policy-{name}.yaml")));
    let vectors = vectors.concat();
    for kind in shown {
        assert!(page.contains(&format!("`{kind}`")), "docs/policy.md does not name `{kind}`");
        let name = kind.split([':', '[']).next().unwrap();
        let is_tried = ["", "\"", "'"].iter().any(|quote| vectors.contains(&format!("policy: {quote}{name}")));
        assert!(is_tried || name == "named", "no vector in tests/data/policy-*.yaml tries `{name}`");
    }
}

#[test]
fn each_kind_of_workload_has_its_right_its_words_and_its_part_of_the_whole_job() {
    let text = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (rights, readme, job) = (text("deploy/base/rbac.yaml"), text("README.md"), text("tests/it/deploy/job.rs"));
    let role: serde_json::Value = serde_saphyr::from_str(rights.split("\n---\n").next().unwrap()).unwrap();
    for kind in supercargo::domain::workload::KINDS {
        let name = kind.kind.as_str();
        let has = |rule: &serde_json::Value, key: &str, value: &str| {
            rule[key].as_array().unwrap().iter().any(|found| found == value)
        };
        let is_its =
            |rule: &&serde_json::Value| has(rule, "apiGroups", kind.group) && has(rule, "resources", kind.plural);
        let rule = role["rules"].as_array().unwrap().iter().find(is_its);
        let rule = rule.unwrap_or_else(|| panic!("deploy/base/rbac.yaml has no rule for {}", kind.plural));
        assert!(["get", "list", "watch", "patch"].iter().all(|verb| has(rule, "verbs", verb)), "{rule}");
        assert!(readme.contains(&format!("{name}s")), "the README does not name {name}");
        assert!(job.contains(&format!("(\"{name}\", \"{}\")", kind.plural)), "tests/it/deploy/job.rs lacks {name}");
    }
}

#[test]
fn the_clock_and_the_environment_are_read_in_one_place_each() {
    let clocks = ["Instant", "SystemTime", "Timestamp", "Zoned"];
    let mut wrong = Vec::new();
    for source in &*SOURCES {
        for path in paths(&source.words) {
            let [.., kind, name] = &path[..] else { continue };
            let clock = clocks.contains(&kind.as_str()) && name == "now" && source.path != "clock.rs";
            let environment = kind == "env" && name.starts_with("var") && source.path != "config.rs";
            if clock || environment {
                wrong.push(format!("src/{}: {}", source.path, path.join("::")));
            }
        }
        // What clap would read by itself.
        let clap = source.words.windows(2).any(|pair| pair[0] == "env" && (pair[1] == "=" || pair[1] == ","));
        if clap && source.path != "config.rs" {
            wrong.push(format!("src/{}: an `env` of clap", source.path));
        }
    }
    assert_none("time comes through ports::Clock, the environment through config.rs", &wrong);
}

#[test]
fn files_say_what_they_are_and_stay_short() {
    let mut wrong = Vec::new();
    for source in &*SOURCES {
        let text = fs::read_to_string(root().join("src").join(&source.path)).unwrap();
        if !text.starts_with("//! ") {
            wrong.push(format!("src/{}: no module documentation", source.path));
        }
        if source.lines > MAX_LINES && !LONG.iter().any(|(path, _)| *path == source.path) {
            wrong.push(format!("src/{}: {} lines without its tests", source.path, source.lines));
        }
    }
    assert_none("split it by idea, or name it in LONG with a reason", &wrong);
}

#[test]
fn no_lint_is_switched_off_and_no_test_left_out() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"].map(|folder| root().join(folder)) {
        if folder.exists() {
            rust_files(&folder, &mut files);
        }
    }
    let mut wrong = Vec::new();
    for path in files {
        let words = words(&blank(&fs::read_to_string(&path).unwrap()));
        let attribute = |at: usize| {
            let before = words[..at].iter().rev().take(3).map(String::as_str).collect::<Vec<_>>();
            matches!(&before[..], ["[", "#", ..] | ["[", "!", "#"])
        };
        for (at, word) in words.iter().enumerate() {
            if (word == "allow" || word == "ignore") && attribute(at) {
                wrong.push(format!("{}: #[{word}]", path.display()));
            }
        }
    }
    assert_none("write #[expect(lint, reason = …)], and let every test run", &wrong);
}

#[test]
fn paths_and_trees_are_read_as_rust_reads_them() {
    let text = r#"
        use crate::{domain::{self, hint::{Hint as H, Source}}, ports::*}; // use crate::engine;
        pub(crate) use super::super::web::serve;
        use regex::bytes;
        fn f(_: bytes::Regex, _: impl Copy + use<>) -> std::io::Result<()> { tokio::select! { x = a.b::<c::D>() => {} } "crate::no"; 'x'; }
    "#;
    let module = ["ingest", "webhook", "auth"].map(str::to_owned);
    let found: Vec<_> = paths(&words(&blank(text))).iter().map(|path| resolve(&module, path).join("::")).collect();
    let want = [
        "crate::domain::self",
        "crate::domain::hint::Hint",
        "crate::domain::hint::Source",
        "crate::ports::*",
        "crate::ingest::web::serve",
        "regex::bytes",
        "std::io::Result",
        "tokio::select",
        "c::D",
    ];
    assert_eq!(found, want);
}
