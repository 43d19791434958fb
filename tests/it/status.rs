//! `supercargo status` on a real API server: what is recorded, in which order, and what it says where it cannot be read.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use supercargo::{clock::SystemClock, ports::Clock as _};

use crate::support::{
    bin,
    control_plane::{ADMIN, ControlPlane, Namespace, PLAIN, Parts, shared},
    eventually, free_port,
    objects::{deployment, policy},
    operator::{Operator, Setup, supercargo},
    records::{create, status, update},
    registry::Registry,
};

/// Runs it as that user.
fn run(plane: &ControlPlane, user: &str, args: &[&str]) -> Output {
    let kubeconfig = plane.kubeconfig(user);
    supercargo(&[&["status", "--kubeconfig", kubeconfig.to_str().unwrap()], args].concat(), Path::new("."))
}

/// What it prints as the administrator, who is told nothing on stderr.
fn shown(plane: &ControlPlane, args: &[&str]) -> String {
    let output = run(plane, ADMIN, args);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && err.is_empty(), "{out}{err}");
    out
}

fn rows(plane: &ControlPlane, args: &[&str]) -> Vec<Value> {
    serde_json::from_str(&shown(plane, &[args, &["-o", "json"]].concat())).unwrap()
}

fn names(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["name"].as_str().unwrap()).collect()
}

/// Without ages, what the API server chose, and how wide the columns are of that.
fn masked(text: &str) -> String {
    let masks = [
        (r"(\S)  +", "$1  "),
        (r"\b(\d+[smhd]){1,2}\b", "AGE"),
        (r#"(createdAt"?: "?)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"#, "${1}TIME"),
    ];
    masks.iter().fold(text.to_owned(), |text, (mask, name)| {
        regex::Regex::new(mask).unwrap().replace_all(&text, *name).into_owned()
    })
}

#[tokio::test]
async fn those_that_have_not_ended_come_first_and_then_the_newest() {
    let namespace = shared().await.namespace("status-order").await;
    let plane = namespace.plane;
    let phases = [("a", "Succeeded"), ("b", "Waiting"), ("c", "Expired"), ("d", "Proposed"), ("e", "Failed")];
    let mut last = String::new();
    for (name, phase) in phases {
        // A time of creation has no parts of a second: each is made in a second of its own.
        eventually("a later second", async || {
            create(&namespace, "imageupdates", &update(name, "web"), &status(phase)).await;
            let at = namespace.get("imageupdates", name).await["metadata"]["creationTimestamp"].to_string();
            let is_later = at > last;
            if is_later {
                last = at
            } else {
                namespace.delete("imageupdates", name).await
            }
            is_later.then_some(())
        })
        .await;
    }
    let all = rows(plane, &["-n", &namespace.name]);
    assert_eq!(names(&all), ["d", "b", "e", "c", "a"]);
    let table = shown(plane, &["-n", &namespace.name]);
    let phases: Vec<&str> = table.lines().skip(1).map(|line| line.split_whitespace().nth(3).unwrap()).collect();
    assert_eq!(phases, ["Proposed", "Waiting", "Failed", "Expired", "Succeeded"]);
}

#[tokio::test]
async fn of_one_workload_of_a_namespace_and_of_all() {
    let plane = shared().await;
    let (one, other) = (plane.namespace("status-one").await, plane.namespace("status-other").await);
    let of = |name: &str, workload: &str, label: &str| {
        let mut object = update(name, workload);
        object["metadata"]["labels"] = json!({"supercargo.dev/workload": label});
        object
    };
    create(&one, "imageupdates", &of("web", "web", "deployment-web"), &status("InGit")).await;
    create(&one, "imageupdates", &of("api", "api", "deployment-api"), &status("InGit")).await;
    create(&other, "imageupdates", &of("other", "web", "deployment-web"), &status("InGit")).await;

    assert_eq!(names(&rows(plane, &["-n", &one.name])), ["api", "web"]);
    assert_eq!(names(&rows(plane, &["-n", &one.name, "deploy/web"])), ["web"]);
    assert_eq!(names(&rows(plane, &[&format!("{}/Deployment/web", other.name), "-n", &one.name])), ["other"]);
    let all = rows(plane, &["-A"]);
    let of = |namespace: &Namespace<'_>| all.iter().filter(|row| row["namespace"] == namespace.name).count();
    assert_eq!((of(&one), of(&other)), (2, 1));
    // Without any of these, the namespace is that of the kubeconfig.
    let kubeconfig = plane.kubeconfig_with_token(&format!("{ADMIN}-token"), &other.name);
    let output = supercargo(&["status", "--kubeconfig", kubeconfig.to_str().unwrap(), "-o", "json"], Path::new("."));
    assert_eq!(names(&serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap()), ["other"]);

    for (args, said) in [
        (vec!["-n", &one.name, "sts/web"], format!("no update of {}/StatefulSet/web is recorded", one.name)),
        (vec!["-n", "status-none"], "no update of the namespace status-none is recorded".to_owned()),
    ] {
        let output = run(plane, ADMIN, &[&args[..], &["-o", "json"]].concat());
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"[]\n"[..]));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("{said}\n"));
    }
}

