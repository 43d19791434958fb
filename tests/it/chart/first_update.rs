//! `docs/first-update.md`, command by command: from nothing to a first update, and to one in Git.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    Mounts,
    install::{Helm, plane},
    kubelet_of_the_test,
};
use crate::{
    deploy::{as_deployed, of_kind},
    docs::{blocks, page},
    support::{
        bin,
        control_plane::{ControlPlane, Namespace},
        eventually,
        git_server::{GitServer, Options},
        objects::{deployment, runs},
        operator::{Operator, Setup},
        registry::Registry,
    },
};

/// A shell with what a person has, where the page's names stand for what is here.
struct Shell<'a> {
    folder: &'a Path,
    helm: &'a Helm<'a>,
    names: Vec<(&'static str, String)>,
}

impl Shell<'_> {
    fn here(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    fn run(&self, line: &str) -> String {
        let program = Path::new(env!("CARGO_BIN_EXE_supercargo")).parent().unwrap();
        let path = format!("{}:{}:/usr/bin:/bin", program.display(), bin("helm").parent().unwrap().display());
        let mut command = Command::new("sh");
        command.args(["-ec", &self.here(line)]).current_dir(self.folder).env_clear().env("PATH", path);
        command
            .env("HOME", self.helm.home.path())
            .env("KUBECONFIG", &self.helm.kubeconfig)
            .env("NO_PROXY", "127.0.0.1");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// What the Secrets of the release's namespace hold, by the command that makes them.
async fn secrets(home: &Namespace<'_>, names: &[&str]) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for name in names {
        let secret = home.get("secrets", name).await;
        let data: BTreeMap<String, String> = serde_json::from_value(secret["data"].clone()).unwrap();
        let data = data.into_iter().map(|(key, text)| (key, BASE64_STANDARD.decode(text).unwrap())).collect();
        all.insert((*name).to_owned(), data);
    }
    all
}

/// As the pod of the release would be started, with its files.
async fn started(
    plane: &ControlPlane,
    objects: &[Value],
    secrets: &BTreeMap<String, BTreeMap<String, Vec<u8>>>,
) -> (Operator, Mounts) {
    let pod = &of_kind(objects, "Deployment").next().unwrap()["spec"]["template"]["spec"];
    let mounts = Mounts::of(pod, objects, secrets);
    let mut setup: Setup = as_deployed(plane, objects).await;
    for arg in &mut setup.args {
        if let Some(path) = arg.strip_prefix("--config=") {
            let text = fs::read_to_string(path).unwrap();
            fs::write(path, mounts.here(&text)).unwrap();
        } else {
            *arg = mounts.here(arg);
        }
    }
    let hooks = secrets.get("supercargo-hooks").into_iter().flatten();
    let variable = |key: &str| format!("SUPERCARGO_HOOK_SECRET_{}", key.to_uppercase());
    setup.variables.extend(hooks.map(|(key, bytes)| (variable(key), String::from_utf8(bytes.clone()).unwrap())));
    (Operator::start(plane, &setup).await, mounts)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_leads_from_nothing_to_a_first_update_and_to_one_in_git() {
    let (plane, registry) = (&plane().await, Registry::start().await);
    let git =
        GitServer::start_with(Options { password: Some(("bot".into(), "geheim-4711".into())), ..Options::default() })
            .await;
    let (helm, folder) = (Helm::new(plane), tempfile::tempdir().unwrap());
    let image = |tag: &str| format!("{}/web:{tag}", registry.host);
    registry.push_tags("web", ["1.4.2", "2.0.0"]).await;
    let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    plane.create(&shop.to_string()).await;
    let (shop, home) =
        (Namespace { plane, name: "shop".to_owned() }, Namespace { plane, name: "supercargo".to_owned() });
    shop.create(&deployment("web", &image("1.4.2"), Value::Null).to_string()).await;

    // As a release does: the chart in a registry.
    let mut shell = Shell { folder: folder.path(), helm: &helm, names: Vec::new() };
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/release");
    shell.run(&format!("{} chart {}/supercargo dist", chart.display(), registry.host));
    shell.run(&format!("helm push --plain-http dist/supercargo-*.tgz oci://{}/charts", registry.host));
    shell.names = vec![
        (
            "oci://registry.example.com/charts/supercargo",
            "oci://registry.example.com/charts/supercargo --plain-http".to_owned(),
        ),
        ("registry.example.com", registry.host.clone()),
        ("https://git.example.com/team/deploy.git", git.url("deploy")),
    ];

    let page = page("docs/first-update.md");
    let [install, first, secrets_of, upgrade, heard] = blocks(&page, "sh")[..] else {
        panic!("five blocks of commands")
    };
    let (install, test) = install.trim_end().rsplit_once('\n').unwrap();
    shell.run(install);
    let objects = helm.objects("supercargo");
    assert_eq!(test, "helm test supercargo --namespace supercargo");
    let mut tested = helm.command(&test.split(' ').skip(1).collect::<Vec<_>>());
    let testing = tokio::task::spawn_blocking(move || tested.output().unwrap());
    assert!(kubelet_of_the_test(plane, &objects).await.status.success());
    let tested = testing.await.unwrap();
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));

    // What it says after the install is what the page says.
    let notes = helm.run(&["get", "notes", "supercargo", "--namespace", "supercargo"]);
    let commands: Vec<&str> = notes.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert_eq!(commands.len(), 3, "{notes}");
    assert!(commands[0].contains("test supercargo") && first.contains(commands[1]), "{notes}");
    shell.run(commands[2]);

    let (operator, _mounts) = started(plane, &objects, &BTreeMap::new()).await;
    let [annotate, push, get, records] = first.lines().collect::<Vec<_>>()[..] else { panic!("{first}") };
    shell.run(annotate);
    assert!(push.starts_with("# push web:1.5.0"));
    registry.push_tags("web", ["1.5.0"]).await;
    runs(&shop, "web", &[&image("1.5.0")]).await;
    assert_eq!(shell.run(get), image("1.5.0"));
    eventually("the record says so", async || shell.run(records).contains(" Succeeded ").then_some(())).await;
    drop(operator);

    let manifest = deployment("web", &image("1.5.0"), Value::Null);
    let manifest = serde_saphyr::to_string(&{
        let mut manifest = manifest;
        manifest["metadata"] = json!({"name": "web", "namespace": "shop"});
        manifest
    });
    let repo = git.create("deploy", &[("web.yaml", manifest.unwrap().as_bytes())]);
    fs::write(folder.path().join("token"), "geheim-4711").unwrap();
    shell.run(secrets_of);
    let values = blocks(&page, "yaml")[0];
    assert!(values.starts_with("# values.yaml\n"));
    fs::write(folder.path().join("values.yaml"), shell.here(values)).unwrap();
    let (upgrade, annotate) = upgrade.split_once('\n').unwrap();
    shell.run(upgrade);
    let (objects, secrets) =
        (helm.objects("supercargo"), secrets(&home, &["supercargo-git", "supercargo-hooks"]).await);
    assert_eq!(secrets["supercargo-hooks"]["generic"].len(), 64);
    let (operator, _mounts) = started(plane, &objects, &secrets).await;
    shell.run(annotate);
    // The one is not what `calm` takes.
    registry.push_tags("web", ["1.6.0", "1.5.1"]).await;
    let committed = || String::from_utf8(repo.read("web.yaml")).unwrap().contains(&image("1.5.1"));
    eventually("the commit", async || committed().then_some(())).await;
    runs(&shop, "web", &[&image("1.5.0")]).await;

    shell.names.push(("https://hooks.example.com", operator.hooks.clone()));
    let said = shell.run(heard);
    assert!(said.contains("queued"), "{said}");
}
