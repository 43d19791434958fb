//! docs/approvals.md: what it has people type does what it says, and prints what it shows.

use std::process::Command;

use regex::Regex;

use super::{flow::Shop, plane};
use crate::{
    deploy::shell,
    docs::{blocks, page},
    support::{
        bin,
        control_plane::ADMIN,
        objects::{deployment, event_says},
        registry::{Image, Registry},
    },
};

/// A command that the page shows: who types it, and what it prints.
#[derive(Debug)]
struct Shown<'p> {
    who: &'p str,
    command: &'p str,
    output: Vec<&'p str>,
}

fn shown(page: &str) -> Vec<Shown<'_>> {
    let mut all: Vec<Shown<'_>> = Vec::new();
    for line in blocks(page, "text").into_iter().flat_map(str::lines) {
        let prompt = line.split_once("$ ").filter(|(who, _)| who.chars().all(char::is_alphabetic));
        match (prompt, all.last_mut()) {
            (Some((who, command)), _) => all.push(Shown { who, command, output: Vec::new() }),
            // What is asked on a terminal is not asked of the test.
            (None, Some(last)) if !line.contains("? [y/N] ") => last.output.push(line),
            (None, _) => {}
        }
    }
    all
}

/// What differs each time is left out, and how wide a column is.
fn plain(line: &str) -> String {
    let changing = [
        (r"sha256:[0-9a-f]{64}", "DIGEST"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"deployment-web-[0-9a-f]{16}", "UPDATE"),
        (r"\b\d+s$", "AGE"),
    ];
    let line = changing.iter().fold(line.to_owned(), |line, (changes, name)| {
        Regex::new(changes).unwrap().replace_all(&line, *name).into_owned()
    });
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Shop<'_> {
    /// What a command of the page prints here.
    fn types(&self, Shown { who, command, .. }: &Shown<'_>) -> String {
        let user = if who.is_empty() { ADMIN } else { who };
        // On a terminal it is asked.
        let yes = if command.starts_with("supercargo ") && !command.contains(" --yes") { " --yes" } else { "" };
        let here = self.namespace.name.as_str();
        let command = command.replace("-n shop", &format!("-n {here}")).replace("shop/", &format!("{here}/")) + yes;
        let folder = |path: &std::path::Path| path.parent().unwrap().display().to_string();
        let program = folder(env!("CARGO_BIN_EXE_supercargo").as_ref());
        let path = format!("{program}:{}:/usr/bin:/bin", folder(&bin("kubectl")));
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).env("PATH", path).env("KUBECONFIG", self.plane.kubeconfig(user));
        let output = shell.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said.replace(&self.registry.host, "registry.example.com").replace(&format!("{here}/"), "shop/")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_has_people_type_does_what_it_says() {
    let plane = plane().await;
    let shop = Shop { namespace: plane.namespace("page").await, registry: Registry::start().await, plane };
    shop.registry.push("web", "1.4.2", &Image::unique()).await;
    let policy = serde_json::json!({"supercargo.dev/policy": "minor"});
    shop.namespace.create(&deployment("web", &shop.image("1.4.2"), policy).to_string()).await;
    let page = page("docs/approvals.md");
    let commands = blocks(&page, "sh").concat();
    assert_eq!(commands.lines().count(), 3);
    shell(plane, &commands.replace("-n shop", &format!("-n {}", shop.namespace.name)));
    let _operator = shop.operator().await;

    let shown = shown(&page);
    assert_eq!(shown.len(), 7, "{shown:?}");
    for (at, shown) in shown.iter().enumerate() {
        // What happens before it on the page.
        match at {
            0 => {
                shop.push("1.5.0").await;
                shop.update("1.5.0", "Waiting").await;
                event_says(&shop.namespace, "web", "must approve").await;
            }
            4 => _ = shop.update("1.5.0", "Succeeded").await,
            5 => {
                shop.push("1.6.0").await;
                shop.update("1.6.0", "Waiting").await;
            }
            6 => _ = shop.update("1.6.0", "Rejected").await,
            _ => {}
        }
        let said = shop.types(shown);
        let mut said: Vec<String> = said.lines().map(plain).collect();
        let mut page: Vec<String> = shown.output.iter().copied().map(plain).collect();
        // It may be written already when it is asked how far it is.
        if said.last().is_some_and(|last| last.starts_with("approved: it waits no more")) {
            said.pop();
            page.pop();
        }
        // Updates are listed by name, which differs each time.
        said.sort();
        page.sort();
        assert_eq!(said, page, "{}", shown.command);
    }
}
