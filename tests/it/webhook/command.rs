//! `supercargo hooks test` against an operator that runs, and against what is none.

use std::process::Command;

use supercargo::ingest::webhook::SENDERS;

use super::*;
use crate::support::{
    control_plane::shared,
    free_port,
    objects::deployment,
    operator::{Operator, Setup},
    victim::hooked,
};

/// A sender's variable.
fn variable(sender: &str) -> String {
    format!("SUPERCARGO_HOOK_SECRET_{}", sender.to_ascii_uppercase())
}

/// The code, and what it says on stdout and stderr.
fn test(args: &[&str], secrets: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
    command.args(["hooks", "test"]).args(args).env("NO_PROXY", "127.0.0.1");
    command.envs(secrets.iter().map(|(sender, secret)| (variable(sender), secret)));
    let output = command.output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    for (_, secret) in secrets {
        assert!(!out.contains(secret) && !err.contains(secret), "{out}{err}");
    }
    (output.status.code().unwrap(), out, err)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_says_whether_the_operator_hears_a_sender_and_what_to_check_if_not() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("hooks-test").await;
    registry.push("team/web", "1.0.0", &Image::unique()).await;
    let image = format!("{}/team/web:1.0.0", registry.host);
    namespace.create(&deployment("web", &image, hooked()).to_string()).await;
    let heard = SENDERS.iter().filter(|sender| sender.name != "acr");
    let variables = heard.clone().map(|sender| (variable(sender.name), SECRET.to_owned())).collect();
    let operator = Operator::start(plane, &Setup { variables, ..Setup::in_namespace(&namespace, "1h") }).await;
    let url = &operator.hooks;

    for sender in heard {
        let name = sender.name;
        let (code, out, err) = test(&[name, "--url", url], &[(name, SECRET)]);
        assert_eq!((code, &*err), (0, ""), "{out}");
        assert!(
            out.contains(&format!("/hooks/{name}: a push of ")) && out.contains("\n202 Accepted unwatched\n"),
            "{out}"
        );
        assert!(out.contains(&format!("{name} is heard: no workload that it watches uses ")), "{out}");
        // Docker Hub can name no other host.
        if name != "dockerhub" {
            let full = format!("{url}/hooks/{name}");
            let (code, out, err) = test(&[name, "--url", &full, "--image", &image], &[(name, SECRET)]);
            assert_eq!((code, &*err), (0, ""), "{out}");
            assert!(out.contains("202 Accepted queued\n") && out.contains("supercargo looks at "), "{out}");
        }
        let (code, out, err) = test(&[name, "--url", url], &[(name, "wrong-4711")]);
        assert_eq!(code, 1, "{out}{err}");
        assert!(out.contains("\n401 Unauthorized the secret is wrong or missing"), "{out}");
        let checks = [&*variable(name), "Secret supercargo-hooks", "rollout restart"];
        assert!(
            err.starts_with("error: the operator has another secret") && checks.iter().all(|check| err.contains(check)),
            "{err}"
        );
    }

    let (code, out, err) = test(&["acr", "--url", url], &[("acr", SECRET)]);
    assert!(code == 1 && out.contains("sender `acr` is off") && err.contains("does not hear `acr`"), "{out}{err}");
    // The other port.
    let (code, out, err) = test(&["acr", "--url", &operator.private], &[("acr", SECRET)]);
    assert!(code == 1 && out.contains("404") && err.contains("that is no answer of supercargo"), "{out}{err}");

    let folder = tempfile::tempdir().unwrap();
    let (file, config) = (folder.path().join("secret"), folder.path().join("config.yaml"));
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    fs::write(&config, format!("hooks: {{github: {{secretFiles: [{}]}}}}\n", file.display())).unwrap();
    let (code, out, err) = test(&["github", "--url", url, "--config", config.to_str().unwrap()], &[]);
    assert!(code == 0 && out.contains(file.to_str().unwrap()), "{out}{err}");
}

#[test]
fn a_test_that_nobody_answers_fails_and_one_that_cannot_be_made_ends_with_2() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let (code, out, err) = test(&["quay", "--url", &nobody], &[("quay", SECRET)]);
    assert!(code == 1 && out.contains("/hooks/quay") && err.starts_with("error: no answer: "), "{out}{err}");
    for (args, secrets, words) in [
        (&["quay", "--url", &*nobody][..], &[][..], "SUPERCARGO_HOOK_SECRET_QUAY"),
        (&["gitlab", "--url", &nobody], &[], "use `generic`"),
        (&["ghcr", "--url", &nobody], &[], "available: acr,"),
        (&["quay", "--url", "ftp://x"], &[("quay", SECRET)], "http://"),
        (&["quay", "--url", "hooks.example.com"], &[("quay", SECRET)], "http://"),
        (&["quay", "--url", "http://x/hooks/quay?token=y"], &[("quay", SECRET)], "leave out secrets"),
        (&["quay", "--url", "http://me:y@x/hooks/quay"], &[("quay", SECRET)], "leave out secrets"),
        (&["quay", "--url", "http://x/hooks/acr"], &[("quay", SECRET)], "leads to the sender `acr`"),
        (&["dockerhub", "--url", &nobody, "--image", "r.io/a:1"], &[("dockerhub", SECRET)], "images of docker.io"),
        (&["gitea", "--url", &nobody, "--image", "r.io/a:1"], &[("gitea", SECRET)], "host/owner/name:tag"),
    ] {
        let (code, out, err) = test(args, secrets);
        assert_eq!((code, &*out), (2, ""), "{args:?}: {err}");
        assert!(err.starts_with("error: ") && err.contains(words), "{args:?}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed_as_the_secret_must_not_leave() {
    let moved = Router::new().fallback(async || (StatusCode::FOUND, [("location", "http://elsewhere.example/")]));
    let served = Served::start(moved, None, Limits::default(), Arc::new(SystemClock::default())).await;
    let url = format!("http://{}", served.address);
    let said = tokio::task::spawn_blocking(move || test(&["quay", "--url", &url], &[("quay", SECRET)])).await.unwrap();
    assert!(said.0 == 1 && said.2.contains("the address at the end"), "{said:?}");
}
