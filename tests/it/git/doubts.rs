//! A place that several workloads share, where the way of one of them is in doubt or is not what it seems: it moves for
//! nobody, unless it is known what that does to each.

use crate::{
    git::{
        alone::{deployment, once},
        target::text,
    },
    support::{
        git_server::{BareRepo, GitServer},
        registry::Registry,
    },
};

/// What one round over files says, with `HOST` for the registry: its exit code, the row that begins so, and the repository.
struct Round {
    code: i32,
    table: String,
    repo: BareRepo,
    host: String,
    _server: GitServer,
}

impl Round {
    async fn of(files: &[(&str, &str)]) -> Self {
        let (registry, folder) = (Registry::start().await, tempfile::tempdir().unwrap());
        let server = GitServer::start().await;
        for image in ["team/web", "team/api"] {
            registry.push_tags(image, ["1.0.0", "1.1.0"]).await;
        }
        let texts: Vec<(&str, String)> =
            files.iter().map(|(path, text)| (*path, text.replace("HOST", &registry.host))).collect();
        let texts: Vec<(&str, &[u8])> = texts.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
        let repo = server.create("deploy", &texts);
        let (code, table, _) = once(folder.path(), &server.url("deploy"), &[]);
        Self { code, table, repo, host: registry.host.clone(), _server: server }
    }

    fn row(&self, of: &str) -> &str {
        assert!(!self.table.contains("report this") && !self.table.contains("after the edit"), "{}", self.table);
        let row = self.table.lines().find(|line| line.starts_with(of));
        row.unwrap_or_else(|| panic!("no row of {of}: {}", self.table))
    }

    /// That this is blocked, as the place is also that of another, for all these words; and that nothing was written.
    fn holds(&self, row: &str, words: &[&str]) {
        let own = self.row(row);
        assert!(self.code == 1 && own.contains(" blocked "), "{}", self.table);
        for words in words {
            assert!(own.contains(words), "{words}: {own}");
        }
        assert_eq!(self.repo.log().len(), 1, "{}", self.table);
    }
}

fn web() -> String {
    deployment("web", "HOST/team/web:1.0.0")
}

const BASE: &str = "resources: [web.yaml]\n";
const TEST: &str = "namespace: test\nresources: [../base]\n";

/// `prod` has a further entry for one version only, which gives another name: another version, and it is for it no more.
#[rstest::rstest]
// The wish is the same version of another name, and it cannot be written.
#[case("{name: 'HOST/team/web:1.0.0', newName: HOST/team/api}", " blocked ")]
// It can.
#[case("{name: 'HOST/team/web:1.0.0', newName: HOST/team/api, newTag: 1.0.0}", " update ")]
#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_held_by_an_entry_that_is_for_its_version_only(
    #[case] entry: &str,
    #[case] prod_is: &str,
    #[values("line", "entry", "component")] place: &str,
) {
    let prod = format!(
        "namespace: prod\nresources: [../base]\nimages:\n- {entry}\n- {{name: HOST/team/web, newTag: 1.1.0}}\n"
    );
    let (web, mut files) = (web(), vec![]);
    let images = "images: [{name: HOST/team/web, newTag: 1.0.0}]\n";
    let (base, component) = (format!("{BASE}{images}"), format!("kind: Component\n{images}"));
    let with_component = |text: &str| format!("{text}components: [../c]\n");
    let (test, prod_too) = (with_component(TEST), with_component(&prod));
    match place {
        "line" => files.extend([("base/kustomization.yaml", BASE), ("test/kustomization.yaml", TEST)]),
        "entry" => files.extend([("base/kustomization.yaml", &*base), ("test/kustomization.yaml", TEST)]),
        _ => files.extend([
            ("base/kustomization.yaml", BASE),
            ("test/kustomization.yaml", &*test),
            ("c/kustomization.yaml", &*component),
        ]),
    }
    files.extend([
        ("base/web.yaml", &*web),
        ("prod/kustomization.yaml", if place == "component" { &*prod_too } else { &*prod }),
    ]);
    let round = Round::of(&files).await;
    let test = round.row("test/Deployment/web");
    assert!(
        test.contains(" blocked ") && test.contains("prod/Deployment/web (container web), which is to have"),
        "{test}"
    );
    assert!(round.row("prod/Deployment/web").contains(prod_is), "{}", round.table);
    for (path, before) in &files {
        let new = text(&round.repo, path);
        let before = before.replace("HOST", &round.host);
        match *path == "prod/kustomization.yaml" && prod_is == " update " {
            true => assert_eq!(new, before.replace("newTag: 1.0.0", "newTag: 1.1.0")),
            false => assert_eq!(new, before, "{path}"),
        }
    }
}

