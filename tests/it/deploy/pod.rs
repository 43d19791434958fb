//! The pod: what Pod Security says of it, and the program in surroundings like those of its image.

use http::Method;
use serde_json::{Value, json};

use super::{EVERYWHERE, WHOLE, of_kind, plane, rendered};
use crate::support::{
    eventually, http,
    objects::{deployment, policy, runs},
    operator::{Operator, Setup},
    registry::{Image, Registry},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_is_let_in_where_pod_security_is_restricted() {
    let plane = plane().await;
    let namespace = plane.namespace("restricted").await;
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let path = format!("/api/v1/namespaces/{}", namespace.name);
    plane.request(Method::PATCH, &path, Some(&label)).await.unwrap();
    for whole in WHOLE {
        let objects = rendered(whole);
        let deployment = of_kind(&objects, "Deployment").next().unwrap();
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "supercargo"}});
        pod["spec"] = deployment["spec"]["template"]["spec"].clone();
        let path = format!("{path}/pods?dryRun=All");
        plane.request(Method::POST, &path, Some(&pod)).await.unwrap_or_else(|e| panic!("{whole}: {e}"));

        // And the API server does look.
        for pointer in ["/spec/securityContext", "/spec/containers/0/securityContext"] {
            let mut worse = pod.clone();
            worse.pointer_mut(pointer).unwrap().take();
            let error = plane.request(Method::POST, &path, Some(&worse)).await.unwrap_err().to_string();
            assert!(error.contains("violates PodSecurity"), "{pointer}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_probes_and_policies_name_ports_that_the_pod_has() {
    for whole in WHOLE {
        let objects = rendered(whole);
        let deployment = of_kind(&objects, "Deployment").next().unwrap();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let ports: Vec<&Value> = container["ports"].as_array().unwrap().iter().map(|port| &port["name"]).collect();
        assert_eq!(container["ports"][0]["containerPort"], 8080, "the default of --hooks-listen");
        assert_eq!(container["ports"][1]["containerPort"], 9090, "the default of --listen");
        let services = of_kind(&objects, "Service").map(|service| &service["spec"]["ports"][0]["targetPort"]);
        let probes = ["livenessProbe", "readinessProbe"].map(|probe| &container[probe]["httpGet"]["port"]);
        let policy = of_kind(&objects, "NetworkPolicy").next().unwrap();
        let let_in = policy["spec"]["ingress"].as_array().unwrap().iter().map(|rule| &rule["ports"][0]["port"]);
        let named: Vec<&Value> = services.chain(probes).chain(let_in).collect();
        assert_eq!(named.len(), 6);
        assert!(named.iter().all(|name| ports.contains(name)), "{whole}: {named:?}");
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        assert!(of_kind(&objects, "Service").all(|service| service["spec"]["selector"] == *labels));
        assert_eq!(policy["spec"]["podSelector"]["matchLabels"], *labels);
    }
}

/// Started with an empty environment but for the image's PATH, in a folder that nobody may write to, and with no right
/// to write a byte to any file. Its output goes through a pipe.
const AS_IN_THE_IMAGE: &str = r#"
exec > >(exec cat) 2>&1
ulimit -f 0
exec env -i -C "$0" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_program_needs_no_environment_no_home_and_writes_no_file() {
    let _others = EVERYWHERE.read().await;
    let (plane, registry) = (plane().await, Registry::start().await);
    let namespace = plane.namespace("as-in-the-image").await;
    registry.push("web", "1.0.0", &Image::unique()).await;
    let folder = tempfile::tempdir().unwrap();
    let mut permissions = folder.path().metadata().unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(folder.path(), permissions).unwrap();
    let mut setup = Setup::in_namespace(&namespace, "1s");
    setup.through = ["bash", "-c", AS_IN_THE_IMAGE, folder.path().to_str().unwrap()].map(str::to_owned).into();
    let mut operator = Operator::start(plane, &setup).await;

    let process = format!("/proc/{}", operator.process.pid());
    let environment = std::fs::read(format!("{process}/environ")).unwrap();
    assert_eq!(environment.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()).count(), 1);
    assert!(
        std::fs::read_to_string(format!("{process}/limits"))
            .unwrap()
            .lines()
            .any(|line| { line.starts_with("Max file size") && line.split_whitespace().nth(3) == Some("0") })
    );
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    namespace.create(&deployment("web", &image("1.0.0"), policy("patch")).to_string()).await;
    registry.push("web", "1.0.1", &Image::unique()).await;
    runs(&namespace, "web", &[&image("1.0.1")]).await;
    for entry in std::fs::read_dir(format!("{process}/fd")).unwrap() {
        let target = std::fs::read_link(entry.unwrap().path()).unwrap_or_default();
        // Sockets and pipes are not paths; a temporary folder is where a file would be.
        assert!(!target.starts_with(std::env::temp_dir()), "{}", target.display());
    }

    eventually("the update is counted", async || {
        (operator.metric("supercargo_updates_total", "").await >= 1.0).then_some(())
    })
    .await;
    let ask = async |path: &str| {
        let answer = http().get(format!("{}{path}", operator.private)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(ask("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(ask("/readyz").await, (200, "ok\n".to_owned()));
    let (status, metrics) = ask("/metrics").await;
    assert_eq!(status, 200);
    for name in ["supercargo_registry_requests_total{", "supercargo_updates_total{", "supercargo_workloads 1"] {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "{name} in {metrics}");
    }
    assert_eq!(ask("/other").await.0, 404);

    operator.process.signal("TERM");
    assert_eq!(operator.process.wait().await.code(), Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    // Through a pipe: the last lines may come after the end.
    eventually("the last line", async || operator.process.output().contains("stopped").then_some(())).await;
    for line in operator.process.output().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{line}");
        for field in ["level", "target", "message"] {
            assert!(line[field].is_string(), "{field} in {line}");
        }
    }
}
