//! Finds out whether nobody can vote for another: by a request that the API server must refuse, and that would change
//! nothing if it did not.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use http::{Request, header};
use jiff::{Timestamp, fmt::rfc2822};
use kube::{Client, api::DeleteParams, client::Body};
use serde_json::{Value, json};

use super::{
    in_time,
    records::object::{Custom, GROUP, VERSION},
    reviews::ImageUpdateReview,
};
use crate::{
    domain::votes::Review,
    net::{cause, foreign},
    ports::{Clock, Proof, Votes},
};

/// What the policy says of a vote in another's name (deploy/approvals).
const OWN_NAME: &str = "a review is made in one's own name";
/// In whose name the vote is that must be refused. No user has such a name.
const NOBODY: &str = "supercargo:nobody";

/// The votes of a cluster.
#[derive(Clone)]
pub struct Ballots {
    client: Client,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Ballots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ballots")
    }
}

impl Ballots {
    /// Makes no request yet.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self { client, clock }
    }

    async fn ask(&self, namespace: &str) -> Result<ApiAnswer, String> {
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": ImageUpdateReview::KIND,
            "metadata": {"name": "supercargo-proof", "namespace": namespace},
            "spec": {
                "verb": "approve",
                "update": {"name": "supercargo-proof", "uid": "supercargo-proof"},
                "target": "0".repeat(64),
                "approver": NOBODY,
            },
        });
        let url = format!("{}?dryRun=All&fieldManager=supercargo", path(namespace));
        let request = Request::post(url).header(header::CONTENT_TYPE, "application/json");
        let request = request.body(Body::from(body.to_string().into_bytes())).map_err(|error| error.to_string())?;
        let answered = async {
            let response = self.client.send(request).await?;
            let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok()).and_then(date);
            let status = response.status().as_u16();
            let body = response.into_body().collect_bytes().await?;
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let message = body["message"].as_str().map(foreign).unwrap_or_default();
            Ok(ApiAnswer { status, date, message })
        };
        match in_time(&self.clock, answered).await {
            Some(answer) => {
                answer.map_err(|error: kube::Error| format!("the API server did not answer: {}", cause(&error)))
            }
            None => Err("the API server did not answer in time".to_owned()),
        }
    }
}

/// Where the votes of a namespace are.
fn path(namespace: &str) -> String {
    format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{}", ImageUpdateReview::PLURAL)
}

/// RFC 9110, section 5.6.7.
fn date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// What the API server said.
#[derive(Debug)]
struct ApiAnswer {
    status: u16,
    date: Option<Timestamp>,
    message: String,
}

impl ApiAnswer {
    fn proof(self, now: Timestamp) -> Proof {
        let Self { status, date, message } = self;
        let unguarded = |why: &str| {
            Proof::Unguarded(format!(
                "nothing is approved, as it is not sure who votes: {why}; an administrator applies deploy/approvals"
            ))
        };
        match status {
            403 if message.contains(OWN_NAME) => Proof::Guarded(date.unwrap_or(now)),
            403 if message.contains(" cannot create ") => unguarded(&format!("there is no right to try it: {message}")),
            404 => unguarded("the cluster does not have the kind imageupdatereviews"),
            200..300 => unguarded("the API server would take a vote in another's name"),
            429 | 500.. => Proof::Unknown(format!("{message} ({status})")),
            _ => {
                unguarded(&format!("a vote in another's name is refused, but not by the policy: {message} ({status})"))
            }
        }
    }
}

impl Votes for Ballots {
    fn prove<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Proof> {
        async move {
            match self.ask(namespace).await {
                Ok(answer) => answer.proof(self.clock.now()),
                Err(why) => Proof::Unknown(why),
            }
        }
        .boxed()
    }

    fn discard<'a>(&'a self, review: &'a Review) -> BoxFuture<'a, ()> {
        async move {
            let request =
                kube::core::Request::new(path(&review.namespace)).delete(&review.name, &DeleteParams::default());
            if let Ok(request) = request {
                // It is told again by the watch, and tried again then.
                _ = in_time(&self.clock, self.client.request_text(request)).await;
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(403, "ValidatingAdmissionPolicy 'x' denied request: a review is made in one's own name: …", true)]
    #[case(403, "quota exceeded", false)]
    #[case(403, "User \"x\" cannot create resource \"imageupdatereviews\"", false)]
    #[case(422, "a review is made in one's own name", false)]
    #[case(201, "", false)]
    #[case(404, "the server could not find the requested resource", false)]
    fn only_the_policys_own_words_prove_it(#[case] status: u16, #[case] message: &str, #[case] guarded: bool) {
        let date = date("Sun, 29 Nov 2026 23:30:28 GMT");
        let proof = ApiAnswer { status, date, message: message.to_owned() }.proof(Timestamp::UNIX_EPOCH);
        match guarded {
            true => assert_eq!(proof, Proof::Guarded("2026-11-29T23:30:28Z".parse().unwrap())),
            false => assert!(matches!(&proof, Proof::Unguarded(why) if why.contains("deploy/approvals")), "{proof:?}"),
        }
    }

    #[rstest::rstest]
    #[case(429)]
    #[case(500)]
    #[case(503)]
    fn no_answer_proves_nothing(#[case] status: u16) {
        let answer = ApiAnswer { status, date: None, message: "later".to_owned() };
        assert!(matches!(answer.proof(Timestamp::UNIX_EPOCH), Proof::Unknown(_)));
    }
}
