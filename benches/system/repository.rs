//! A repository as a platform team keeps it: 5,000 apps in folders of teams, each with a Deployment, and what lies
//! beside them.

use std::fmt::Write as _;

use crate::support::git_server::{BareRepo, GitServer, git, run};

/// Apps; each has one manifest that holds an image.
pub(crate) const APPS: usize = 5_000;
/// All files.
pub(crate) const FILES: usize = 20_000;
const TEAMS: usize = 50;
/// Commits that it has had.
const COMMITS: usize = 1_000;
/// The tag that every app has at first.
const FIRST: &str = "1.0.0";

type Text = fn(usize) -> String;

/// Files beside the Deployments: how many apps have one, its name, and what it holds.
const BESIDE: [(usize, &str, Text); 6] = [
    (4_000, "service.yaml", service),
    (2_000, "kustomization.yaml", kustomization),
    (3_000, "config.yaml", config),
    (2_500, "README.md", readme),
    (2_500, "src/main.go", source),
    (1_000, "src/server_test.go", source),
];

pub(crate) fn name(app: usize) -> String {
    format!("app-{app:04}")
}

pub(crate) fn namespace(app: usize) -> String {
    format!("team-{:02}", app % TEAMS)
}

fn folder(app: usize) -> String {
    format!("apps/{}/{}", namespace(app), name(app))
}

/// Where the app's image stands.
pub(crate) fn manifest(app: usize) -> String {
    format!("{}/deployment.yaml", folder(app))
}

pub(crate) fn image(app: usize, tag: &str) -> String {
    format!("registry.example.com/{}/{}:{tag}", namespace(app), name(app))
}

/// A repository on the server, packed as a server packs one.
pub(crate) fn create(server: &GitServer) -> BareRepo {
    let manifests = (0..APPS).map(|app| (manifest(app), deployment(app, FIRST)));
    let beside = BESIDE.iter().flat_map(|(count, name, text)| {
        (0..*count).map(move |n| n * APPS / count).map(move |app| (format!("{}/{name}", folder(app)), text(app)))
    });
    let files: Vec<(String, String)> = manifests.chain(beside).collect();
    assert_eq!(files.len(), FILES);
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect();
    let repo = server.create("fleet", &files);
    let mut import = git();
    import.arg("--git-dir").arg(&repo.path).args(["fast-import", "--quiet", "--date-format=now"]);
    run(&mut import, history().as_bytes());
    repo.git(&["gc", "--quiet"]);
    repo
}

/// People's commits of a line each.
fn history() -> String {
    let mut stream = String::new();
    for n in 1..COMMITS {
        let app = n * 7 % APPS;
        let (text, message) = (format!("{}\nChanged {n} times.\n", readme(app)), format!("Describe {}\n", name(app)));
        let from = if n == 1 { "from refs/heads/main^0\n" } else { "" };
        write!(
            stream,
            "commit refs/heads/main\ncommitter Ada <ada@example.test> now\ndata {}\n{message}\n{from}M 100644 inline \
             {}/README.md\ndata {}\n{text}\n",
            message.len(),
            folder(app - app % 2),
            text.len()
        )
        .unwrap();
    }
    stream
}

