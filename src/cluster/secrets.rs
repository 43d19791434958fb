//! Pull secrets, by name and one at a time: supercargo never lists Secrets.
//!
//! What was read is kept for ten minutes, within bounds; many who ask for the same one at once cause one request, and
//! requests take [`Turns`].

use std::{collections::HashMap, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use futures::{FutureExt, future::BoxFuture};
use http::Request;
use kube::Client;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{
    failure, in_time,
    turns::{MOST, Turns},
};
use crate::{
    domain::text::excerpt,
    net::Kept,
    ports::{Clock, SecretError, Secrets},
};

/// Reads pull secrets; see [`Secrets`].
pub struct PullSecrets {
    client: Client,
    clock: Arc<dyn Clock>,
    /// By namespace and name.
    known: Kept<(String, String), Read>,
    turns: Turns,
}

impl std::fmt::Debug for PullSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PullSecrets")
    }
}

type SecretAnswer = Result<Option<SecretString>, SecretError>;

#[derive(Clone)]
struct Read {
    answer: SecretAnswer,
    at: Duration,
}

/// How long an answer is kept.
const KEEP: Duration = Duration::from_secs(600);
/// How long an error is kept: somebody may be fixing it.
const KEEP_ERROR: Duration = Duration::from_secs(10);
/// How much is kept, and what each costs beside its text.
const MAX_KEPT: usize = 8 * 1024 * 1024;
const OVERHEAD: usize = 256;
/// The longest document (a docker configuration is a few hundred bytes).
const MAX_TEXT: usize = 64 * 1024;

impl PullSecrets {
    /// Makes no request yet.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self { client, known: Kept::new(MAX_KEPT, weight), turns: Turns::new(clock.clone()), clock }
    }

    async fn read(&self, namespace: &str, name: &str) -> SecretAnswer {
        // Names come from workloads; the API server checks them there, but a path is made of them here.
        let plain =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        if !plain(namespace) || !plain(name) || name.starts_with('.') {
            return Err(SecretError(format!("`{}` is no name of a Secret", excerpt(name))));
        }
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
        if !self.turns.take(namespace).await {
            let waiting = format!("{MOST} reads of Secrets of that namespace are waiting already");
            return Err(SecretError(format!(
                "the Secret {namespace}/{name} was not read: {waiting}; it is tried again"
            )));
        }
        let request = Request::get(path).body(Vec::new()).map_err(|e| SecretError(e.to_string()))?;
        match in_time(&self.clock, self.client.request::<Secret>(request)).await {
            Some(Ok(secret)) => secret.docker_config(namespace, name).map(Some),
            Some(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
            Some(Err(kube::Error::Api(status))) if status.code == 403 => {
                Err(SecretError(grant(namespace, name, &status.message)))
            }
            // What a decoding error quotes could be the secret.
            Some(Err(kube::Error::SerdeError(_))) => {
                Err(SecretError(format!("the Secret {namespace}/{name} could not be decoded")))
            }
            Some(Err(error)) => {
                Err(SecretError(format!("the Secret {namespace}/{name} could not be read: {}", failure(&error))))
            }
            None => Err(SecretError(format!(
                "the Secret {namespace}/{name} could not be read: the API server did not answer in time"
            ))),
        }
    }
}

impl Secrets for PullSecrets {
    fn docker_config<'a>(&'a self, namespace: &'a str, name: &'a str, fresh: bool) -> BoxFuture<'a, SecretAnswer> {
        async move {
            let asked = self.clock.monotonic();
            let read = async {
                let answer = self.read(namespace, name).await;
                Read { answer, at: self.clock.monotonic() }
            };
            let is_over = |read: &Read| {
                let keep = if read.answer.is_ok() { KEEP } else { KEEP_ERROR };
                // Read since it was asked for, by another who waited with us: fresh enough.
                read.at + keep <= self.clock.monotonic() || (fresh && read.at < asked)
            };
            let key = (namespace.to_owned(), name.to_owned());
            self.known.get_or(namespace, key, read, is_over).await.answer
        }
        .boxed()
    }
}

fn weight((namespace, name): &(String, String), read: &Read) -> usize {
    let text = match &read.answer {
        Ok(text) => text.as_ref().map_or(0, |text| text.expose_secret().len()),
        Err(SecretError(message)) => message.len(),
    };
    OVERHEAD + namespace.len() + name.len() + text
}

