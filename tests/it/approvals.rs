//! Approvals on a real API server, with `deploy/approvals` as a person applies it.

use http::Method;
use kube::Client;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{
    deploy::shell,
    support::{
        control_plane::{ADMIN, ControlPlane, Namespace, Parts, request},
        eventually,
        records::{review, update},
    },
};

mod commands;
pub(crate) mod flow;
mod gaps;
mod kills;
mod limits;
mod page;
mod policies;

pub(crate) use policies::allow;

/// By these words the operator knows that the policy is in force.
pub(crate) const IN_ONES_OWN_NAME: &str = "a review is made in one's own name";
const RECORDS: &str = "supercargo alone writes its records";

/// A control plane for approvals alone, as its policies would hit the records of other tests: also the administrator writes
/// none here. See [`operator`].
pub(crate) async fn plane() -> &'static ControlPlane {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    PLANE.get_or_init(|| guarded(Parts::All)).await
}

/// One of the calling test's own.
pub(crate) async fn guarded(parts: Parts) -> ControlPlane {
    let plane = ControlPlane::start(parts).await;
    for path in ["base", "approvals"] {
        shell(&plane, &format!("kubectl apply -k deploy/{path}"));
    }
    in_force(&plane, "default").await;
    plane
}

/// Waits until both policies hold in a namespace.
pub(crate) async fn in_force(plane: &ControlPlane, namespace: &str) {
    let namespace = Namespace { plane, name: namespace.to_owned() };
    let admin = plane.client(ADMIN).await;
    for (plural, object, words) in [
        ("imageupdatereviews", review("probe", "web", "nobody"), IN_ONES_OWN_NAME),
        ("imageupdates", update("probe", "web"), RECORDS),
    ] {
        eventually(&format!("{plural} are guarded"), async || {
            let refused = dry_run(&namespace, &admin, plural, &object).await.err()?;
            refused.message.contains(words).then_some(())
        })
        .await;
    }
}

/// The operator's ServiceAccount as a client, with the rights that `deploy/` gives it.
pub(crate) async fn operator(plane: &ControlPlane) -> Client {
    let home = Namespace { plane, name: "supercargo".to_owned() };
    plane.client_with_token(&home.token("supercargo").await).await
}

/// What the API server says of a request that it does not take.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// Any request within a namespace: `rest` is what follows after the plural.
pub(crate) async fn ask(
    namespace: &Namespace<'_>,
    client: &Client,
    method: Method,
    plural: &str,
    rest: &str,
    body: Option<&Value>,
) -> Result<Value, Refused> {
    let path = format!("/apis/supercargo.dev/v1alpha1/namespaces/{}/{plural}{rest}", namespace.name);
    request(client, method, &path, body).await.map_err(|error| match error {
        kube::Error::Api(status) => {
            Refused { code: status.code, reason: status.reason.clone(), message: status.message.clone() }
        }
        other => panic!("{path}: {other}"),
    })
}

/// Creates an object for show.
pub(crate) async fn dry_run(
    namespace: &Namespace<'_>,
    client: &Client,
    plural: &str,
    object: &Value,
) -> Result<Value, Refused> {
    ask(namespace, client, Method::POST, plural, "?dryRun=All&fieldValidation=Strict", Some(object)).await
}

/// Makes a review, once the API server knows that this client may make any.
pub(crate) async fn make(namespace: &Namespace<'_>, client: &Client, review: &Value) -> Result<Value, Refused> {
    eventually("it knows of the right to make reviews", async || {
        let answer = ask(namespace, client, Method::POST, "imageupdatereviews", "", Some(review)).await;
        let is_soon = answer.as_ref().is_err_and(|refused| refused.message.contains("cannot create resource"));
        (!is_soon).then_some(answer)
    })
    .await
}

/// Binds a ClusterRole to a User or a Group in a namespace.
pub(crate) async fn bind(namespace: &Namespace<'_>, role: &str, kind: &str, name: &str) {
    let subject = format!("--{}={name}", kind.to_lowercase());
    let binding = format!("{role}-{name}");
    let role = format!("--clusterrole={role}");
    namespace.plane.kubectl(&["-n", &namespace.name, "create", "rolebinding", &binding, &role, &subject]);
}
