//! Policies through the real binary: vectors, shipped policies, `policy test` and the offline `explain`.

mod properties;

use std::{
    fs,
    io::Write as _,
    process::{Command, Output, Stdio},
};

fn supercargo(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_supercargo"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // What refuses its flags does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs `policy test` on one file of that content.
fn policy_test(content: &str) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cases.yaml");
    fs::write(&file, content).unwrap();
    let path = file.to_str().unwrap();
    let output = supercargo(&["policy", "test", path], "");
    let clean = |bytes: &[u8]| text(bytes).replace(path, "cases.yaml");
    (output.status.code(), clean(&output.stdout), clean(&output.stderr))
}

#[test]
fn every_vector_passes() {
    let files =
        ["policy-vectors", "policy-times", "policy-newest-digest"].map(|name| format!("tests/data/{name}.yaml"));
    let output = supercargo(&["policy", "test", &files[0], &files[1], &files[2]], "");
    assert_eq!(text(&output.stdout), "354 passed, 0 failed\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn every_example_of_the_shipped_policies_passes() {
    let output = supercargo(&["policy", "test", "policies"], "");
    assert_eq!(text(&output.stdout), "32 passed, 0 failed\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn every_shipped_policy_shows_four_cases_or_more_with_yes_and_no() {
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/policies")).unwrap() {
        let path = entry.unwrap().path();
        let file: supercargo::domain::policy::PolicyFile =
            serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(path.file_stem().unwrap().to_str(), Some(&*file.name));
        assert!(!file.description.is_empty() && file.examples.len() >= 4, "{}", file.name);
        assert!(file.examples.iter().any(|example| example.expect.is_some()), "{}", file.name);
        assert!(file.examples.iter().any(|example| example.expect.is_none()), "{}", file.name);
    }
}

#[test]
fn a_failing_case_is_told_with_what_was_expected_and_why() {
    let (code, stdout, _) = policy_test(
        r#"
- {name: right, policy: minor, current: 1.0.0, tags: [1.1.0], expect: 1.1.0}
- {name: too far, policy: minor, current: 1.0.0, tags: [2.0.0], expect: 2.0.0}
- {name: a problem, policy: mayor, current: 1.0.0, tags: [2.0.0], expect: 2.0.0}
"#,
    );
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(stdout, @r"
    FAILED cases.yaml: too far
      expected: 2.0.0
      got:      no update
      because:  up-to-date: no tag that `minor` takes is newer than `1.0.0`
                2.0.0: outside-level: beyond `minor` of `1.0.0`

    FAILED cases.yaml: a problem
      expected: 2.0.0
      got:      a configuration problem
      because:  `mayor` is no policy: write patch, minor, major, all, semver:<range>, glob:<pattern>, regex:<pattern>, newest[:<glob>], digest, never or named:<name>; is `major` meant?

    1 passed, 2 failed
    ");
}

#[test]
fn a_policy_file_that_is_wrong_fails() {
    for (key, says) in [("verify: {}", "`verify` is not built yet"), ("minAge: 24", "`minAge`: `24` is no duration")] {
        let (code, stdout, stderr) = policy_test(&format!(
            "{{name: p, description: d, policy: patch, {key}, examples: [{{current: 1.0.0, tags: [1.0.1], expect: 1.0.1}}]}}",
        ));
        assert_eq!(code, Some(1), "{key}");
        assert!(stdout.contains(says), "{stdout} {stderr}");
    }
    let right = "{name: p, policy: patch, minAge: 24h, examples: [{current: 1.0.0, tags: [1.0.1], expect: 1.0.1}]}";
    assert_eq!(policy_test(right).0, Some(0), "examples say what is chosen of versions that are old enough");
}

#[test]
fn named_policies_of_the_same_run_can_be_used_and_options_come_before_theirs() {
    let (code, stdout, stderr) = policy_test(
        r#"
- {name: the file's option, policy: "named:ours", current: 1.0.0, tags: [1.1.0-rc1, 1.1.0-rc1-x], expect: 1.1.0-rc1-x}
- {name: a workload's option, policy: "named:ours", options: {flavour: ""}, current: 1.0.0, tags: [1.1.0-rc1, 1.1.0-rc1-x], expect: 1.1.0-rc1}
- {name: a default given on purpose, policy: "named:ours", options: {prerelease: same}, current: 1.0.0, tags: [1.1.0-rc1-x], expect: null}
- {name: no such name, policy: "named:theirs", current: 1.0.0, tags: [1.1.0], expect: null, problem: true}
---
{name: ours, description: d, policy: minor, prerelease: allow, flavour: x}
"#,
    );
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "4 passed, 0 failed\n", ""));
}

#[rstest::rstest]
#[case::no_yaml("{")]
#[case::nothing("# nothing\n")]
#[case::a_scalar("text")]
#[case::an_unknown_key("- {name: n, policy: minor, current: 1.0.0, tags: [], expect: null, more: 1}")]
#[case::an_unknown_option("- {name: n, policy: minor, options: {pre: 1}, current: 1.0.0, tags: [], expect: null}")]
#[case::no_expectation("- {name: n, policy: minor, current: 1.0.0, tags: []}")]
#[case::a_lost_zero("- {name: n, policy: minor, current: '1.0', tags: [1.10], expect: null}")]
#[case::an_unknown_key_of_a_policy("{name: p, description: d, policy: patch, minimumAge: 24h}")]
fn input_that_cannot_be_read_ends_with_2(#[case] content: &str) {
    let (code, stdout, stderr) = policy_test(content);
    assert_eq!((code, stdout.as_str()), (Some(2), "0 passed, 0 failed\n"));
    assert!(stderr.starts_with("error: cases.yaml: "), "{stderr}");
}

#[test]
fn a_file_that_is_not_there_ends_with_2() {
    let output = supercargo(&["policy", "test", "tests/data/none.yaml"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("tests/data/none.yaml"));
}

const TAGS: &str = "1.27.3\n1.28.0\n1.28.0-alpine\n1.28.0-abc1234\n2.0.0\n1.29.0-rc1\n1.28\n\nlatest\nbad tag\n\
                    2024.01.15\nv1.27.2\napp-1.28.1\n1.27.3-r1\n";

#[test]
fn explain_says_why_each_tag_was_not_taken() {
    let output = supercargo(&["explain", "--policy", "minor", "--current", "1.27.3", "--tags", "-"], TAGS);
    assert_eq!(text(&output.stderr), "note: 1 line is no tag and is left out\n");
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(text(&output.stdout), @r"
    policy    minor
    current   1.27.3
    decision  update
    to        1.28.0

    TAG             CODE             MESSAGE
    1.28.0          chosen           the best that `minor` takes from `1.27.3`
    2024.01.15      calendar-jump    looks like a date, and `1.27.3` does not
    2.0.0           outside-level    beyond `minor` of `1.27.3`
    1.29.0-rc1      pre-release      a pre-release, and `1.27.3` is none
    app-1.28.1      other-prefix     its prefix is `app-`, and none is wanted
    1.28.0-alpine   other-flavour    its flavour is `alpine`, and none is wanted
    1.28.0-abc1234  commit-build     names a commit, and `1.27.3` does not
    1.28            other-precision  has 2 numbers, and `1.27.3` has 3 numbers
    1.27.3-r1       revision         has a revision, and `1.27.3` has none
    v1.27.2         not-newer        older than `1.27.3`
    latest          not-a-version    no version
    ");
}

#[test]
fn explain_takes_every_option() {
    let arguments = [
        "explain",
        "--policy",
        "semver:>=1",
        "--current",
        "1.27.3",
        "--tags",
        "-",
        "--prerelease",
        "allow",
        "--flavor",
        "any",
        "--order",
        "natural",
        "--allow",
        r"v?1\..*",
        "--ignore",
        "1.29.*,1.28{,.0}",
        "--allow-downgrade",
        "-o",
        "json",
    ];
    let output = supercargo(&arguments, TAGS);
    let explained: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(explained["decision"], "update");
    assert_eq!(explained["to"], "1.28.0-alpine");
    let code_of = |tag: &str| {
        let reasons = explained["reasons"].as_array().unwrap();
        reasons.iter().find(|reason| reason["tag"] == tag).map(|reason| reason["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(code_of("1.28.0-alpine").as_deref(), Some("chosen"));
    assert_eq!(code_of("2.0.0").as_deref(), Some("not-allowed"));
    assert_eq!(code_of("1.29.0-rc1").as_deref(), Some("ignored"));
    assert_eq!(code_of("v1.27.2").as_deref(), Some("not-best"));
    assert_eq!(code_of("app-1.28.1").as_deref(), Some("not-allowed"));
}

#[test]
fn explain_knows_the_shipped_policies_and_those_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ours.yaml"), "{name: ours, description: d, policy: 'semver:^2'}").unwrap();
    let explain = |policy: &str| {
        let folder = folder.path().to_str().unwrap();
        let arguments =
            ["explain", "--policy", policy, "--current", "1.27.3", "--tags", "-", "--policies", folder, "-o", "yaml"];
        text(&supercargo(&arguments, TAGS).stdout).lines().nth(3).unwrap_or_default().to_owned()
    };
    assert_eq!(explain("named:ours"), "to: \"2.0.0\"");
    assert_eq!(explain("named:minor"), "to: \"1.28.0\"");
}

#[rstest::rstest]
#[case::a_policy(&["--policy", "newer"], "`newer` is no policy")]
#[case::a_glob(&["--policy", "glob:[a"], "is no glob")]
#[case::a_glob_to_ignore(&["--policy", "minor", "--ignore", "^1.5.0$"], "no tag has a `^`")]
#[case::an_option(&["--policy", "minor", "--order", "numerc"], "`numeric` or `semver`; is `numeric` meant?")]
#[case::a_tag(&["--policy", "minor", "--current", "a b"], "is no tag")]
fn explain_refuses_what_does_not_parse(#[case] given: &[&str], #[case] said: &str) {
    let arguments = [&["explain", "--tags", "-"], given].concat();
    let output = supercargo(&arguments, TAGS);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
}

#[test]
fn a_level_on_latest_is_a_problem_that_says_what_to_do() {
    let output = supercargo(&["explain", "--policy", "minor", "--current", "latest", "--tags", "-"], TAGS);
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(text(&output.stdout), @r"
    policy    minor
    current   latest
    decision  problem
    to        -

    TAG  CODE                   MESSAGE
    -    current-not-a-version  `latest` is no version, and `minor` only goes from one version to another: set a version, or use semver:, glob:, newest or digest
    ");
}
