//! `write: pr:<target>` at GitHub and GitLab: their documented APIs, a real Git server, and the whole program.

use super::{
    alone::{deployment, once},
    target::text,
};
use crate::{
    forges::{Hub, Lab, Site, TOKEN, serve},
    support::{git_server::GitServer, registry::Registry},
};

const BRANCH: &str = "supercargo/prod/updates";

#[tokio::test(flavor = "multi_thread")]
async fn github_has_one_request_updated_in_place_and_heard_when_it_is_merged_or_closed() {
    one_request_updated_in_place_and_heard_when_it_is_merged_or_closed::<Hub>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gitlab_has_one_request_updated_in_place_and_heard_when_it_is_merged_or_closed() {
    one_request_updated_in_place_and_heard_when_it_is_merged_or_closed::<Lab>().await;
}

async fn one_request_updated_in_place_and_heard_when_it_is_merged_or_closed<S: Site>() {
    let (registry, folder) = (Registry::start().await, tempfile::tempdir().unwrap());
    let ((site, api), server) = (serve(S::default()).await, GitServer::start().await);
    let web = deployment("web", &format!("{}/team/web:1.0.0", registry.host))
        .replace("policy: minor", "policy: minor, supercargo.dev/write: 'pr:prod'");
    let main = server.create(S::REPOSITORY, &[("web.yaml", web.as_bytes())]);
    let config = format!(
        "git:\n- name: prod\n  url: {}\n  branch: main\n  namespaces: ['*']\n  forge: {}\n  api: {}{}\n  pullRequest: \
         {{tokenFile: token}}\n",
        server.url(S::REPOSITORY),
        S::KIND,
        api.url,
        S::API
    );
    let folder = folder.path();
    std::fs::write(folder.join("config.yaml"), config).unwrap();
    std::fs::write(folder.join("token"), TOKEN).unwrap();
    let round = async |tag: &str| {
        registry.push_tags("team/web", [tag]).await;
        let (code, table, said) = once(folder, "prod", &["--config", "config.yaml"]);
        assert!(!format!("{table}{said}").contains(TOKEN), "{table}{said}");
        (code, format!("{table}{said}"))
    };
    // Title and state of each.
    let requests = || {
        let shown =
            |r: &serde_json::Value| format!("{} {}", r["state"].as_str().unwrap(), r["title"].as_str().unwrap());
        site.lock().unwrap().requests().iter().map(shown).collect::<Vec<_>>()
    };
    let at = |tag: &str| web.replace("1.0.0", tag);

    let (code, said) = round("1.1.0").await;
    assert!(code == 0 && said.contains("  update    1.1.0  request http"), "{code} {said}");
    let (open, branch) = (requests(), main.branch(BRANCH));
    assert!(open.len() == 1 && open[0].starts_with("open") && open[0].contains("1.1.0"), "{open:?}");
    assert_eq!((text(&main, "web.yaml"), text(&branch, "web.yaml")), (web.clone(), at("1.1.0")));

    let (code, said) = round("1.2.0").await;
    assert_eq!(code, 0, "{said}");
    let updated = requests();
    assert!(updated.len() == 1 && updated[0].contains("1.2.0"), "{updated:?}");
    assert_eq!((text(&main, "web.yaml"), text(&branch, "web.yaml")), (web.clone(), at("1.2.0")));
    assert_eq!(branch.log().len(), 2);

    main.git(&["update-ref", "refs/heads/main", BRANCH]);
    site.lock().unwrap().merge(1);
    let (code, said) = round("1.2.0").await;
    assert!(code == 0 && requests().len() == 1, "{code} {said}");
    assert_eq!(text(&main, "web.yaml"), at("1.2.0"));

    let (code, said) = round("1.3.0").await;
    assert!(code == 0 && requests().len() == 2, "{code} {said}");
    site.lock().unwrap().close(2);
    let (code, said) = round("1.3.0").await;
    assert!(code == 0 && said.contains("was closed unmerged") && requests().len() == 2, "{code} {said}");
    let (code, said) = round("1.4.0").await;
    assert!(code == 0 && requests().len() == 3, "{code} {said}");
    assert_eq!((text(&main, "web.yaml"), text(&branch, "web.yaml")), (at("1.2.0"), at("1.4.0")));
}
