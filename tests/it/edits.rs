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