#[tokio::test]
async fn it_is_printed_so_also_where_a_later_version_wrote_it() {
    let namespace = shared().await.namespace("status-shown").await;
    create(&namespace, "imageupdates", &update("deployment-web-0123456789abcdef", "web"), &status("RollingBack")).await;
    let mut bare = update("bare", "web");
    bare["spec"]["changes"][0].as_object_mut().unwrap().remove("evidence");
    bare["metadata"]["namespace"] = json!(namespace.name);
    namespace.create(&bare.to_string()).await;
    let all = ["table", "json", "yaml"].map(|output| {
        let text = shown(namespace.plane, &["-n", &namespace.name, "-o", output]);
        format!(
            "$ supercargo status -n NAMESPACE -o {output}\n{}\n",
            masked(&text.replace(&namespace.name, "NAMESPACE"))
        )
    });
    insta::assert_snapshot!("status", all.concat());
}

#[tokio::test]
async fn what_is_not_seen_is_escaped_and_what_cannot_be_read_is_named() {
    let namespace = shared().await.namespace("status-odd").await;
    let mut odd = update("odd", "web\u{1b}[2J\u{202e}");
    odd["spec"]["changes"][0]["from"] = json!("\u{1b}]0;x\u{7}\nfaked  Succeeded");
    create(&namespace, "imageupdates", &odd, &status("Waiting")).await;
    for output in ["table", "json", "yaml"] {
        let text = shown(namespace.plane, &["-n", &namespace.name, "-o", output]);
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
        assert_eq!(output == "table", text.lines().count() == 2, "{text}");
    }

    let mut bad = update("bad", "web");
    bad["spec"]["changes"][0]["evidence"]["tag"] = json!("no tag");
    create(&namespace, "imageupdates", &bad, &status("Waiting")).await;
    let output = run(namespace.plane, ADMIN, &["-n", &namespace.name, "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(names(&serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap()), ["odd"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with(&format!("{}/bad: left out: ", namespace.name)) && said.lines().count() == 1, "{said}");
}

#[tokio::test]
async fn more_than_a_page_is_read() {
    let namespace = shared().await.namespace("status-many").await;
    for n in 0..260 {
        let mut object = update(&format!("n-{n:03}"), "web");
        object["metadata"]["namespace"] = json!(namespace.name);
        namespace.create(&object.to_string()).await;
    }
    assert_eq!(rows(namespace.plane, &["-n", &namespace.name]).len(), 260);
}

#[tokio::test]
async fn where_it_cannot_be_read_it_says_what_to_do() {
    let plane = shared().await;
    let bare = ControlPlane::start_without_kinds(Parts::Api).await;
    let namespace = plane.namespace("status-forbidden").await;
    let gone = plane.namespace("status-gone").await;
    let kubeconfig = plane.kubeconfig(ADMIN);
    let text = std::fs::read_to_string(&kubeconfig).unwrap();
    let nobody = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&nobody, text.replace(&plane.url(), &format!("https://127.0.0.1:{}", free_port()))).unwrap();
    let stranger = plane.kubeconfig_with_token("no-such-token", "default");
    let [nobody, stranger] = [nobody.path(), &stranger].map(|path| path.to_str().unwrap().to_owned());

    let mut all = String::new();
    let mut add = |output: Output, args: &str| {
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{args}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap().replace(&namespace.name, "NAMESPACE");
        all += &format!("$ supercargo status {args}\n{said}\n");
    };
    add(run(&bare, ADMIN, &[]), "# on a cluster without the definitions");
    add(run(plane, PLAIN[0], &["-n", &namespace.name]), "-n NAMESPACE # as alice");
    add(run(plane, PLAIN[0], &["-n", &namespace.name, "deploy/web"]), "-n NAMESPACE deploy/web # as alice");
    add(run(plane, PLAIN[0], &["-A"]), "-A # as alice");
    add(run(plane, ADMIN, &["-n", "a/b"]), "-n a/b");
    add(supercargo(&["status", "--kubeconfig", &stranger], Path::new(".")), "# with a token that is not known");
    let port = regex::Regex::new(r"127\.0\.0\.1:\d+").unwrap();
    insta::assert_snapshot!("status_errors", port.replace_all(&all, "127.0.0.1:PORT"));
    let refused = supercargo(&["status", "--kubeconfig", &nobody], Path::new("."));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && said.contains("did not answer"), "{said}");
    drop(gone);
}

