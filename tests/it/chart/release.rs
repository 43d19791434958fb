//! The release: its workflow cannot run here, so it is linted, and all that it names is looked up; its steps that need no
//! registry are run.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use regex::Regex;
use serde_json::Value;

use super::{helm, parsed};
use crate::{deploy::of_kind, support::bin};

const WORKFLOW: &str = ".github/workflows/release.yml";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Each job by its name, and the scripts of its steps.
fn jobs() -> Vec<(String, Value, Vec<String>)> {
    let workflow: Value = serde_saphyr::from_str(&text(WORKFLOW)).unwrap();
    let scripts = |job: &Value| {
        let steps = job["steps"].as_array().unwrap().iter();
        steps.filter_map(|step| step["run"].as_str().map(|script| script.replace("\\\n", " "))).collect()
    };
    let jobs = workflow["jobs"].as_object().unwrap().iter();
    jobs.map(|(name, job)| (name.clone(), job.clone(), scripts(job))).collect()
}

/// The commands of all scripts, and of `.ci/release`, each as its words.
fn commands() -> Vec<Vec<String>> {
    let scripts = jobs().into_iter().flat_map(|(_, _, scripts)| scripts).chain([text(".ci/release")]);
    let mut all = Vec::new();
    for script in scripts {
        for line in script.lines().filter(|line| !line.trim_start().starts_with('#')) {
            // What a command puts into a word is a command too.
            for part in line.split(['|', ';', '(', ')', '`']).flat_map(|part| part.split(" && ")) {
                let words = part.split_whitespace().map(|word| word.trim_matches(['"', '\'']).to_owned());
                let words: Vec<String> = words.collect();
                if !words.is_empty() {
                    all.push(words);
                }
            }
        }
    }
    all
}

