//! Real CNCF registries for tests, and pushing to them.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use supercargo::domain::image::{Digest, Repository};
use tempfile::TempDir;

use super::{bin, free_port, http, process::Process, token_server::TokenServer};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// The user that a registry with [`Access::Password`] knows, and its password.
pub(crate) const USER: &str = "u";
pub(crate) const PASSWORD: &str = "p";
/// bcrypt of [`PASSWORD`].
const HTPASSWD: &str = "u:$2b$05$7aQbWuGr4WKinNyXRs7ghOJAOCWZSI5iXoF0w9.e8echh5qeBVoFa\n";

/// Where a registry in files has them, in its folder.
const FILES: &str = "files";

/// Who may use a registry.
#[derive(Debug, Default)]
pub(crate) enum Access {
    /// Everybody.
    #[default]
    Open,
    /// [`USER`] with [`PASSWORD`], by Basic.
    Password,
    /// Whoever has a token of this server.
    Token(TokenServer),
}

/// How to start a registry.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) access: Access,
    /// Where it sends notifications, and the value of their `Authorization` header.
    pub(crate) notify: Option<(String, String)>,
    /// Keys of its configuration that take the place of ours.
    pub(crate) overrides: Value,
    /// Whether it keeps what is pushed in files, and not in memory.
    pub(crate) in_files: bool,
}

/// A running registry of its own. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    /// `127.0.0.1:PORT`, as images write it.
    pub(crate) host: String,
    pub(crate) access: Access,
    pub(crate) process: Process,
    folder: TempDir,
}

/// What to push: images that differ in any of these have different digests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    /// Anything.
    pub(crate) seed: String,
    /// `created` of the configuration.
    pub(crate) created: Option<String>,
    /// `os/architecture`, `linux/amd64` if empty.
    pub(crate) platform: String,
    /// Labels of the configuration, beside one that holds `seed`.
    pub(crate) labels: Vec<(String, Value)>,
    /// Annotations of the manifest.
    pub(crate) annotations: Vec<(String, Value)>,
}

/// The labels, or the annotations, of an image that was built from that.
pub(crate) fn built_from(source: &str, revision: &str) -> Vec<(String, Value)> {
    let pairs = [("org.opencontainers.image.source", source), ("org.opencontainers.image.revision", revision)];
    pairs.map(|(key, value)| (key.to_owned(), json!(value))).to_vec()
}

impl Image {
    /// An image that no other call has made.
    pub(crate) fn unique() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Self { seed: format!("unique {}", COUNT.fetch_add(1, Ordering::Relaxed)), ..Self::default() }
    }

    /// An image with that time in its configuration.
    pub(crate) fn created(time: &str) -> Self {
        Self { created: Some(time.to_owned()), ..Self::unique() }
    }

    fn config(&self) -> Vec<u8> {
        let platform = if self.platform.is_empty() { "linux/amd64" } else { &self.platform };
        let (os, architecture) = platform.split_once('/').expect("os/architecture");
        let mut config = json!({
            "os": os, "architecture": architecture, "config": {"Labels": {"seed": self.seed}},
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        if let Some(created) = &self.created {
            config["created"] = json!(created);
        }
        for (key, value) in &self.labels {
            config["config"]["Labels"][key] = value.clone();
        }
        config.to_string().into_bytes()
    }
}

impl Registry {
    /// An open registry.
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    /// A registry, ready to answer.
    pub(crate) async fn start_with(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        loop {
            let host = format!("127.0.0.1:{}", free_port());
            if let Some(process) = spawn(&host, &options, folder.path()).await {
                return Self { host, access: options.access, process, folder };
            }
        }
    }

    /// Kills it; what was pushed is gone.
    pub(crate) async fn stop(&mut self) {
        self.process.signal("KILL");
        self.process.wait().await;
    }

    /// Starts it again at the same address, empty.
    pub(crate) async fn restart(&mut self) {
        self.process = serve(&self.host, self.folder.path()).await.expect("the port is still free");
    }

    /// `127.0.0.1:PORT/path`
    pub(crate) fn repository(&self, path: &str) -> Repository {
        Repository::parse(&format!("{}/{path}", self.host)).expect("a repository")
    }

    /// Pushes an image as `path:tag`, moving the tag if it is there.
    pub(crate) async fn push(&self, path: &str, tag: &str, image: &Image) -> Digest {
        let manifest = self.upload(path, image).await;
        self.put_manifest(path, tag, OCI_MANIFEST, manifest.into_bytes()).await
    }

    /// Pushes one image under many tags.
    pub(crate) async fn push_tags<T: AsRef<str>>(&self, path: &str, tags: impl IntoIterator<Item = T>) -> Digest {
        let manifest = self.upload(path, &Image { seed: "many".into(), ..Image::default() }).await;
        for tag in tags {
            self.put_manifest(path, tag.as_ref(), OCI_MANIFEST, manifest.clone().into_bytes()).await;
        }
        digest_of(manifest.as_bytes())
    }

    /// Pushes an index of images as `path:tag`, each child with its `platform`.
    pub(crate) async fn push_index(&self, path: &str, tag: &str, images: &[Image]) -> Digest {
        let mut children = vec![];
        for image in images {
            let manifest = self.upload(path, image).await.into_bytes();
            let (os, architecture) = image.platform.split_once('/').expect("os/architecture");
            children.push(json!({
                "mediaType": OCI_MANIFEST, "digest": digest_of(&manifest), "size": manifest.len(),
                "platform": {"os": os, "architecture": architecture},
            }));
            let digest = digest_of(&manifest);
            self.put_manifest(path, digest.as_str(), OCI_MANIFEST, manifest).await;
        }
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children});
        self.put_manifest(path, tag, OCI_INDEX, index.to_string().into_bytes()).await
    }

    /// Takes a tag away.
    pub(crate) async fn delete_tag(&self, path: &str, tag: &str) {
        let response = self.request(reqwest::Method::DELETE, path, &format!("manifests/{tag}")).send().await;
        assert_eq!(response.expect("the registry answers").status(), 202);
    }

    /// Takes the manifest of a tag away, which stays listed, as it is when a deletion by digest or an upload breaks off
    /// half-way. Of a registry in files.
    pub(crate) fn lose_manifest(&self, path: &str, digest: &Digest) {
        let revisions = format!("{FILES}/docker/registry/v2/repositories/{path}/_manifests/revisions");
        let link = self.folder.path().join(revisions).join(digest.as_str().replace(':', "/")).join("link");
        std::fs::remove_file(link).expect("the manifest is there");
    }

    /// Puts any bytes as a manifest.
    pub(crate) async fn put_manifest(&self, path: &str, reference: &str, kind: &str, body: Vec<u8>) -> Digest {
        let digest = digest_of(&body);
        let request = self.request(reqwest::Method::PUT, path, &format!("manifests/{reference}"));
        let response = request.header("content-type", kind).body(body).send().await.expect("the registry answers");
        assert_eq!(response.status(), 201, "{path}:{reference}");
        digest
    }

    /// Uploads an image's blob and returns its manifest, which is not pushed yet.
    async fn upload(&self, path: &str, image: &Image) -> String {
        let config = image.config();
        let digest = digest_of(&config);
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [],
            "config": {"mediaType": OCI_CONFIG, "digest": digest, "size": config.len()},
        });
        for (key, value) in &image.annotations {
            manifest["annotations"][key] = value.clone();
        }
        let started =
            self.request(reqwest::Method::POST, path, "blobs/uploads/").send().await.expect("an upload starts");
        assert_eq!(started.status(), 202, "POST {path}/blobs/uploads/");
        let location = started.headers()["location"].to_str().expect("a URL").to_owned();
        let mut url = started.url().join(&location).expect("a URL");
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        let request = self.authorize(http().put(url), path);
        let request = request.header("content-type", "application/octet-stream").body(config);
        assert_eq!(request.send().await.expect("the upload ends").status(), 201);
        manifest.to_string()
    }

    fn request(&self, method: reqwest::Method, path: &str, rest: &str) -> reqwest::RequestBuilder {
        self.authorize(http().request(method, format!("http://{}/v2/{path}/{rest}", self.host)), path)
    }

    fn authorize(&self, request: reqwest::RequestBuilder, path: &str) -> reqwest::RequestBuilder {
        match &self.access {
            Access::Open => request,
            Access::Password => request.basic_auth(USER, Some(PASSWORD)),
            Access::Token(server) => request.bearer_auth(server.sign(path, &["pull", "push", "delete"], "pusher")),
        }
    }
}