/// What may give `prod` another image than its base, or something else to wish for, in ways that are not followed.
#[rstest::rstest]
#[case::a_selector(
    "patches:\n- target: {labelSelector: 'n > 1'}\n  patch: |-\n    - {op: replace, path: /spec/template/spec/containers/0/image, value: 'HOST/team/web:1.0.0'}\n",
    "whether this patch is for the workload"
)]
#[case::a_selector_and_a_policy(
    "patches:\n- target: {labelSelector: 'n > 1'}\n  patch: |-\n    - {op: add, path: /metadata/annotations/supercargo.dev~1policy, value: never}\n",
    "whether this patch is for the workload"
)]
#[case::all_of_the_pod(
    "patches:\n- target: {name: web}\n  patch: |-\n    - {op: replace, path: /spec/template/spec, value: {containers: [{name: web, image: 'HOST/team/web:1.0.0'}]}}\n",
    "changes more than one value"
)]
#[case::a_copy(
    "patches:\n- target: {name: web}\n  patch: |-\n    - {op: copy, from: /spec/template/spec/containers/0, path: /spec/template/spec/containers/0}\n",
    "changes more than one value"
)]
#[case::a_part_that_a_replacement_sets(
    "replacements:\n- source: {kind: Deployment, name: web, fieldPath: metadata.name}\n  targets:\n  - select: {kind: Deployment}\n    fieldPaths: [spec.template.spec.containers.0.image]\n    options: {delimiter: ':', index: 5}\n",
    "a replacement sets this image"
)]
#[case::a_replacement_that_leaves_some_out(
    "replacements:\n- source: {kind: Deployment, name: web, fieldPath: metadata.name}\n  targets:\n  - select: {kind: Deployment}\n    reject: [{name: web}]\n    fieldPaths: [spec.template.spec.containers.0.image]\n",
    "a replacement sets this image"
)]
#[case::annotations_that_a_replacement_sets(
    "replacements:\n- source: {kind: Deployment, name: web, fieldPath: metadata.name}\n  targets:\n  - select: {kind: Deployment}\n    fieldPaths: ['metadata.annotations.[supercargo.dev/policy]']\n",
    "a replacement sets this image, or what the workload is called or asked for"
)]
#[case::an_unreadable_patch("patches: [{target: {kind: Deployment}, patch: '['}]\n", "this patch cannot be read whole")]
#[case::another_name(
    "patches:\n- {target: {name: web}, options: {allowNameChange: true}, patch: '[{op: test, path: /a, value: b}]'}\n",
    "may change the name or the kind"
)]
#[case::a_transformer("transformers: [../elsewhere]\n", "this transformer could not be read")]
#[case::a_label_that_may_be_set(
    "patches:\n- target: {labelSelector: 'n > 1'}\n  patch: '[{op: add, path: /metadata/labels, value: {tier: x}}]'\n- target: {labelSelector: tier=x}\n  patch: |-\n    - {op: replace, path: /spec/template/spec/containers/0/image, value: 'HOST/team/web:1.0.0'}\n",
    "whether this patch is for the workload"
)]
#[case::a_label_of_an_object_that_may_be_merged(
    "patches:\n- target: {labelSelector: 'n > 1'}\n  patch: '{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, labels: {tier: x}}}'\n- target: {labelSelector: '!tier'}\n  patch: |-\n    - {op: replace, path: /spec/template/spec/containers/0/image, value: 'HOST/team/web:1.0.0'}\n",
    "whether this patch is for the workload"
)]
#[case::a_label_that_is_copied(
    "patches:\n- target: {name: web}\n  patch: '[{op: copy, from: /metadata/annotations, path: /metadata/labels}]'\n- target: {labelSelector: tier=x}\n  patch: |-\n    - {op: replace, path: /spec/template/spec/containers/0/image, value: 'HOST/team/web:1.0.0'}\n",
    "whether this patch is for the workload"
)]
#[case::an_annotation_that_a_replacement_sets(
    "transformers:\n- |-\n  apiVersion: builtin\n  kind: ReplacementTransformer\n  metadata: {name: r}\n  replacements:\n  - source: {kind: Deployment, name: web, fieldPath: metadata.name}\n    targets: [{select: {kind: Deployment}, fieldPaths: [metadata.annotations.tier], options: {create: true}}]\n- |-\n  apiVersion: builtin\n  kind: PatchTransformer\n  metadata: {name: p}\n  target: {annotationSelector: tier=web}\n  patch: '[{op: replace, path: /spec/template/spec/containers/0/image, value: HOST/team/web:1.0.0}]'\n",
    "this patch cannot be read whole"
)]
#[case::a_namespace("resources: [../base, ../ns]\n", "the Namespace prod has `supercargo.dev/policy")]
#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_held_by_one_whose_way_is_in_doubt(#[case] doubt: &str, #[case] why: &str) {
    let resources = if doubt.starts_with("resources") { "" } else { "resources: [../base]\n" };
    let prod = format!("namespace: prod\n{resources}{doubt}");
    let asks = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: prod, annotations: {{supercargo.dev/policy: {value}}}}}\n"
        )
    };
    let namespaces = [asks("minor"), asks("major")].join("---\n");
    let web = web();
    let mut files = vec![
        ("base/web.yaml", &*web),
        ("base/kustomization.yaml", BASE),
        ("test/kustomization.yaml", TEST),
        ("prod/kustomization.yaml", &*prod),
    ];
    if resources.is_empty() {
        files.extend([("ns/ns.yaml", &*namespaces), ("ns/kustomization.yaml", "resources: [ns.yaml]\n")]);
    }
    let round = Round::of(&files).await;
    round.holds("test/Deployment/web", &["prod/Deployment/web (container web), which is in doubt", why, "its overlay"]);
}