fn lint(folder: &Path, text: &str) -> (bool, String) {
    let path = folder.join("release.yml");
    fs::write(&path, text).unwrap();
    let output = Command::new(bin("actionlint")).args(["-no-color", "-shellcheck=", "-pyflakes="]).arg(path).output();
    let output = output.unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_linter_is_content_with_the_workflow_and_not_with_a_broken_one() {
    let folder = tempfile::tempdir().unwrap();
    let workflow = text(WORKFLOW);
    let (good, said) = lint(folder.path(), &workflow);
    assert!(good, "{said}");
    for (from, to, named) in [
        ("needs: [version, image-of]", "needs: [version, images]", "images"),
        ("matrix.target", "matrix.tarket", "tarket"),
        ("ubuntu-24.04-arm}", "ubuntu-24.05-arm}", "ubuntu-24.05-arm"),
        ("packages: write", "package: write", "package"),
        ("outputs.charts", "outputs.chart", "chart"),
    ] {
        let (good, said) = lint(folder.path(), &workflow.replace(from, to));
        assert!(!good && said.contains(named), "{to}: {said}");
    }
}

#[test]
fn every_file_that_it_names_exists() {
    // What it makes, what the machine has, and names that are no paths.
    let others =
        Regex::new(r"^(dist/|/dev/null|target/|linux/|ghcr\.io/|oci://|https?://|application/|refs/|.*\$)").unwrap();
    let path = Regex::new(r"^\.?[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)+$|\.(yml|yaml|md|toml)$").unwrap();
    let mut named = BTreeSet::new();
    for (_, job, scripts) in jobs() {
        for script in scripts {
            let words = script.split_whitespace().flat_map(|word| word.split(['=', ':', '<', '>']));
            let words = words.map(|word| word.trim_matches(['"', '\'', '(', ')', ';']).to_owned());
            named.extend(words.filter(|word| path.is_match(word) && !others.is_match(word)));
        }
        for step in job["steps"].as_array().unwrap() {
            if let Some(path) = step["with"]["path"].as_str() {
                assert!(path.starts_with("dist"), "{path} is not what was made");
            }
        }
    }
    for path in &named {
        assert!(root().join(path).exists(), "{WORKFLOW} names {path}");
    }
    for path in [".ci/release", "deploy/Dockerfile", "artifacthub-repo.yml", "CHANGELOG.md"] {
        assert!(named.contains(path), "{path} is not among {named:?}");
    }
    let copied = text("deploy/Dockerfile");
    assert!(copied.contains("cargo build --locked --profile dist\n") && copied.contains("/target/dist/supercargo "));
    assert!(text("docs/release.md").contains(".ci/release") && text(WORKFLOW).contains("docs/release.md"));
}

#[test]
fn every_target_and_platform_that_it_names_exists() {
    let output = Command::new("rustc").args(["--print", "target-list"]).output().unwrap();
    let known = String::from_utf8(output.stdout).unwrap();
    let matrix = |name: &str, key: &str| -> BTreeSet<String> {
        let (_, job, _) = jobs().into_iter().find(|(job, ..)| job == name).unwrap();
        let entries = job["strategy"]["matrix"]["include"].as_array().unwrap().clone();
        entries.iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
    };
    let targets = matrix("binary", "target");
    for target in &targets {
        assert!(known.lines().any(|line| line == target), "{target}");
    }
    for part in ["x86_64-unknown-linux", "aarch64-unknown-linux", "x86_64-apple-darwin", "aarch64-apple-darwin"] {
        assert!(targets.iter().any(|target| target.starts_with(part)), "{part}");
    }
    assert_eq!(matrix("image-of", "platform"), ["linux/amd64", "linux/arm64"].map(str::to_owned).into());
    let manifest = text("Cargo.toml");
    assert!(manifest.contains("\n[profile.dist]\n") && manifest.contains("name = \"supercargo\"\n"));
    let version = Regex::new(r#"rust-version = "(.*)""#).unwrap().captures(&manifest).unwrap()[1].to_owned();
    let workflow = text(WORKFLOW);
    assert_eq!(workflow.matches(&format!("cargo +{version} build")).count(), 1);
    assert_eq!(workflow.matches(&format!("rustup toolchain install {version} ")).count(), 1);
    assert!(text("deploy/Dockerfile").contains(&format!("/rust:{version}-")));
}

/// Of the commands that are here: those of docker, cosign, oras and gh are not.
#[test]
fn every_argument_of_our_own_steps_and_of_cargo_and_helm_exists() {
    let usage = String::from_utf8(release(&[], Path::new("/")).stderr).unwrap();
    let mut checked = BTreeSet::new();
    for mut words in commands() {
        words.retain(|word| !word.starts_with('+'));
        let Some(at) = words.iter().position(|word| ["helm", "cargo", ".ci/release"].contains(&word.as_str())) else {
            continue;
        };
        let (program, rest) = (&words[at], &words[at + 1..]);
        let subcommands: Vec<&str> =
            rest.iter().map(String::as_str).take_while(|word| word.chars().all(|c| c.is_ascii_lowercase())).collect();
        let flags = rest.iter().filter(|word| word.starts_with("--")).map(|word| word.split('=').next().unwrap());
        let help = match program.as_str() {
            ".ci/release" => {
                let line = usage.lines().find(|line| line.contains(&format!("release {} ", subcommands[0])));
                let line = line.unwrap_or_else(|| panic!("{words:?}: {usage}"));
                let wanted =
                    line.split_whitespace().skip(2).take_while(|word| word.chars().all(|c| c.is_ascii_uppercase()));
                assert_eq!(rest.len() - 1, wanted.count(), "{words:?}");
                line.to_owned()
            }
            program => {
                let home = tempfile::tempdir().unwrap();
                let mut command = if program == "helm" { helm(home.path()) } else { Command::new("cargo") };
                // What follows a subcommand of one word is its argument.
                let depth = if subcommands.first() == Some(&"registry") { 2 } else { 1 };
                let output = command.args(&subcommands[..depth]).arg("--help").output().unwrap();
                assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
                String::from_utf8(output.stdout).unwrap()
            }
        };
        for flag in flags {
            assert!(help.contains(flag), "{words:?}: {flag} in {help}");
        }
        checked.insert(format!("{program} {}", subcommands[0]));
    }
    let all = ["version", "archive", "chart", "checksums"].map(|step| format!(".ci/release {step}"));
    let others = ["cargo build", "helm package", "helm push", "helm registry"].map(str::to_owned);
    assert_eq!(checked, all.into_iter().chain(others).collect());
}

/// What brings something to where others get it, and what is signed of it: in the same job, after it, or for what a release's
/// page holds before it.
const PUBLISHED: &[(&str, &str, &str)] = &[
    (
        "image",
        r#"docker buildx imagetools create --tag "$IMAGE:$VERSION""#,
        r#"cosign sign --yes --recursive "$IMAGE@$digest""#,
    ),
    (
        "chart",
        r#"helm push "dist/supercargo-$VERSION.tgz" "oci://$CHARTS""#,
        r#"cosign sign --yes "$CHARTS/supercargo@$(oras resolve "$CHARTS/supercargo:$VERSION")""#,
    ),
    (
        "chart",
        r#"oras push "$CHARTS/supercargo:artifacthub.io""#,
        r#"cosign sign --yes "$CHARTS/supercargo@$(oras resolve "$CHARTS/supercargo:artifacthub.io")""#,
    ),
    ("release", "gh release create", r#"cosign sign-blob --yes --bundle "$file.sigstore.json" "$file""#),
];

#[test]
fn all_that_is_published_is_signed_by_the_workflow() {
    let publishes =
        Regex::new(r"(imagetools create|helm push|oras push|docker push|gh release (create|upload))").unwrap();
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = 0;
    for (name, _, scripts) in jobs() {
        let script = squeeze(&scripts.join("\n"));
        let here: Vec<_> = PUBLISHED.iter().filter(|(job, ..)| *job == name).collect();
        // Nothing else is published, and nothing else signed.
        assert_eq!(publishes.find_iter(&script).count(), here.len(), "{name}: {script}");
        assert_eq!(script.matches("cosign sign").count(), here.len(), "{name}: {script}");
        for (_, publish, sign) in here {
            let at = |what: &str| script.find(what).unwrap_or_else(|| panic!("{name}: {what} in {script}"));
            let (published, signed) = (at(publish), at(sign));
            assert_eq!(published < signed, name != "release", "{name}: {publish}");
            found += 1;
        }
    }
    assert_eq!(found, PUBLISHED.len());
    let script = |job: &str| {
        let (.., scripts) = jobs().into_iter().find(|(name, ..)| name == job).unwrap();
        squeeze(&scripts.join("\n"))
    };
    // What is signed is what was pushed: the digest of that tag, and all files of the page but the signatures.
    let image = script("image");
    assert!(image.contains(r#"digest=$(docker buildx imagetools inspect "$IMAGE:$VERSION" --format"#), "{image}");
    let files = script("release");
    let (checksums, signs) = (files.find("checksums dist").unwrap(), files.find("for file in dist/*").unwrap());
    assert!(checksums < signs && files.ends_with("dist/*"), "{files}");
    // The parts of an image have no name; the image that holds them is signed with them.
    let parts = script("image-of");
    assert!(parts.contains("push-by-digest=true") && !parts.contains("--tag"), "{parts}");
}

#[test]
fn nothing_is_pushed_before_all_binaries_are_built() {
    let jobs = jobs();
    let needs = |job: &str| -> BTreeSet<String> {
        let (_, job, _) = jobs.iter().find(|(name, ..)| name == job).unwrap();
        match &job["needs"] {
            Value::String(one) => [one.clone()].into(),
            all => all.as_array().into_iter().flatten().map(|name| name.as_str().unwrap().to_owned()).collect(),
        }
    };
    let before = |job: &str| {
        let (mut all, mut next) = (BTreeSet::new(), needs(job));
        while let Some(name) = next.pop_first() {
            next.extend(needs(&name));
            all.insert(name);
        }
        all
    };
    let pushes = Regex::new("push|imagetools create|gh release").unwrap();
    let mut pushing = 0;
    for (name, _, scripts) in &jobs {
        if pushes.is_match(&scripts.join("\n")) {
            assert!(before(name).contains("binary") && before(name).contains("version"), "{name}");
            pushing += 1;
        }
    }
    assert_eq!(pushing, 4);
    assert!(["image-of", "image", "chart", "binary"].iter().all(|job| before("release").contains(*job)));
    // The chart names the image.
    assert!(before("chart").contains("image"));
}

#[test]
fn no_job_may_do_more_than_it_does_and_no_step_has_a_token_that_needs_none() {
    for (name, job, scripts) in jobs() {
        let script = scripts.join("\n");
        let permissions = job["permissions"].as_object().unwrap();
        let writes = |what: &str| permissions.get(what).is_some_and(|right| right == "write");
        assert_eq!(writes("id-token"), script.contains("cosign sign"), "{name}");
        assert_eq!(writes("packages"), script.contains("docker login"), "{name}");
        assert_eq!(writes("contents"), script.contains("gh release"), "{name}");
        // Nothing foreign gets into a script but as a variable.
        assert!(!script.contains("${{"), "{name}");
        assert!(!job["env"].to_string().contains("token"), "{name}: all steps would have it");
        for step in job["steps"].as_array().unwrap() {
            let script = step["run"].as_str().unwrap_or_default();
            let needs_it = script.contains("$TOKEN") || script.contains("gh release");
            assert_eq!(step["env"].to_string().contains("github.token"), needs_it, "{name}: {script}");
            let lines = script.trim().lines().map(str::trim);
            let logs_in = |line: &str| line.starts_with("docker login") || line.starts_with("helm registry login");
            assert!(!script.contains("$TOKEN") || lines.clone().all(logs_in), "{name}: {script}");
            let Some(action) = step["uses"].as_str() else { continue };
            let (_, pin) = action.split_once('@').unwrap();
            assert!(pin.len() == 40 && pin.bytes().all(|byte| byte.is_ascii_hexdigit()), "{action} may change");
            if action.starts_with("actions/checkout@") {
                assert_eq!(step["with"]["persist-credentials"], false, "{name}");
            }
        }
    }
    let workflow: Value = serde_saphyr::from_str(&text(WORKFLOW)).unwrap();
    assert_eq!(workflow["permissions"], serde_json::json!({}));
    assert!(!workflow["env"].to_string().contains("token"));
}

/// `.ci/release`, with helm at hand.
fn release(args: &[&str], folder: &Path) -> Output {
    let path = format!("{}:/usr/bin:/bin", bin("helm").parent().unwrap().display());
    let mut command = Command::new(root().join(".ci/release"));
    command.args(args).current_dir(folder).env_clear().env("PATH", path).env("HOME", folder).output().unwrap()
}

#[test]
fn a_tag_is_released_only_if_all_say_its_version() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = parsed("Chart.yaml");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&Value::from(version), &Value::from(version)));
    let folder = tempfile::tempdir().unwrap();
    let output = release(&["version", &format!("v{version}")], folder.path());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{version}\n"));
    for tag in [version, "v9.9.9", "v", &format!("v{version}-rc.1")] {
        let output = release(&["version", tag], folder.path());
        assert_eq!(output.status.code(), Some(1), "{tag}");
    }
}

#[test]
fn the_packaged_chart_runs_the_released_image_and_archives_and_checksums_are_whole() {
    let (folder, version) = (tempfile::tempdir().unwrap(), env!("CARGO_PKG_VERSION"));
    let run = |args: &[&str]| {
        let output = release(args, folder.path());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["chart", "registry.example.com/team/supercargo", "dist"]);
    let package = format!("dist/supercargo-{version}.tgz");
    let mut command = helm(folder.path());
    command.args(["template", "supercargo", &package, super::KUBERNETES]).current_dir(folder.path());
    let made = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&made).unwrap();
    let deployment = of_kind(&objects, "Deployment").next().unwrap();
    let image = deployment.pointer("/spec/template/spec/containers/0/image").unwrap();
    assert_eq!(image, &format!("registry.example.com/team/supercargo:{version}"));
    assert_eq!(of_kind(&objects, "CustomResourceDefinition").count(), 4);

    // Any file stands for the binary, which takes long to build.
    let target = "x86_64-unknown-linux-gnu";
    fs::write(folder.path().join("supercargo"), "#!/bin/sh\necho ok\n").unwrap();
    run(&["archive", target, "supercargo", "dist"]);
    run(&["checksums", "dist"]);
    let mut check = Command::new("sha256sum");
    let output = check.args(["--check", "--strict", "SHA256SUMS"]).current_dir(folder.path().join("dist")).output();
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    let archive = format!("supercargo-{version}-{target}.tar.gz");
    assert_eq!(said, format!("{archive}: OK\nsupercargo-{version}.tgz: OK\n"));
    let mut list = Command::new("tar");
    let output = list.arg("-tzf").arg(&archive).current_dir(folder.path().join("dist")).output().unwrap();
    let held: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    for file in ["supercargo", "LICENSE", "README.md"] {
        assert!(held.contains(&format!("supercargo-{version}-{target}/{file}")), "{held:?}");
    }
}