/// `sha256:…` of bytes.
pub(crate) fn digest_of(body: &[u8]) -> Digest {
    let hex: String = Sha256::digest(body).iter().map(|b| format!("{b:02x}")).collect();
    Digest::parse(&format!("sha256:{hex}")).expect("a digest")
}

/// A docker config with one entry.
pub(crate) fn docker_config(key: &str, user: &str, password: &str) -> String {
    json!({"auths": {key: {"auth": STANDARD.encode(format!("{user}:{password}"))}}}).to_string()
}

/// Starts the server; none if it ended at once, as when another process took the port.
async fn spawn(host: &str, options: &Options, folder: &Path) -> Option<Process> {
    let mut config = json!({
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": true}},
        "storage": {"inmemory": {}, "delete": {"enabled": true}},
        "http": {"addr": host, "secret": "s"},
    });
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file is written");
        path
    };
    match &options.access {
        Access::Open => {}
        Access::Password => {
            config["auth"] = json!({"htpasswd": {"realm": "r", "path": write("htpasswd", HTPASSWD)}});
        }
        Access::Token(server) => {
            config["auth"] = json!({"token": {
                "realm": server.realm, "service": "reg", "issuer": "t", "jwks": write("jwks.json", &server.jwks()),
                "signingalgorithms": ["ES256"],
            }});
        }
    }
    if let Some((url, authorization)) = &options.notify {
        config["notifications"] = json!({"endpoints": [{
            "name": "sink", "url": url, "headers": {"Authorization": [authorization]},
            "timeout": "60s", "threshold": 3, "backoff": "1s",
        }]});
    }
    if options.in_files {
        config["storage"] = json!({"filesystem": {"rootdirectory": folder.join(FILES)}, "delete": {"enabled": true}});
    }
    for (key, value) in options.overrides.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    // JSON is YAML.
    write("config.yml", &config.to_string());
    serve(host, folder).await
}

async fn serve(host: &str, folder: &Path) -> Option<Process> {
    let mut command = Command::new(bin("registry"));
    command.arg("serve").arg(folder.join("config.yml")).env("OTEL_TRACES_EXPORTER", "none");
    let mut process = Process::spawn(&command, &folder.join("log"));
    for _ in 0..3000 {
        if tokio::net::TcpStream::connect(host).await.is_ok() {
            // Somebody else may listen there.
            return process.exited().is_none().then_some(process);
        }
        if process.exited().is_some() {
            assert!(process.output().contains("address already in use"), "{}", process.output());
            return None;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the registry does not listen: {}", process.output())
}

/// A docker config from `(key, user, password)`.
pub(crate) fn docker_config_of(entries: &[(&str, &str, &str)]) -> String {
    let mut auths = Value::Object(serde_json::Map::new());
    for (key, user, password) in entries {
        auths[key] = json!({"username": user, "password": password});
    }
    json!({ "auths": auths }).to_string()
}
