//! A real control plane: etcd, kube-apiserver and, if wanted, its controllers with kwok as kubelet.
//!
//! One serves all tests of the process ([`shared`]), each in a [`Namespace`] of its own; a test that restarts the
//! API server starts its own ([`ControlPlane::start`]).

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use http::{Method, Request};
use kube::{Client, Config, config::Kubeconfig};
use serde_json::{Value, json};
use tokio::{
    runtime::{self, Handle},
    sync::OnceCell,
};

use super::{
    audit::{AuditLog, Audited},
    bin, eventually, free_port, keys,
    process::{Folder, Process},
    stack,
};

/// How much of a control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    /// etcd and the API server: objects stay as they are written.
    Api,
    /// Also controllers, scheduler and kwok with one Node: rollouts progress.
    All,
}

/// A running control plane. Its processes end with it, or with the test process.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    // In the order in which they are to end.
    _others: Vec<Process>,
    api: Mutex<Option<Process>>,
    folder: Folder,
    port: u16,
    etcd_port: u16,
    audit: Mutex<AuditLog>,
}

/// The one that all tests of this process share.
pub(crate) async fn shared() -> &'static ControlPlane {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    SHARED.get_or_init(|| ControlPlane::start(Parts::All)).await
}

/// A user with every right (group `system:masters`) whose requests are in the audit log. Each call gives another, so
/// that tests that count requests do not see each other's.
pub(crate) fn audited_user() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(n < AUDITED, "more than {AUDITED} users: raise AUDITED");
    format!("supercargo-{n}")
}

/// How many users [`audited_user`] has.
const AUDITED: u32 = 500;
/// Every right, not audited: for the tests' own requests.
pub(crate) const ADMIN: &str = "admin";
/// Users without any right of their own (audited).
pub(crate) const PLAIN: [&str; 2] = ["alice", "bob"];
/// A user without any right of her own, and her group (audited).
pub(crate) const OF_A_GROUP: (&str, &str) = ("carol", "release-team");

const AUDIT_POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Request, userGroups: [audited, "system:serviceaccounts"]}
- {level: None}
"#;

const NODE: &str = r#"
apiVersion: v1
kind: Node
metadata:
  name: node-1
  annotations: {kwok.x-k8s.io/node: fake}
  labels: {kubernetes.io/os: linux, kubernetes.io/arch: amd64, kubernetes.io/hostname: node-1}
status:
  capacity: {cpu: 1k, memory: 1Ti, pods: 1M}
  allocatable: {cpu: 1k, memory: 1Ti, pods: 1M}
"#;

const CONTROLLERS: &str = "deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller,\
    cronjob-controller,job-controller,garbage-collector-controller,namespace-controller,resourcequota-controller";

impl ControlPlane {
    /// Starts one, with the definitions of `deploy/crds`; about three seconds.
    pub(crate) async fn start(parts: Parts) -> Self {
        Self::start_with(parts, true).await
    }

    /// Starts one that does not have our kinds.
    pub(crate) async fn start_without_kinds(parts: Parts) -> Self {
        Self::start_with(parts, false).await
    }

    async fn start_with(parts: Parts, kinds: bool) -> Self {
        let folder = Folder::new();
        write_files(&folder);
        let (port, etcd_port, peer_port) = (free_port(), free_port(), free_port());
        let client_url = format!("http://127.0.0.1:{etcd_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let mut etcd = Command::new(bin("etcd"));
        etcd.arg("--data-dir").arg(folder.join("etcd")).args([
            "--unsafe-no-fsync",
            "--log-level=warn",
            &format!("--listen-client-urls={client_url}"),
            &format!("--advertise-client-urls={client_url}"),
            &format!("--listen-peer-urls={peer_url}"),
            &format!("--initial-advertise-peer-urls={peer_url}"),
            &format!("--initial-cluster=default={peer_url}"),
        ]);
        let mut others = vec![Process::spawn(&etcd, &folder.join("etcd.log"))];
        let (api, audit) = (Mutex::new(None), Mutex::default());
        let mut plane = Self { folder, port, etcd_port, api, audit, _others: Vec::new() };
        plane.start_api();
        plane.ready().await;
        if kinds {
            plane.define_kinds().await;
        }
        if parts == Parts::All {
            others.extend(plane.start_controllers());
            plane.create(NODE).await;
        }
        plane._others = others;
        plane
    }

    /// Creates the definitions of `deploy/crds`, and waits until they are served.
    pub(crate) async fn define_kinds(&self) {
        self.define_kinds_with(|_| ()).await;
    }

    /// The same, each changed before.
    pub(crate) async fn define_kinds_with(&self, change: impl Fn(&mut Value)) {
        for kind in ["imageupdates", "imageupdatereviews", "imagestates", "imagehistories"] {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("deploy/crds/{kind}.yaml"));
            let mut definition = documents(&fs::read_to_string(file).unwrap()).remove(0);
            change(&mut definition);
            self.create(&definition.to_string()).await;
            let path = format!("{}/{kind}", api_of(kind));
            eventually(&format!("{kind} are served"), async || self.request(Method::GET, &path, None).await.ok()).await;
        }
    }

