//! Tells deployers of a push, so that they need not wait until they look by themselves. Nothing waits for it and
//! nothing fails with it.

use std::{error::Error, fs, path::PathBuf, sync::Arc, time::Duration};

use futures::future::join_all;
use globset::GlobSet;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sha2::Sha256;
use url::Url;

use super::settings::Secret;
use crate::{
    domain::image::excerpt,
    net::{self, Timeouts, Way, cause},
    ports::{Clock, Refresh},
};

/// How long a deployer may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// A deployer that is told of each push.
#[derive(Debug, Clone)]
pub enum Deployer {
    /// Flux's Receiver: of the type `generic-hmac` with a secret, else `generic`.
    FluxReceiver(Receiver),
    /// Argo CD's webhook, which hears what GitHub would say.
    ArgocdWebhook(Receiver),
    /// The refresh annotation of Argo CD's Applications.
    ArgocdRefresh {
        /// Where they are.
        namespace: String,
        /// Their names.
        applications: GlobSet,
        /// Who sets it.
        by: Arc<dyn Refresh>,
    },
}

/// Who receives a request.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Where it is.
    pub address: Address,
    /// What the request is signed with.
    pub secret: Option<Secret>,
    /// Certificates (PEM) that are trusted for it.
    pub ca: Option<PathBuf>,
}

/// The URL of a receiver.
#[derive(Debug, Clone)]
pub enum Address {
    /// As the configuration has it.
    Url(String),
    /// A secret: the file that holds it, read again whenever it is used.
    File(PathBuf),
}

/// What was pushed, and where.
pub(super) struct Push<'a> {
    /// The repository, as its target has it.
    pub(super) url: &'a str,
    pub(super) branch: &'a str,
    /// The branch's commit until then.
    pub(super) before: String,
    /// The new commits, oldest first, each with the files that it changes.
    pub(super) commits: Vec<(String, Vec<Arc<str>>)>,
}

impl Deployer {
    fn kind(&self) -> &'static str {
        match self {
            Self::FluxReceiver(_) => "fluxReceiver",
            Self::ArgocdWebhook(_) => "argocdWebhook",
            Self::ArgocdRefresh { .. } => "argocdRefresh",
        }
    }

    async fn send(&self, body: &Value) -> Result<(), String> {
        match self {
            Self::FluxReceiver(receiver) => receiver.post(body, "X-Signature", &[]).await,
            Self::ArgocdWebhook(receiver) => {
                receiver.post(body, "X-Hub-Signature-256", &[("X-GitHub-Event", "push")]).await
            }
            Self::ArgocdRefresh { namespace, applications, by } => {
                match by.refresh(namespace, &|name| applications.is_match(name)).await {
                    Ok(0) => Err(format!("the namespace {namespace} has no Application of these names")),
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.to_string()),
                }
            }
        }
    }
}

/// Tells all deployers of a target, beside what goes on.
pub(super) fn tell(deployers: &[Deployer], target: &Arc<str>, clock: &Arc<dyn Clock>, push: &Push<'_>) {
    if deployers.is_empty() {
        return;
    }
    let (deployers, target, clock, body) = (deployers.to_vec(), target.clone(), clock.clone(), body(push));
    tokio::spawn(async move {
        let each = deployers.iter().map(async |deployer| {
            let told = tokio::select! {
                told = deployer.send(&body) => told,
                () = clock.sleep_until(clock.monotonic() + LIMIT) => Err("no answer in time".to_owned()),
            };
            if let Err(why) = told {
                let note = "a deployer was not told of the push; it will find it when it looks by itself";
                tracing::warn!(target_name = %target, deployer = deployer.kind(), why, "{note}");
            }
        });
        join_all(each).await;
    });
}

/// GitHub's push event, as much of it as Argo CD reads.
fn body(push: &Push<'_>) -> Value {
    let commit = |(id, paths): &(String, Vec<Arc<str>>)| json!({"id": id, "added": [], "removed": [], "modified": paths.iter().map(|path| &**path).collect::<Vec<_>>()});
    json!({
        "ref": format!("refs/heads/{}", push.branch),
        "before": push.before,
        "after": push.commits.last().map(|(id, _)| id),
        // Applications that follow HEAD are only refreshed for the default branch; once too often does no harm.
        "repository": {"html_url": page(push.url), "default_branch": push.branch},
        "commits": push.commits.iter().map(commit).collect::<Vec<_>>(),
    })
}