/// The story of docs/records.md, told by a real operator.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_shown_as_the_page_of_records_has_it() {
    let (plane, registry) = (shared().await, Registry::start().await);
    let namespace = plane.namespace("shop").await;
    let image = |name: &str, tag: &str| format!("{}/{name}:{tag}", registry.host);
    registry.push_tags("web", ["1.4.2", "1.5.0"]).await;
    registry.push_tags("api", ["2.0.0", "2.1.0"]).await;
    let refuse =
        include_str!("../data/refuse-image.yaml").replace("NAMESPACE", &namespace.name).replace("TAG", "2.1.0");
    plane.create(&refuse).await;
    namespace.create(&deployment("web", &image("web", "1.4.2"), policy("minor")).to_string()).await;
    namespace.create(&deployment("api", &image("api", "2.0.0"), policy("minor")).to_string()).await;
    eventually("the policy is in force", async || {
        let containers = json!([{"name": "web", "image": image("api", "2.1.0")}]);
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/api?dryRun=All", namespace.name);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        plane.request(http::Method::PATCH, &path, Some(&patch)).await.err()
    })
    .await;
    let _operator = Operator::start(plane, &Setup::in_namespace(&namespace, "1s")).await;
    eventually("both are recorded, and what was set", async || {
        let output = run(plane, ADMIN, &["-n", &namespace.name, "-o", "json"]);
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let phases: Vec<&str> = rows.iter().filter_map(|row| row["phase"].as_str()).collect();
        let states = plane.kubectl(&["-n", &namespace.name, "get", "ims", "-o", "jsonpath={..applied[*].to}"]);
        (phases == ["Applying", "Succeeded"] && states == image("web", "1.5.0")).then_some(())
    })
    .await;

    let histories = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/imagehistories", namespace.name);
    let history = json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "ImageHistory", "metadata": {"name": "5d09fad9bcac7727"},
        "spec": {"repository": format!("{}/web", registry.host)},
    });
    plane.request(http::Method::POST, &histories, Some(&history)).await.unwrap();
    let seen = json!([{
        "tag": "1.5.0", "digest": format!("sha256:{}", "a".repeat(64)), "firstSeen": SystemClock::default().now(),
    }]);
    let (path, status) = (format!("{histories}/5d09fad9bcac7727/status"), json!({"status": {"tags": seen}}));
    plane.request(http::Method::PATCH, &path, Some(&status)).await.unwrap();

    let page = include_str!("../../docs/records.md");
    // What is another each time, and the widths that follow from it.
    let plain = |text: &str| {
        let text = text.replace(&registry.host, "registry.example.com").replace(&namespace.name, "shop");
        let masks = [
            (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID"),
            (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
            (r"\b[0-9a-f]{16}\b", "HASH"),
            (r"(Resource Version: +)\d+", "VERSION"),
            (r"\b(\d+[smhd]){1,2}\b", "AGE"),
            (r" +", " "),
        ];
        let masked = masks
            .iter()
            .fold(text, |text, (mask, name)| regex::Regex::new(mask).unwrap().replace_all(&text, *name).into_owned());
        masked.trim_end().lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>()
    };
    let shell = |line: &str| {
        let kubeconfig = plane.kubeconfig(ADMIN);
        let program = Path::new(env!("CARGO_BIN_EXE_supercargo")).parent().unwrap();
        let path = format!("{}:{}:/usr/bin:/bin", program.display(), bin("kubectl").parent().unwrap().display());
        let mut command = Command::new("sh");
        let own = format!("-n {}", namespace.name);
        command.args(["-c", &line.replace("-n shop", &own).replace("-n supercargo", &own)]);
        let output = command.env("PATH", path).env("KUBECONFIG", kubeconfig).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let mut shown = 0;
    for block in page.split("```text\n$ ").skip(1) {
        let (line, output) = block.split("```").next().unwrap().split_once('\n').unwrap();
        assert_eq!(plain(&shell(line)), plain(output), "{line}");
        shown += 1;
    }
    assert_eq!(shown, 6);

    let lines: Vec<&str> =
        page.split("```sh\n").skip(1).flat_map(|block| block.split("```").next().unwrap().lines()).collect();
    let [wait, create, label, define] = lines[..] else { panic!("{lines:?}") };
    shell(wait);
    shell(create);
    shell(label);
    shell(define);
    let user = PLAIN[1];
    shell(&format!("kubectl -n shop create rolebinding view --clusterrole=supercargo-view --user={user}"));
    eventually("who may view reads them", async || {
        let output = run(plane, user, &["-n", &namespace.name, "deploy/web"]);
        (output.status.success() && String::from_utf8_lossy(&output.stdout).contains("Succeeded")).then_some(())
    })
    .await;
}