    /// Ends the API server (`kill -9`); etcd and the data stay.
    pub(crate) fn stop_api(&self) {
        *self.api.lock().unwrap() = None;
    }

    /// Starts the API server again, on the same port. Not ready yet: see [`Self::ready`].
    pub(crate) fn start_api(&self) {
        self.start_api_with(&[]);
    }

    /// The same with more flags.
    pub(crate) fn start_api_with(&self, more: &[&str]) {
        let mut command = Command::new(bin("kube-apiserver"));
        let file = |flag: &str, name: &str| format!("--{flag}={}", self.folder.join(name).display());
        command.args([
            &format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            &format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1",
            &file("cert-dir", "certs"),
            "--service-account-issuer=https://kubernetes.default.svc",
            &file("service-account-key-file", "sa.pub"),
            &file("service-account-signing-key-file", "sa.key"),
            &file("token-auth-file", "tokens.csv"),
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/24",
            // No controller would take the not-ready taint away that TaintNodesByCondition puts on a new Node.
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            &file("audit-policy-file", "audit.yaml"),
            &file("audit-log-path", "audit.jsonl"),
        ]);
        command.args(more);
        *self.api.lock().unwrap() = Some(Process::spawn(&command, &self.folder.join("kube-apiserver.log")));
    }

    /// Waits until the API server says that it is ready.
    pub(crate) async fn ready(&self) {
        let certificate = self.folder.join("certs/apiserver.crt");
        eventually("the API server is ready", async || {
            if let Some(api) = self.api.lock().unwrap().as_mut()
                && let Some(status) = api.exited()
            {
                panic!("kube-apiserver ended with {status}:\n{}", tail(&api.output()));
            }
            if !certificate.exists() {
                return None;
            }
            let request = Request::get("/readyz").body(Vec::new()).unwrap();
            self.client(ADMIN).await.request_text(request).await.ok()
        })
        .await;
    }

