//! `supercargo hooks test`: a webhook as its sender would send it, and what the operator makes of it.

use std::{fmt, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::anyhow;
use http::StatusCode;
use reqwest::{Client, RequestBuilder, Response, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use super::{
    output::{print, refuse},
    survey::block_on,
};
use crate::{
    app::read_files,
    config::{FileArgs, hook_variable, read_text},
    domain::{image::ImageRef, text::escape},
    ingest::webhook::{
        SENDERS, Sample, Sender,
        auth::{Proof, secrets},
        unknown,
    },
    net::cause,
};

/// Work with webhooks
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Test(Args),
}

/// Send a webhook as its sender would, with the secret, and say what came back and what to do
///
/// The secret is that of the environment (SUPERCARGO_HOOK_SECRET_<SENDER>), else of the first file that --config names.
/// The operator looks at the repository of --image, if a workload uses it, and changes nothing that it would not change
/// anyway. Ends with 1 if the webhook is not accepted.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Whose webhook
    #[arg(value_parser = sender)]
    sender: &'static Sender,
    /// Where the operator hears webhooks, as the sender reaches it; /hooks/SENDER is added if it is not there
    #[arg(long, value_name = "URL", value_parser = address)]
    url: Url,
    /// The image whose push is told; without it one that nobody uses
    #[arg(long)]
    image: Option<ImageRef>,
    /// The configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Told of where nothing else is asked for: the first that the sender can name.
const NOBODYS: [&str; 2] =
    ["registry.example.com/supercargo/hooks-test:1.0.0", "docker.io/supercargo/hooks-test:1.0.0"];
/// How long the operator may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is read of an answer.
const MAX_ANSWER: usize = 16 * 1024;

fn sender(name: &str) -> Result<&'static Sender, String> {
    Sender::find(name).ok_or_else(|| unknown(name))
}

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or("it begins with http:// or https://, as in https://hooks.example.com")?;
    if url.query().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err("leave out secrets and the query: the secret is added where the sender shows it".to_owned());
    }
    Ok(url)
}

impl Command {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self::Test(args) = self;
        args.run()
    }
}

impl Args {
    fn run(self) -> anyhow::Result<ExitCode> {
        let name = self.sender.name;
        let (image, sample) = match self.sample() {
            Ok(sampled) => sampled,
            Err(named) => return Ok(refuse(format!("--image: {name} can only tell of {named}"))),
        };
        let Some((secret, source)) = self.secret()? else {
            let variable = hook_variable(name);
            return Ok(refuse(format!(
                "there is no secret of `{name}`: set {variable} as the operator has it, or name its files in `hooks` of \
                 --config; where the operator hears it without one, any text will do"
            )));
        };
        let url = match self.address() {
            Ok(url) => url,
            Err(other) => return Ok(refuse(format!("--url: it leads to the sender `{other}`: write /hooks/{name}"))),
        };
        print(&format!("POST {url}: a push of {image}, with the secret of {source}\n"))?;
        let (status, said) = block_on(send(self.sender, url, &secret, &sample))?;
        let text = |key: &str| said.get(key).and_then(Value::as_str);
        print(&format!("{status} {}\n", escape(text("outcome").or(text("error")).unwrap_or_default())))?;
        match (status, text("outcome")) {
            (StatusCode::ACCEPTED, Some(outcome)) => {
                print(&format!("{name} is heard: {}\n", accepted(outcome, &image)))?;
                Ok(ExitCode::SUCCESS)
            }
            _ => Err(anyhow!(refused(status, text("error").is_some(), name, &source))),
        }
    }

    /// The image, and what the sender would send of it; else what it can name.
    fn sample(&self) -> Result<(ImageRef, Sample), &'static str> {
        if let Some(image) = &self.image {
            return (self.sender.sample)(image).map(|sample| (image.clone(), sample));
        }
        let images = NOBODYS.iter().filter_map(|image| ImageRef::parse(image).ok());
        let mut sampled = images.filter_map(|image| Some((image.clone(), (self.sender.sample)(&image).ok()?)));
        sampled.next().ok_or("what --image must name")
    }

    /// The first secret, and where it stands.
    fn secret(&self) -> anyhow::Result<Option<(SecretString, SecretPlace)>> {
        let config = read_files(&FileArgs { config: self.config.clone(), policies: None })?;
        let Some(hook) = config.hooks.get(self.sender.name) else { return Ok(None) };
        let (text, place) = match (&hook.given, hook.secret_files.first()) {
            (Some(given), _) => (given.clone(), SecretPlace::Variable(hook_variable(self.sender.name))),
            (None, Some(file)) => {
                (read_text(file).map_err(anyhow::Error::msg)?.into(), SecretPlace::File(file.display().to_string()))
            }
            (None, None) => return Ok(None),
        };
        let secrets = secrets(text.expose_secret()).map_err(|why| anyhow!("{place}: {why}"))?;
        Ok(secrets.into_iter().next().map(|secret| (secret, place)))
    }

    /// With the sender's path, where it has none; else the sender that it leads to instead.
    fn address(&self) -> Result<Url, &'static str> {
        let (mut url, own) = (self.url.clone(), format!("/hooks/{}", self.sender.name));
        let path = url.path().trim_end_matches('/').to_owned();
        let leads_to = |sender: &&Sender| path.ends_with(&format!("/hooks/{}", sender.name));
        match SENDERS.iter().find(leads_to) {
            Some(found) if found.name != self.sender.name => return Err(found.name),
            Some(_) => url.set_path(&path),
            None => url.set_path(&format!("{}{own}", path.strip_suffix("/hooks").unwrap_or(&path))),
        }
        Ok(url)
    }
}

