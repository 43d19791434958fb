//! A GitHub App as the credentials of a target: its installation token lets git in, and no other does.

use std::process::Command;

use serde_json::json;

use crate::{
    forges::{Server, app_key, reply},
    support::{
        git_server::{GitServer, Options},
        registry::Registry,
    },
};

const TOKEN: &str = "ghs_16C7e42F292c6912E7710c838347Ae178B4a";

#[tokio::test(flavor = "multi_thread")]
async fn git_is_let_in_with_an_installation_token_of_few_rights() {
    let (registry, folder) = (Registry::start().await, tempfile::tempdir().unwrap());
    let password = Some(("x-access-token".to_owned(), TOKEN.to_owned()));
    let server = GitServer::start_with(Options { password, ..Options::default() }).await;
    let image = format!("{}/team/web:1.0.0", registry.host);
    let manifest = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, annotations: {{supercargo.dev/policy: minor}}}}\n\
         spec: {{template: {{spec: {{containers: [{{name: web, image: '{image}'}}]}}}}}}\n"
    );
    let repo = server.create("o/r", &[("web.yaml", manifest.as_bytes())]);
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let github = Server::start(|came| match &*came.line() {
        "GET /api/v3/repos/o/r/installation" => reply(200, json!({"id": 42, "app_id": 123})),
        "POST /api/v3/app/installations/42/access_tokens" => {
            let permissions = came.body["permissions"].clone();
            let expires = "2099-01-01T00:00:00Z";
            reply(201, json!({"token": TOKEN, "expires_at": expires, "permissions": permissions}))
        }
        _ => reply(404, json!({"message": "Not Found"})),
    })
    .await;
    std::fs::write(folder.path().join("key.pem"), app_key()).unwrap();
    let config = format!(
        "git:\n- name: prod\n  url: {}\n  branch: main\n  api: {}/api/v3\n  forge: github\n  credentials: {{githubApp: {{appId: \
         123, keyFile: key.pem}}}}\n",
        server.url("o/r"),
        github.url
    );
    std::fs::write(folder.path().join("config.yaml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
    command.args(["run", "--git", "prod", "--once", "--config", "config.yaml", "--git-cache", "cache"]);
    command.args(["--state", "state"]).current_dir(folder.path());
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && !said.contains(TOKEN), "{said}");
    assert_eq!(repo.read("web.yaml"), manifest.replace("1.0.0", "1.1.0").as_bytes());
    // One token for the whole round, for this repository only.
    let asked = github.came();
    assert_eq!(asked.iter().filter(|came| came.method == "POST").count(), 1);
    let wanted = &asked.iter().find(|came| came.method == "POST").unwrap().body;
    assert_eq!(wanted["repositories"], json!(["r"]));
    assert_eq!(wanted["permissions"]["contents"], "write");
}