    /// `https://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificate to trust, as a PEM file.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.join("certs/apiserver.crt")
    }

    /// A client of one of the users of this module ([`ADMIN`], [`audited_user`], [`PLAIN`], [`OF_A_GROUP`]). Its connections belong
    /// to the calling test's runtime.
    pub(crate) async fn client(&self, user: &str) -> Client {
        self.client_with_token(&format!("{user}-token")).await
    }

    /// A client with any token, such as that of a ServiceAccount. One for each runtime: to make one and to connect it takes
    /// longer than what most ask.
    pub(crate) async fn client_with_token(&self, token: &str) -> Client {
        static MADE: LazyLock<Mutex<HashMap<(runtime::Id, String), Client>>> = LazyLock::new(Mutex::default);
        let key = (Handle::current().id(), self.kubeconfig_text(token, "default"));
        if let Some(client) = MADE.lock().unwrap().get(&key) {
            return client.clone();
        }
        let kubeconfig = Kubeconfig::from_yaml(&key.1).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let mut made = MADE.lock().unwrap();
        // Most are of runtimes that are gone.
        if made.len() >= 50 {
            made.clear();
        }
        made.insert(key, client.clone());
        client
    }

    /// A client of a user that reaches the API server by another address, such as a proxy's.
    pub(crate) async fn client_at(&self, user: &str, url: &str) -> Client {
        let text = self.kubeconfig_text(&format!("{user}-token"), "default").replace(&self.url(), url);
        let config = Config::from_custom_kubeconfig(Kubeconfig::from_yaml(&text).unwrap(), &Default::default()).await;
        Client::try_from(config.unwrap()).unwrap()
    }

    /// A kubeconfig file of one of the users of this module.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.kubeconfig_with_token(&format!("{user}-token"), "default")
    }

    /// A kubeconfig file with any token, and the namespace that is meant where none is said.
    pub(crate) fn kubeconfig_with_token(&self, token: &str, namespace: &str) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = self.folder.join(&format!("kubeconfig-{}.yaml", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::write(&path, self.kubeconfig_text(token, namespace)).unwrap();
        path
    }

    fn kubeconfig_text(&self, token: &str, namespace: &str) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url(), "certificate-authority": self.ca_file()}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        })
        .to_string()
    }

    /// A new empty namespace, named after the test.
    pub(crate) async fn namespace(&'static self, hint: &str) -> Namespace<'static> {
        self.namespace_with(hint, json!({})).await
    }

    /// A new namespace with annotations. A private control plane has no `'static`, so it takes any lifetime.
    pub(crate) async fn namespace_with(&self, hint: &str, annotations: Value) -> Namespace<'_> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{hint}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": annotations},
        });
        self.create(&object.to_string()).await;
        Namespace { plane: self, name }
    }

    /// Creates the objects of a YAML text (several documents); returns them as the server answered. Panics with the
    /// server's words if it refuses.
    pub(crate) async fn create(&self, yaml: &str) -> Vec<Value> {
        let mut created = Vec::new();
        for object in documents(yaml) {
            let path = collection(&object);
            let answer = self.request(Method::POST, &path, Some(&object)).await;
            created.push(answer.unwrap_or_else(|e| panic!("POST {path}: {e}\n{object}")));
        }
        created
    }

    /// Any request as the administrator: a path of the API, a body, the answer.
    pub(crate) async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> kube::Result<Value> {
        request(&self.client(ADMIN).await, method, path, body).await
    }

    /// `kubectl` with these arguments as the administrator; returns stdout, panics if it fails.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        let output = self.kubectl_as(&self.kubeconfig(ADMIN), args);
        assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// `kubectl` with this kubeconfig, however it ends.
    pub(crate) fn kubectl_as(&self, kubeconfig: &Path, args: &[&str]) -> std::process::Output {
        Command::new(bin("kubectl")).env("KUBECONFIG", kubeconfig).args(args).output().unwrap()
    }

    /// What this user has asked of the API server so far, oldest first. The line is there when the answer is.
    /// ServiceAccounts are `system:serviceaccount:NAMESPACE:NAME`.
    pub(crate) fn audit(&self, user: &str) -> Vec<Audited> {
        self.audit.lock().unwrap().of(&self.folder.join("audit.jsonl"), user)
    }

    fn start_controllers(&self) -> Vec<Process> {
        let start = |name: &str, args: &[&str]| {
            let mut command = Command::new(bin(name));
            command.arg(format!("--kubeconfig={}", self.kubeconfig(name).display())).args(args);
            Process::spawn(&command, &self.folder.join(&format!("{name}.log")))
        };
        let key = format!("--service-account-private-key-file={}", self.folder.join("sa.key").display());
        let controllers = format!("--controllers={CONTROLLERS}");
        let stages = format!("--config={}", stack().join("kwok-stages.yaml").display());
        vec![
            start(
                "kube-controller-manager",
                &[
                    &key,
                    &controllers,
                    "--leader-elect=false",
                    "--secure-port=0",
                    "--kube-api-qps=300",
                    "--kube-api-burst=600",
                ],
            ),
            start("kube-scheduler", &["--leader-elect=false", "--secure-port=0"]),
            start("kwok", &[&stages, "--manage-all-nodes=true"]),
        ]
    }
}

/// A namespace of one test. It is left behind: the control plane goes with the process.
#[derive(Debug)]
pub(crate) struct Namespace<'a> {
    /// The control plane it is in.
    pub(crate) plane: &'a ControlPlane,
    /// Its name.
    pub(crate) name: String,
}

