//! Exact edits by the real binary: every folder of `tests/data/edits` is one case.
//!
//! `args` holds one argument a line; `after.*` what must come out, byte for byte; or `error` the exit code and then all of
//! standard error (standard output must be empty then).

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/edits");

#[test]
fn every_edit_changes_its_value_and_nothing_else() {
    let mut cases: Vec<PathBuf> = fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 100, "only {} cases in {CASES}", cases.len());
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn check(case: &Path) -> Result<(), String> {
    let name = case.file_name().unwrap().to_string_lossy();
    let before = if case.join("before.json").exists() { "before.json" } else { "before.yaml" };
    let args = fs::read_to_string(case.join("args")).unwrap();
    let args: Vec<&str> = args.strip_suffix('\n').unwrap_or(&args).split('\n').collect();
    let out = set_image(case, before, &args);
    let stderr = String::from_utf8_lossy(&out.stderr);
    match fs::read_to_string(case.join("error")) {
        Ok(expected) => {
            let actual = format!("{}\n{stderr}", out.status.code().unwrap_or(-1));
            if !out.stdout.is_empty() {
                return Err(format!("{name}: printed a file though it failed"));
            }
            if actual != expected { Err(format!("{name}: expected {expected:?}, got {actual:?}")) } else { Ok(()) }
        }
        Err(_) => {
            let after = fs::read(case.join(before.replace("before", "after"))).unwrap();
            if !out.status.success() {
                return Err(format!("{name}: {stderr}"));
            }
            if out.stdout != after {
                let diff = format!("{:?}\n{:?}", String::from_utf8_lossy(&after), String::from_utf8_lossy(&out.stdout));
                return Err(format!("{name}: the bytes differ:\n{diff}"));
            }
            Ok(())
        }
    }
}

fn set_image(folder: &Path, file: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
    command.current_dir(folder).arg("set-image").arg(file).args(args).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn standard_input_is_edited_too() {
    use std::io::Write as _;
    let mut child = Command::new(env!("CARGO_BIN_EXE_supercargo"))
        .args(["set-image", "-", "--path", "a", "--value", "1.10"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"a: 1.9").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "a: \"1.10\"");
}

#[test]
fn a_file_of_20000_documents_is_edited_in_one_go() {
    let document = |n: usize| match n % 50 {
        0 => format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: w{n}}}\nspec:\n  template:\n    spec:\n      containers:\n      - name: a\n        image: &i nginx:1.26 # {n}\n      - {{name: b, image: *i}}\n"
        ),
        _ => format!("kind: ConfigMap\ndata: {{n: {n}}}\n"),
    };
    let text = (0..20_000).map(document).collect::<Vec<_>>().join("---\n");
    let found = supercargo::manifest::read(&text).unwrap();
    assert_eq!(found.workloads.len(), 400);
    let mut edits = Vec::new();
    for found in found.workloads {
        for (container, image) in found.workload.containers.iter().zip(found.images) {
            let (old, new) = (container.image.to_string(), "nginx:1.27".to_owned());
            edits.push(supercargo::manifest::Edit { place: image.place, old, new });
        }
    }
    assert_eq!(edits.len(), 800);
    assert_eq!(supercargo::manifest::edit(&text, &edits).unwrap(), text.replace("nginx:1.26", "nginx:1.27"));
}

#[rstest::rstest]
#[case(&["missing.yaml", "--path", "a", "--value", "b"], "missing.yaml cannot be read")]
#[case(&["crlf/before.yaml"], "required")]
#[case(&["crlf/before.yaml", "--image", "nginx"], "--tag")]
#[case(&["crlf/before.yaml", "--image", "nginx:1", "--tag", "2"], "is no repository")]
#[case(&["crlf/before.yaml", "--image", "nginx", "--tag", "a b"], "is no tag")]
#[case(&["crlf/before.yaml", "--image", "nginx", "--tag", "2", "--digest", "x"], "is no digest")]
#[case(&["crlf/before.yaml", "--image", "nginx", "--tag", "2", "--kind", "Pod"], "known kinds: Deployment")]
#[case(&["crlf/before.yaml", "--image", "nginx", "--tag", "2", "--path", "a", "--value", "b"], "cannot be used with")]
#[case(&["crlf/before.yaml", "--path", "a"], "--value")]
#[case(&["crlf/before.yaml", "--path", "a[", "--value", "b"], "is no path")]
#[case(&["crlf/before.yaml", "--path", "a", "--value", "b", "--name", "web"], "--image <REPO>")]
fn a_call_that_cannot_be_meant_ends_with_2(#[case] args: &[&str], #[case] message: &str) {
    let out = set_image(Path::new(CASES), args[0], &args[1..]);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(message), "{stderr}");
    assert!(out.stdout.is_empty());
}

mod properties {
    use proptest::prelude::*;
    use regex::Regex;
    use serde_json::Value;
    use supercargo::manifest::{self, Edit};

    /// A value in some style, as it may stand in a file.
    #[derive(Debug, Clone)]
    enum Node {
        Scalar(String),
        Map(Vec<Node>),
        List(Vec<Node>),
    }

