//! Beside Argo CD, on a control plane that has its Applications: what is its, by the instance label, is left to it.

use http::Method;
use serde_json::{Value, json};

use crate::support::{
    control_plane::{ADMIN, ControlPlane, Namespace, Parts},
    eventually, free_port,
    git_server::GitServer,
    objects::{deployment, event_says, policy, runs},
    operator::{Operator, Setup},
    registry::Registry,
};

/// As much of the definition as the API server needs.
const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: applications.argoproj.io}
spec:
  group: argoproj.io
  scope: Namespaced
  names: {kind: Application, plural: applications, singular: application}
  versions:
    - name: v1alpha1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"#;

async fn application(plane: &ControlPlane, method: Method, namespace: &str, name: &str) {
    application_for(plane, method, namespace, name, namespace).await;
}

/// One that deploys to another namespace than its own.
async fn application_for(plane: &ControlPlane, method: Method, namespace: &str, name: &str, destination: &str) {
    let metadata = json!({"name": name, "namespace": namespace});
    let spec = json!({"destination": {"server": "https://kubernetes.default.svc", "namespace": destination}});
    let object =
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": metadata, "spec": spec});
    let collection = format!("/apis/argoproj.io/v1alpha1/namespaces/{namespace}/applications");
    let (path, body) = match method {
        Method::POST => (collection, Some(&object)),
        Method::PATCH => (format!("{collection}/{name}"), Some(&object)),
        _ => (format!("{collection}/{name}"), None),
    };
    plane.request(method, &path, body).await.unwrap();
}

fn labelled(name: &str, image: &str, instance: &str) -> Value {
    let mut object = deployment(name, image, policy("minor"));
    object["metadata"]["labels"] = json!({"app.kubernetes.io/instance": instance});
    object
}

/// The base and a component, as docs/install.md says it: in a folder of one's own.
async fn with_component(plane: &ControlPlane, component: &str, verb: &str) {
    let folder = tempfile::tempdir().unwrap();
    let up = "../".repeat(folder.path().components().count() - 1);
    let deploy = format!("{up}{}/deploy", env!("CARGO_MANIFEST_DIR").trim_start_matches('/'));
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": [format!("{deploy}/base")], "components": [format!("{deploy}/components/{component}")],
    });
    std::fs::write(folder.path().join("kustomization.yaml"), kustomization.to_string()).unwrap();
    plane.kubectl(&["apply", "-k", folder.path().to_str().unwrap()]);
    eventually("the right is known", async || {
        let user = "system:serviceaccount:supercargo:supercargo";
        let may = ["auth", "can-i", verb, "applications.argoproj.io", "-n", "argocd", "--as", user];
        (plane.kubectl_as(&plane.kubeconfig(ADMIN), &may).stdout == b"yes\n").then_some(())
    })
    .await;
}