/// Where a secret stands.
enum SecretPlace {
    Variable(String),
    File(String),
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Variable(place) | Self::File(place)) = self;
        f.write_str(place)
    }
}

/// Sends it as the first of the sender's proofs has it; the answer is null where it is no JSON.
async fn send(
    sender: &Sender,
    url: Url,
    secret: &SecretString,
    sample: &Sample,
) -> anyhow::Result<(StatusCode, Value)> {
    // Senders need not follow where a redirect leads, and a secret must not. Unlike the clients of `net`, it goes through
    // the proxy that the environment of who runs it names: from there the operator may be reached by that alone.
    let is_tls = url.scheme() == "https";
    let client = Client::builder().redirect(redirect::Policy::none()).timeout(PATIENCE).build()?;
    let mut request = prove(&client, sender.proofs.first(), url, secret, &sample.body);
    for (name, value) in sample.headers {
        request = request.header(*name, *value);
    }
    let request = request.header("content-type", "application/json").body(sample.body.clone());
    let explain = |error: reqwest::Error| no_answer(error, is_tls);
    let response = request.send().await.map_err(explain)?;
    let status = response.status();
    let body = read(response).await.map_err(explain)?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

/// Why nothing came back, and what to do. The URL may hold the secret.
fn no_answer(error: reqwest::Error, is_tls: bool) -> anyhow::Error {
    let why = cause(&error.without_url());
    let advice = match &*why {
        why if is_tls && why.contains("InvalidContentType") => ": it speaks no TLS there, so write http://",
        why if !is_tls && why.contains("invalid HTTP version") => ": it may speak TLS there, so write https://",
        why if why.contains("UnknownIssuer") => {
            ": this machine does not know who signed its certificate; SSL_CERT_FILE names a file of authorities"
        }
        why if why.contains("refused") => {
            ": does the operator run, and is that its port for webhooks (8080, the Service supercargo-hooks)?"
        }
        _ => "",
    };
    anyhow!("no answer: {why}{advice}")
}

fn prove(client: &Client, proof: Option<&Proof>, mut url: Url, secret: &SecretString, body: &str) -> RequestBuilder {
    let shown = secret.expose_secret();
    match proof {
        Some(Proof::Query) => {
            url.query_pairs_mut().append_pair("token", shown);
            client.post(url)
        }
        Some(Proof::Hmac { header, prefix, hash }) => {
            client.post(url).header(*header, format!("{prefix}{}", hash.hmac(secret, [body.as_bytes()])))
        }
        Some(Proof::Header) | None => client.post(url).bearer_auth(shown),
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_ANSWER {
            break;
        }
    }
    Ok(bytes)
}

/// What an accepted webhook brings.
fn accepted(outcome: &str, image: &ImageRef) -> String {
    let repository = &image.repository;
    match outcome {
        "queued" => format!("supercargo looks at {repository} now"),
        "unwatched" => format!(
            "no workload that it watches uses {repository}. Name an image of one with --image; if that is unwatched too, \
             compare its host with what the workload writes"
        ),
        _ => "but it was not taken for a push of an image that a workload can name (`hosts` of the configuration?)"
            .to_owned(),
    }
}

/// What to check.
fn refused(status: StatusCode, is_ours: bool, sender: &str, source: &SecretPlace) -> String {
    match status {
        StatusCode::UNAUTHORIZED if is_ours => {
            let other = format!("the operator has another secret for `{sender}`: compare");
            match source {
                SecretPlace::Variable(name) => format!(
                    "{other} {name} with the key `{sender}` of the Secret supercargo-hooks, which the operator reads at its \
                     start only (kubectl -n supercargo rollout restart deployment/supercargo)"
                ),
                SecretPlace::File(file) => format!(
                    "{other} {file} with the file of `secretFiles` that the operator reads, within 10 s of a change"
                ),
            }
        }
        StatusCode::NOT_FOUND if is_ours => format!("the operator does not hear `{sender}`: do what it says"),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE if is_ours => {
            "try again in a moment".to_owned()
        }
        StatusCode::BAD_REQUEST if is_ours => "is the operator of the same version?".to_owned(),
        status if status.is_redirection() => {
            "senders need not follow where it leads: give them, and --url, the address at the end".to_owned()
        }
        _ => "that is no answer of supercargo: the URL must lead to its port for webhooks (8080, the Service \
              supercargo-hooks), by the path /hooks/ unchanged"
            .to_owned(),
    }
}