impl Namespace<'_> {
    /// Creates objects in this namespace from a YAML text; see [`ControlPlane::create`].
    pub(crate) async fn create(&self, yaml: &str) -> Vec<Value> {
        let mut created = Vec::new();
        for mut object in documents(yaml) {
            object["metadata"]["namespace"] = json!(self.name);
            created.extend(self.plane.create(&object.to_string()).await);
        }
        created
    }

    /// The object as it is now (`get("deployments", "web")`); panics if it is not there.
    pub(crate) async fn get(&self, plural: &str, name: &str) -> Value {
        let path = self.path(plural, name);
        self.plane.request(Method::GET, &path, None).await.unwrap_or_else(|e| panic!("GET {path}: {e}"))
    }

    /// Changes an object by a JSON merge patch, as the administrator.
    pub(crate) async fn merge(&self, plural: &str, name: &str, patch: Value) -> Value {
        let path = self.path(plural, name);
        self.plane.request(Method::PATCH, &path, Some(&patch)).await.unwrap_or_else(|e| panic!("PATCH {path}: {e}"))
    }

    /// Deletes an object.
    pub(crate) async fn delete(&self, plural: &str, name: &str) {
        let path = self.path(plural, name);
        self.plane.request(Method::DELETE, &path, None).await.unwrap_or_else(|e| panic!("DELETE {path}: {e}"));
    }

    /// The images of the pod template's containers, init containers last.
    pub(crate) async fn images(&self, plural: &str, name: &str) -> Vec<String> {
        let object = self.get(plural, name).await;
        let pod = if plural == "cronjobs" {
            &object["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        } else {
            &object["spec"]["template"]["spec"]
        };
        let list = |key: &str| pod[key].as_array().cloned().unwrap_or_default();
        let all = list("containers").into_iter().chain(list("initContainers"));
        all.map(|c| c["image"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// A token of a ServiceAccount of this namespace, which must be there.
    pub(crate) async fn token(&self, service_account: &str) -> String {
        let path = format!("{}/token", self.path("serviceaccounts", service_account));
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let answer = self.plane.request(Method::POST, &path, Some(&body)).await;
        answer.unwrap_or_else(|e| panic!("POST {path}: {e}"))["status"]["token"].as_str().unwrap().to_owned()
    }

    fn path(&self, plural: &str, name: &str) -> String {
        format!("{}/namespaces/{}/{plural}/{name}", api_of(plural), self.name)
    }
}

/// Any request of a client: a path of the API, a body, the answer. A PATCH with an array is a JSON Patch, else a
/// merge patch.
pub(crate) async fn request(client: &Client, method: Method, path: &str, body: Option<&Value>) -> kube::Result<Value> {
    let content_type = match (&method, body) {
        (&Method::PATCH, Some(Value::Array(_))) => "application/json-patch+json",
        (&Method::PATCH, _) => "application/merge-patch+json",
        _ => "application/json",
    };
    let bytes = body.map(|b| b.to_string().into_bytes()).unwrap_or_default();
    let request = Request::builder().method(method).uri(path).header("content-type", content_type).body(bytes);
    client.request(request.unwrap()).await
}

fn write_files(folder: &Folder) {
    let (private, public) = keys::key_pair();
    fs::write(folder.join("sa.key"), private).unwrap();
    fs::write(folder.join("sa.pub"), public).unwrap();
    let mut tokens = String::new();
    // The controllers by the name that Kubernetes gives them.
    tokens += "kube-controller-manager-token,system:kube-controller-manager,controllers,system:masters\n";
    for user in [ADMIN, "kube-scheduler", "kwok"] {
        tokens += &format!("{user}-token,{user},{user},system:masters\n");
    }
    for n in 0..AUDITED {
        tokens += &format!("supercargo-{n}-token,supercargo-{n},supercargo-{n},\"system:masters,audited\"\n");
    }
    for user in PLAIN {
        tokens += &format!("{user}-token,{user},{user},audited\n");
    }
    let (user, group) = OF_A_GROUP;
    tokens += &format!("{user}-token,{user},{user},\"{group},audited\"\n");
    fs::write(folder.join("tokens.csv"), tokens).unwrap();
    fs::write(folder.join("audit.yaml"), AUDIT_POLICY).unwrap();
}

fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
    documents.into_iter().filter(|d| !d.is_null()).collect()
}

/// The path of the collection that an object belongs to.
fn collection(object: &Value) -> String {
    let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap().to_lowercase());
    let plural = match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    };
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
        None => format!("{root}/{plural}"),
    }
}

fn api_of(plural: &str) -> &'static str {
    match plural {
        "deployments" | "statefulsets" | "daemonsets" | "replicasets" => "/apis/apps/v1",
        "cronjobs" | "jobs" => "/apis/batch/v1",
        "imageupdates" | "imageupdatereviews" | "imagestates" | "imagehistories" => "/apis/supercargo.dev/v1alpha1",
        "roles" | "rolebindings" => "/apis/rbac.authorization.k8s.io/v1",
        _ => "/api/v1",
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