/// A further workload of `prod`, of which it is not known whether an entry of `images` there is for it.
#[rstest::rstest]
#[case::by_a_selector(
    "",
    "patches:\n- target: {name: api, labelSelector: 'n > 1'}\n  patch: |-\n    - {op: replace, path: /spec/template/spec/containers/0/image, value: 'HOST/team/web:1.0.0'}\n",
    "whether this patch is for the workload"
)]
#[case::by_a_container_of_a_selector(
    "",
    "patches:\n- target: {name: api, labelSelector: 'n > 1'}\n  patch: |-\n    - {op: add, path: /spec/template/spec/containers/-, value: {name: new, image: 'HOST/team/web:1.0.0'}}\n",
    "whether this patch is for the workload"
)]
#[case::by_all_of_a_pod(
    "",
    "patches:\n- target: {name: api}\n  patch: |-\n    - {op: replace, path: /spec/template/spec, value: {containers: [{name: web, image: 'HOST/team/web:1.0.0'}]}}\n",
    "changes more than one value"
)]
#[case::by_a_replacement_below(
    "replacements:\n- source: {kind: Deployment, name: api, fieldPath: metadata.name}\n  targets:\n  - select: {name: api}\n    fieldPaths: ['spec.template.spec.containers.[name=web].image']\n",
    "",
    "a replacement sets this image"
)]
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_held_by_one_that_it_may_be_for(#[case] base: &str, #[case] prod: &str, #[case] why: &str) {
    let (web, api) = (web(), deployment("api", "HOST/team/api:1.1.0").replace("minor", "never"));
    let base = format!("resources: [web.yaml, api.yaml]\n{base}");
    let images = "images: [{name: HOST/team/web, newTag: 1.0.0}, {name: HOST/team/api, newTag: 1.1.0}]\n";
    let prod = format!("namespace: prod\nresources: [../base]\n{images}{prod}");
    let files = [
        ("base/web.yaml", &*web),
        ("base/api.yaml", &*api),
        ("base/kustomization.yaml", &*base),
        ("prod/kustomization.yaml", &*prod),
    ];
    let round = Round::of(&files).await;
    round.holds("prod/Deployment/web", &["prod/Deployment/api (container ", "which is in doubt", why]);
}