/// No `Debug`: it holds the secret.
#[derive(Deserialize)]
struct Secret {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    data: HashMap<String, String>,
}

impl Secret {
    fn docker_config(mut self, namespace: &str, name: &str) -> Result<SecretString, SecretError> {
        let bad = |what: &str| SecretError(format!("the Secret {namespace}/{name} {what}"));
        let (key, old) = match self.kind.as_str() {
            "kubernetes.io/dockerconfigjson" => (".dockerconfigjson", false),
            "kubernetes.io/dockercfg" => (".dockercfg", true),
            other => {
                return Err(bad(&format!(
                    "is of type `{}` and no pull secret: make it with `kubectl create secret docker-registry`",
                    excerpt(other)
                )));
            }
        };
        let data = self.data.remove(key).ok_or_else(|| bad(&format!("has no key {key}")))?;
        let text = BASE64_STANDARD.decode(data).ok();
        if text.as_ref().is_some_and(|text| text.len() > MAX_TEXT) {
            return Err(bad(&format!("is larger than {} KiB", MAX_TEXT / 1024)));
        }
        let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or_else(|| bad("does not hold text"))?;
        Ok(if old { format!("{{\"auths\":{text}}}") } else { text }.into())
    }
}

/// What to do about a missing right: the exact command, for this one Secret and no other. It needs nothing that is not
/// in the cluster yet. The 403's words name our ServiceAccount.
fn grant(namespace: &str, name: &str, forbidden: &str) -> String {
    let account = forbidden
        .split_once("system:serviceaccount:")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(account, _)| account)
        .filter(|account| account.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b)))
        .unwrap_or("supercargo:supercargo");
    let role = format!("supercargo-pull-secret-{name}");
    format!(
        "supercargo has no right to read the Secret {namespace}/{name}; grant it with: kubectl -n {namespace} create \
         role {role} --verb=get --resource=secrets --resource-name={name} && kubectl -n {namespace} create \
         rolebinding {role} --role={role} --serviceaccount={account} (for all Secrets: deploy/components/pull-secrets)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(kind: &str, key: &str, value: &str) -> Result<String, SecretError> {
        let data = HashMap::from([(key.to_owned(), BASE64_STANDARD.encode(value))]);
        let secret = Secret { kind: kind.to_owned(), data };
        secret.docker_config("shop", "pull").map(|text| text.expose_secret().to_owned())
    }

    #[test]
    fn both_forms_of_pull_secrets_become_one() {
        let new = secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson", r#"{"auths":{"a":{}}}"#);
        let old = secret("kubernetes.io/dockercfg", ".dockercfg", r#"{"a":{}}"#);
        assert_eq!(new.unwrap(), old.unwrap());
    }

    #[test]
    fn what_is_no_pull_secret_is_named_without_its_content() {
        let error = secret("Opaque", "password", "hunter2").unwrap_err().0;
        assert!(error.contains("shop/pull") && error.contains("Opaque") && !error.contains("hunter2"), "{error}");
        let error = secret("kubernetes.io/dockercfg", "password", "hunter2").unwrap_err().0;
        assert!(error.contains(".dockercfg") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_document_of_64_kib_is_read_and_no_larger_one() {
        let of = |length: usize| secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson", &"x".repeat(length));
        assert!(of(64 << 10).is_ok());
        assert!(of((64 << 10) + 1).unwrap_err().0.contains("shop/pull is larger than 64 KiB"));
    }

    #[test]
    fn a_missing_right_is_answered_with_the_command_that_grants_it() {
        let command =
            "kubectl -n shop create rolebinding supercargo-pull-secret-pull --role=supercargo-pull-secret-pull";
        let words = grant("shop", "pull", r#"User "system:serviceaccount:ops:robot" cannot get resource "secrets""#);
        assert!(words.contains(&format!("{command} --serviceaccount=ops:robot ")), "{words}");
        let words = grant("shop", "pull", r#"User "alice" cannot get resource "secrets""#);
        assert!(words.contains(&format!("{command} --serviceaccount=supercargo:supercargo ")), "{words}");
    }
}