/// The operator with the token of the ServiceAccount `supercargo` in that namespace.
async fn operator(namespace: &Namespace<'_>, more: &[&str]) -> Operator {
    let token = namespace.token("supercargo").await;
    let mut setup = Setup::in_namespace(namespace, "1s").with(more);
    // As the base is deployed: for every namespace.
    setup.args.drain(..2);
    setup.kubeconfig = Some(namespace.plane.kubeconfig_with_token(&token, &namespace.name));
    Operator::start(namespace.plane, &setup).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_whose_instance_label_names_an_application_is_left_to_argo_cd() {
    let (plane, registry) = (ControlPlane::start(Parts::Api).await, Registry::start().await);
    registry.push_tags("web", ["1.0.0", "1.1.0"]).await;
    let (old, new) = (format!("{}/web:1.0.0", registry.host), format!("{}/web:1.1.0", registry.host));
    plane.create(DEFINITION).await;
    eventually("Applications are served", async || {
        plane.request(Method::GET, "/apis/argoproj.io/v1alpha1/applications", None).await.ok()
    })
    .await;
    plane.kubectl(&["apply", "-k", concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/base")]);
    let home = Namespace { plane: &plane, name: "supercargo".to_owned() };
    let namespace = plane.namespace_with("argocd", json!({})).await;
    let tenant = plane.namespace_with("tenant", json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, format!("argocd: {{namespaces: [{}]}}\n", namespace.name)).unwrap();
    application(&plane, Method::POST, &namespace.name, "shop").await;

    // Without the right the label says nothing, and that is told.
    let without = operator(&home, &[]).await;
    namespace.create(&labelled("unknown", &old, "shop").to_string()).await;
    runs(&namespace, "unknown", &[&new]).await;
    let said = without.process.output();
    assert!(said.contains("an instance label does not tell that Argo CD sets an image"), "{said}");
    drop(without);

    with_component(&plane, "argocd", "list").await;
    // A tenant's own Application claims nothing, and one of Argo CD's only where it deploys to.
    application_for(&plane, Method::POST, &tenant.name, "mine", &namespace.name).await;
    let operator = operator(&home, &["--config", config.to_str().unwrap()]).await;
    for instance in ["mine", &format!("{}_mine", tenant.name)] {
        let name = instance.replace('_', "-");
        namespace.create(&labelled(&name, &old, instance).to_string()).await;
        runs(&namespace, &name, &[&new]).await;
    }
    tenant.create(&labelled("shop", &old, "shop").to_string()).await;
    runs(&tenant, "shop", &[&new]).await;
    let other_namespace = format!("{}_shop", namespace.name);
    for (name, instance) in [("web", "shop"), ("elsewhere", &*other_namespace), ("helms", "other")] {
        namespace.create(&labelled(name, &old, instance).to_string()).await;
    }
    runs(&namespace, "helms", &[&new]).await;
    event_says(&namespace, "web", "Argo CD's Application \"shop\"").await;
    event_says(&namespace, "elsewhere", "(owned-elsewhere)").await;
    runs(&namespace, "web", &[&old]).await;

    // What comes later counts, and what goes.
    application(&plane, Method::POST, &namespace.name, "late").await;
    namespace.create(&labelled("late", &old, "late").to_string()).await;
    event_says(&namespace, "late", "Argo CD's Application \"late\"").await;
    application(&plane, Method::DELETE, &namespace.name, "shop").await;
    runs(&namespace, "web", &[&new]).await;
    runs(&namespace, "elsewhere", &[&new]).await;
    runs(&namespace, "late", &[&old]).await;

    // And what moves.
    application_for(&plane, Method::PATCH, &namespace.name, "late", &tenant.name).await;
    runs(&namespace, "late", &[&new]).await;
    tenant.create(&labelled("late", &old, "late").to_string()).await;
    event_says(&tenant, "late", "Argo CD's Application \"late\"").await;
    // The configuration says where Argo CD is, and may be changed.
    std::fs::write(&config, "argocd: {namespaces: []}\n").unwrap();
    runs(&tenant, "late", &[&new]).await;
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_push_the_applications_that_are_named_are_refreshed() {
    let (plane, registry) = (ControlPlane::start(Parts::Api).await, Registry::start().await);
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    registry.push_tags("web", ["1.0.0", "1.1.0"]).await;
    let old = format!("{}/web:1.0.0", registry.host);
    plane.create(DEFINITION).await;
    eventually("Applications are served", async || {
        plane.request(Method::GET, "/apis/argoproj.io/v1alpha1/applications", None).await.ok()
    })
    .await;
    plane.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}}).to_string()).await;
    for name in ["shop-web", "shop-api", "other"] {
        application(&plane, Method::POST, "argocd", name).await;
    }
    plane.kubectl(&["apply", "-k", concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/base")]);
    let home = Namespace { plane: &plane, name: "supercargo".to_owned() };
    let namespace = plane.namespace_with("refresh", json!({})).await;
    let manifest = |image: &str| {
        let mut object = deployment("web", image, json!({}));
        object["metadata"]["namespace"] = json!(namespace.name);
        object.to_string()
    };
    let repo = server.create("deploy", &[("web.yaml", manifest(&old).as_bytes())]);
    let config = folder.path().join("config.yaml");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "geheim-4711").unwrap();
    let gone = format!("http://127.0.0.1:{}/hook/geheim-path", free_port());
    let text = json!({"git": [{
        "name": "prod", "url": server.url("deploy"), "branch": "main", "namespaces": [namespace.name], "batchWindow": "0s",
        "deployers": [
            {"fluxReceiver": {"url": gone, "secretFile": secret}},
            {"argocdRefresh": {"namespace": "argocd", "applications": ["shop-*", "none"]}},
        ],
    }]});
    std::fs::write(&config, text.to_string()).unwrap();
    let cache = folder.path().join("cache");
    let flags = ["--config", config.to_str().unwrap(), "--git-cache", cache.to_str().unwrap()];
    let annotation = async |name: &str| {
        let path = format!("/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/{name}");
        let object = plane.request(Method::GET, &path, None).await.unwrap();
        object["metadata"]["annotations"]["argocd.argoproj.io/refresh"].as_str().map(str::to_owned)
    };

    // Without the right the push is made, and it is told what to grant.
    let without = operator(&home, &flags).await;
    let annotations = json!({"supercargo.dev/policy": "minor", "supercargo.dev/write": "git:prod"});
    namespace.create(&deployment("web", &old, annotations).to_string()).await;
    let says = async |operator: &Operator, words: &str| {
        eventually(&format!("it says `{words}`"), async || operator.process.output().contains(words).then_some(()))
            .await;
    };
    says(&without, "see deploy/components/argocd-refresh").await;
    assert_eq!((repo.log().len(), annotation("shop-web").await), (2, None));
    let said = without.process.output();
    assert!(said.contains("a deployer was not told of the push") && !said.contains("geheim"), "{said}");
    drop(without);

    with_component(&plane, "argocd-refresh", "patch").await;
    let _operator = operator(&home, &flags).await;
    registry.push_tags("web", ["1.2.0"]).await;
    eventually("both are refreshed", async || {
        let both = [annotation("shop-web").await, annotation("shop-api").await];
        both.iter().all(|value| value.as_deref() == Some("normal")).then_some(())
    })
    .await;
    assert_eq!((repo.log().len(), annotation("other").await), (3, None));
}