/// What a kustomization that cannot be read takes in besides resources.
#[rstest::rstest]
#[case::a_component(
    "components: [../c]\n",
    "c/kustomization.yaml",
    "kind: Component\nimages: [{name: HOST/team/web, newTag: 1.0.0}]\n"
)]
#[case::a_patch(
    "patches: [{path: ../c/patch.yaml}]\n",
    "c/patch.yaml",
    "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {spec: {containers: [{name: web, image: 'HOST/team/web:1.0.0'}]}}}}\n"
)]
#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_held_by_a_kustomization_that_cannot_be_read(
    #[case] uses: &str,
    #[case] path: &str,
    #[case] place: &str,
) {
    let web = web();
    let (test, prod) = (format!("{TEST}{uses}"), format!("resources: [other.yaml]\n{uses}imageTags: [\n"));
    let files = [
        ("base/web.yaml", &*web),
        ("base/kustomization.yaml", BASE),
        ("test/kustomization.yaml", &*test),
        ("prod/kustomization.yaml", &*prod),
        ("prod/other.yaml", &*web),
        (path, place),
    ];
    let round = Round::of(&files).await;
    round.holds("test/Deployment/web", &["prod/kustomization.yaml:", "this kustomization cannot be read whole"]);
}

/// Where one of two containers is in doubt, the other is brought.
#[tokio::test(flavor = "multi_thread")]
async fn a_doubt_about_one_container_leaves_the_other_its_own_place() {
    let more = "      - {name: side, image: 'HOST/team/api:1.0.0'}\n";
    let patch = "patches:\n- target: {labelSelector: 'n > 1'}\n  patch: |-\n    - {op: replace, path: /spec/template/spec/containers/1/image, value: 'HOST/team/api:1.0.0'}\n";
    let (web, base) = (web() + more, format!("{BASE}{patch}"));
    let round = Round::of(&[("base/web.yaml", &*web), ("base/kustomization.yaml", &*base)]).await;
    assert!(round.row("Deployment/web  ").contains(" update "), "{}", round.table);
    assert!(round.table.contains("without the container side"), "{}", round.table);
    let new = web.replace("HOST", &round.host).replace("team/web:1.0.0", "team/web:1.1.0");
    assert_eq!(text(&round.repo, "base/web.yaml"), new);
}

/// Two overlays that render one workload, for a cluster each: what an edit makes of it counts in both.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_after_which_a_second_rendering_would_have_another_image_is_not_made() {
    let marked = "- name: web\n        image: HOST/team/web:1.0.0 # supercargo: minor";
    let web = web().replace("supercargo.dev/policy: minor", "");
    let web = web.replace("- {name: web, image: 'HOST/team/web:1.0.0'} # kept", marked);
    let second = "resources: [../base]\nimages: [{name: 'HOST/team/web:1.1.0', newName: HOST/team/api}]\n";
    let files = [
        ("base/web.yaml", &*web),
        ("base/kustomization.yaml", BASE),
        ("first/kustomization.yaml", "resources: [../base]\n"),
        ("second/kustomization.yaml", second),
    ];
    let round = Round::of(&files).await;
    assert!(round.code == 1 && round.table.contains(" blocked "), "{}", round.table);
    assert_eq!(round.repo.log().len(), 1, "{}", round.table);
}

/// The same, where one of them asks for something else.
#[rstest::rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_held_by_a_second_rendering_that_asks_for_something_else(#[values("first", "second")] keeps: &str) {
    let (web, overlay) = (web(), "resources: [../base]\n");
    let never = format!("{overlay}commonAnnotations: {{supercargo.dev/policy: never}}\n");
    let of = |name: &str| if name == keeps { &*never } else { overlay };
    let round = Round::of(&[
        ("base/web.yaml", &*web),
        ("base/kustomization.yaml", BASE),
        ("first/kustomization.yaml", of("first")),
        ("second/kustomization.yaml", of("second")),
        ("third/kustomization.yaml", "namespace: third\nresources: [../base]\n"),
    ])
    .await;
    let why = "Deployment/web (container web), which is in doubt (it is rendered more than once";
    round.holds("third/Deployment/web", &[why]);
}