/// The repository's web page, by whose host and path Argo CD knows the repository.
fn page(url: &str) -> Option<String> {
    let url = match (url.contains("://"), url.split_once(':')) {
        (false, Some((host, path))) => format!("ssh://{host}/{}", path.trim_start_matches('/')),
        _ => url.to_owned(),
    };
    let url = Url::parse(&url).ok()?;
    let scheme = if url.scheme() == "http" { "http" } else { "https" };
    let path = url.path().trim_end_matches('/').trim_end_matches(".git");
    Some(format!("{scheme}://{}{path}", url.host_str()?))
}

impl Receiver {
    async fn post(&self, body: &Value, signature: &str, headers: &[(&str, &str)]) -> Result<(), String> {
        let url = match &self.address {
            Address::Url(url) => url.clone(),
            Address::File(file) => Secret::File(file.clone()).read()?.expose_secret().to_owned(),
        };
        let url = Url::parse(&url).map_err(|error| format!("its URL cannot be read: {error}"))?;
        let body = body.to_string();
        let mut way = Way::new(url);
        let mut request = self.client()?.post(way.url().clone()).header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(secret) = &self.secret {
            let secret = secret.read().map_err(|why| format!("its secret cannot be read: {why}"))?;
            request = request.header(signature, sign(secret.expose_secret(), &body)?);
        }
        // Never the whole error: the URL may be a secret.
        let mut answer = request.body(body).send().await.map_err(|error| root_cause(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        // Of the URL only the origin may be told, as the rest may be a secret.
        if status.is_redirection()
            && way.follow(answer.headers())
            && let Some(elsewhere) = way.left()
        {
            return Err(format!("it answered {status}: {elsewhere}: correct its address"));
        }
        let words = answer.chunk().await.ok().flatten().unwrap_or_default();
        Err(format!("it answered {status}: {}", excerpt(String::from_utf8_lossy(&words).trim())))
    }

    fn client(&self) -> Result<reqwest::Client, String> {
        let pem = |ca: &PathBuf| fs::read(ca).map_err(|error| format!("ca: {}: {error}", ca.display()));
        let pem = self.ca.as_ref().map(pem).transpose()?;
        net::client(pem.as_deref(), None, Timeouts::default()).map_err(|error| error.to_string())
    }
}

/// `sha256=<hex>` of a body, as GitHub and Flux have it.
fn sign(secret: &str, body: &str) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|error| error.to_string())?;
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sha256={hex}"))
}

fn root_cause(error: &reqwest::Error) -> String {
    // Its own text would name the URL, which may be a secret.
    if error.source().is_some() { cause(error) } else { "the request failed".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_signed_as_rfc_4231_and_githubs_documentation_have_it() {
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(sign("It's a Secret to Everybody", "Hello, World!").unwrap(), signature);
        let signature = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(sign("Jefe", "what do ya want for nothing?").unwrap(), signature);
    }

    #[rstest::rstest]
    #[case("https://git.example.com/team/deploy.git", Some("https://git.example.com/team/deploy"))]
    #[case("https://git.example.com:8443/team/deploy", Some("https://git.example.com/team/deploy"))]
    #[case("http://127.0.0.1:3000/a.git/", Some("http://127.0.0.1/a"))]
    #[case("ssh://git@git.example.com:2222/team/deploy.git", Some("https://git.example.com/team/deploy"))]
    #[case("git@git.example.com:team/deploy.git", Some("https://git.example.com/team/deploy"))]
    #[case("file:///srv/a.git", None)]
    #[case("/srv/a.git", None)]
    fn the_page_of_a_repository_is_found(#[case] url: &str, #[case] expected: Option<&str>) {
        assert_eq!(page(url).as_deref(), expected);
    }

    #[rstest::rstest]
    #[tokio::test]
    async fn what_is_for_a_deployer_is_sent_to_no_other(#[values(301, 302, 303, 307, 308)] status: u16) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let bind = || tokio::net::TcpListener::bind("127.0.0.1:0");
        let (deployer, thief) = (bind().await.unwrap(), bind().await.unwrap());
        let [from, to] = [&deployer, &thief].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
        let answer = format!("HTTP/1.1 {status} Moved\r\nLocation: {to}/take\r\nContent-Length: 0\r\n\r\n");
        tokio::spawn(async move {
            let (mut stream, _) = deployer.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let secret = Some(Secret::Value("geheim".to_owned().into()));
        let receiver = Receiver { address: Address::Url(format!("{from}/hook/of-us")), secret, ca: None };
        let words = receiver.post(&json!({}), "X-Signature", &[]).await.unwrap_err();
        assert!(words.contains(&from) && words.contains(&to) && !words.contains("of-us"), "{words}");
        assert!(futures::FutureExt::now_or_never(thief.accept()).is_none());
    }
}