/// The app's manifest.
pub(crate) fn deployment(app: usize, tag: &str) -> String {
    let (name, namespace, image, mut words) = (name(app), namespace(app), image(app, tag), Words::of(app));
    let env: String = (0..6)
        .map(|n| {
            format!("            - name: {}_{n}\n              value: {}\n", words.next().to_uppercase(), words.next())
        })
        .collect();
    format!(
        "# {name}: {}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    app.kubernetes.io/name: {name}
    app.kubernetes.io/component: {}
    app.kubernetes.io/part-of: {}
  annotations:
    supercargo.dev/policy: minor
    contact: {namespace}@example.com
spec:
  replicas: {}
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      app.kubernetes.io/name: {name}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: {name}
        team: {namespace}
      annotations:
        prometheus.io/scrape: \"true\"
        prometheus.io/port: \"8080\"
    spec:
      serviceAccountName: {name}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65534
      containers:
        - name: app
          image: {image}
          ports:
            - name: http
              containerPort: 8080
          env:
{env}            - name: DATABASE_URL
              valueFrom:
                secretKeyRef:
                  name: {name}-database
                  key: url
          resources:
            requests:
              cpu: {}m
              memory: 128Mi
            limits:
              memory: 256Mi
          livenessProbe:
            httpGet:
              path: /healthz
              port: http
            periodSeconds: 10
          readinessProbe:
            httpGet:
              path: /readyz
              port: http
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
          volumeMounts:
            - name: config
              mountPath: /etc/app
      volumes:
        - name: config
          configMap:
            name: {name}
",
        words.sentence(8),
        words.next(),
        words.next(),
        1 + app % 4,
        50 + app % 10 * 25,
    )
}

fn service(app: usize) -> String {
    let (name, namespace) = (name(app), namespace(app));
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  labels:\n    \
         app.kubernetes.io/name: {name}\nspec:\n  selector:\n    app.kubernetes.io/name: {name}\n  ports:\n    - name: \
         http\n      port: 80\n      targetPort: http\n"
    )
}

/// Of the apps that have one, all have a Service; some have a ConfigMap that deployers leave to another tool.
fn kustomization(app: usize) -> String {
    format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: {}\nresources:\n  - \
         deployment.yaml\n  - service.yaml\n",
        namespace(app)
    )
}

fn config(app: usize) -> String {
    let (name, namespace, mut words) = (name(app), namespace(app), Words::of(APPS + app));
    let mut text =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\ndata:\n");
    for _ in 0..10 + app % 20 {
        let (key, value) = (words.next(), words.sentence(3));
        writeln!(text, "  {key}.{}: \"{value}\"", words.number()).unwrap();
    }
    text.push_str("  app.properties: |\n");
    for _ in 0..10 + app % 30 {
        writeln!(text, "    {}.{} = {}", words.next(), words.next(), words.number()).unwrap();
    }
    text
}

fn readme(app: usize) -> String {
    let mut words = Words::of(2 * APPS + app);
    let mut text = format!("# {}\n", name(app));
    for _ in 0..3 + app % 6 {
        write!(text, "\n## {}\n\n{}.\n{}.\n", words.sentence(3), words.sentence(30), words.sentence(20)).unwrap();
    }
    text
}

fn source(app: usize) -> String {
    let mut words = Words::of(3 * APPS + app);
    let mut text = format!("// Package main is {}.\npackage main\n", name(app));
    for _ in 0..10 + app % 30 {
        let (function, a, b) = (words.sentence(2).replace(' ', "_"), words.next(), words.next());
        write!(
            text,
            "\n// {function}: {}.\nfunc {function}({a}a, {b}b int) (int, error) {{\n\tif {a}a > {} {{\n\t\treturn 0, \
             errors.New(\"{}\")\n\t}}\n\treturn {a}a * {b}b, nil\n}}\n",
            words.sentence(9),
            words.number(),
            words.sentence(5)
        )
        .unwrap();
    }
    text
}

/// Words that are the same in every run, and differ from file to file.
struct Words(u64);

impl Words {
    fn of(seed: usize) -> Self {
        Self(seed as u64 + 1)
    }

    fn number(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % 10_000
    }

    fn next(&mut self) -> String {
        const SYLLABLES: [&str; 20] = [
            "ca", "ro", "li", "ne", "ta", "mo", "si", "du", "pe", "ran", "ko", "ver", "mi", "sal", "to", "gen", "ba",
            "lu", "fer", "no",
        ];
        (0..2 + self.number() % 2).map(|_| SYLLABLES[self.number() as usize % SYLLABLES.len()]).collect()
    }

    fn sentence(&mut self, words: usize) -> String {
        (0..words).map(|_| self.next()).collect::<Vec<_>>().join(" ")
    }
}