    fn scalar() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z][a-z0-9:/._-]{0,8}[a-z0-9]",
            "[0-9]{1,3}(\\.[0-9]{1,3}){0,2}",
            "'([ -&(-~é😀]|''){0,10}'",
            "\"([ !#-\\[\\]-~é😀]|\\\\n|\\\\\\\\|\\\\\"|\\\\u00e9){0,10}\"",
            Just("!!str x".to_owned()),
            Just(">-\n{indent}  folded".to_owned()),
            Just(String::new()),
        ]
    }

    fn node() -> impl Strategy<Value = Node> {
        scalar().prop_map(Node::Scalar).prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..5).prop_map(Node::Map),
                prop::collection::vec(inner, 1..5).prop_map(Node::List),
            ]
        })
    }

    /// Writes a block collection and the path of each scalar in it.
    fn render(node: &Node, indent: usize, path: &str, out: &mut String, paths: &mut Vec<String>) {
        let (nodes, is_map) = match node {
            Node::Map(nodes) => (nodes, true),
            Node::List(nodes) => (nodes, false),
            Node::Scalar(_) => return,
        };
        for (index, node) in nodes.iter().enumerate() {
            let spaces = " ".repeat(indent);
            if index % 3 == 1 {
                out.push_str(&format!("{spaces}# comment {index}: 'x'\n\n"));
            }
            let (start, path) = match is_map {
                true => (format!("k{index}:"), format!("{path}.k{index}")),
                false => ("-".to_owned(), format!("{path}[{index}]")),
            };
            out.push_str(&format!("{spaces}{start}"));
            match node {
                Node::Scalar(text) => {
                    let text = text.replace("{indent}", &spaces);
                    let comment = if index % 2 == 0 && !text.starts_with('>') { " # right" } else { "" };
                    out.push_str(&format!("{}{text}{comment}\n", if text.is_empty() { "" } else { " " }));
                    paths.push(path);
                }
                node => {
                    out.push('\n');
                    render(node, indent + 2, &path, out, paths);
                }
            }
        }
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9]{1,3}(\\.[0-9]{1,3}){0,3}(-[a-z0-9]{1,8})?",
            "[-+]?[0-9._:]{1,8}",
            "[-+]?[0-9][0-9a-fxobe_.+-]{0,8}",
            "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].{0,5})?",
            "(?i)(yes|no|on|off|true|false|null|~|y|n|\\.inf|-\\.inf|\\.nan|=|<<)",
            "[-?:,\\[\\]{}#&*!|>'\"%@` a]{0,6}",
            "[a-z:# ]{0,8}",
            "\\PC{0,12}",
            any::<String>(),
        ]
    }

    /// What YAML 1.1 takes for something else than a string: yaml.org/type, with the digits of floats read as everyone
    /// reads them.
    fn yaml_11() -> Regex {
        let patterns = [
            r"~|null|Null|NULL|",
            r"y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
            r"[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+",
            r"[-+]?([0-9][0-9_]*)?\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*",
            r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|=|<<",
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}.*",
        ];
        Regex::new(&format!("^({})$", patterns.join("|"))).unwrap()
    }

    fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
        let pointer = path.replace('[', ".").replace(']', "").replace('.', "/");
        value.pointer(&pointer).unwrap_or_else(|| panic!("{path} in {value}"))
    }

    proptest! {
        #[test]
        fn an_edit_changes_only_its_scalar_and_reads_back(
            node in node(),
            new in value(),
            pick in any::<prop::sample::Index>(),
            crlf in any::<bool>(),
        ) {
            let root = Node::Map(vec![Node::Scalar("first".into()), node]);
            let (mut text, mut paths) = (String::new(), Vec::new());
            render(&root, 0, "", &mut text, &mut paths);
            if crlf {
                text = text.replace('\n', "\r\n");
            }
            let path = pick.get(&paths);
            let (place, old) = manifest::find(&text, &path[1..].parse().unwrap(), None).unwrap().remove(0);
            let edit = Edit { place: place.clone(), old: old.clone(), new: new.clone() };
            let source = &text[place.bytes.clone()];
            let edited = match manifest::edit(&text, &[edit]) {
                Ok(edited) => edited,
                // A folded scalar holds one line only.
                Err(_) if source.contains("folded") => return Ok(()),
                Err(error) => panic!("{error}: {new:?} at {path} in\n{text}"),
            };

            // Only these bytes changed; a value that was not there may have got its place up to two bytes later.
            let (start, end) = (place.bytes.start, place.bytes.end);
            prop_assert!(edited.starts_with(&text[..start]), "{}\n{}", text, edited);
            let room = if source.is_empty() { 2 } else { 0 };
            let tail = (0..=room).find(|more| text.get(end + more..).is_some_and(|tail| edited.ends_with(tail)));
            prop_assert!(tail.is_some(), "{}\n{}", text, edited);

            // It reads back in YAML 1.2, and everything else reads as before.
            let (was, is): (Value, Value) =
                (serde_saphyr::from_str(&text).unwrap(), serde_saphyr::from_str(&edited).unwrap());
            prop_assert_eq!(at(&is, path), &Value::String(new.clone()), "{}", edited);
            for other in paths.iter().filter(|other| *other != path) {
                prop_assert_eq!(at(&is, other), at(&was, other));
            }

            // And in YAML 1.1, where it stands plain without a tag.
            let (place, read) = manifest::find(&edited, &path[1..].parse().unwrap(), None).unwrap().remove(0);
            prop_assert_eq!(&read, &new);
            let written = &edited[place.bytes.clone()];
            let tagged = edited[..place.bytes.start].ends_with("!!str ");
            if !tagged && !written.starts_with(['\'', '"']) && !source.contains("folded") {
                prop_assert!(!yaml_11().is_match(written), "{} is something else in YAML 1.1", written);
            }
        }

        #[test]
        fn no_text_stops_the_reader(text in "([-?:,\\[\\]{}#&*!|>'\"%@` \\n\\ta-c<~.]|kind: |Deployment|apps/v1|image: ){0,60}") {
            if let Ok(found) = manifest::read(&text) {
                prop_assert!(found.workloads.len() <= text.len());
            }
        }
    }
}
