//! Random trees of kustomizations, the same for the same seed.
//!
//! A model of what each layer renders goes along, so that patches name what is there; it need not be exact: what does not
//! build is left out by the check.

use std::collections::BTreeMap;

use regex::Regex;

use super::{
    super::kills::Random,
    images::{Images, Pushed},
    yaml::{Writer, Yaml, json, map, text, under},
};

/// A repository with a base, its overlays and components.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) seed: u64,
    /// By path; every path begins with the folder of the tree.
    pub(crate) files: BTreeMap<String, String>,
    /// The folders of the kustomizations that nothing includes.
    pub(crate) leaves: Vec<String>,
}

/// A workload as the model has it.
#[derive(Debug, Clone)]
struct Work {
    kind: &'static str,
    /// Its first name, and the present one.
    names: [String; 2],
    /// The namespace that its manifest names.
    namespace: Option<String>,
    /// Containers, and init containers.
    lists: [Vec<Container>; 2],
    annotated: bool,
    app: String,
}

#[derive(Debug, Clone)]
struct Container {
    name: String,
    image: Option<String>,
}

impl Work {
    fn version(&self) -> &'static str {
        if self.kind == "CronJob" { "batch/v1" } else { "apps/v1" }
    }

    /// The pointer of its pod's spec.
    fn pod(&self) -> &'static str {
        if self.kind == "CronJob" { "/spec/jobTemplate/spec/template/spec" } else { "/spec/template/spec" }
    }
}

const LISTS: [&str; 2] = ["containers", "initContainers"];
const KINDS: [&str; 4] = ["Deployment", "StatefulSet", "DaemonSet", "CronJob"];

/// What a kustomization comes to, key by key.
struct Layer {
    folder: String,
    keys: BTreeMap<&'static str, Vec<Yaml>>,
    words: BTreeMap<&'static str, Yaml>,
    files: usize,
}

/// A tree on its way.
struct ImageExpr<'a> {
    random: Random,
    images: &'a Images,
    id: String,
    files: BTreeMap<String, String>,
    count: usize,
}

/// What stands in every name of a tree, and in no other.
pub(crate) fn id(seed: u64) -> String {
    format!("z{seed}z")
}

/// The tree of a seed.
pub(crate) fn make(seed: u64, images: &Images) -> Tree {
    let root = id(seed);
    let mut maker = ImageExpr { random: Random::new(seed), images, id: root.clone(), files: BTreeMap::new(), count: 0 };
    let mut works = Vec::new();
    let base = maker.base(&format!("{root}/base"), &mut works);
    let mut below = vec![base.clone()];
    if maker.one_in(10) {
        below.push(maker.base(&format!("{root}/other"), &mut works));
    }
    let levels = [0, 1, 1, 1, 2, 2, 2, 3, 3, 1][maker.below(10)];
    if levels == 0 {
        return Tree { seed, files: maker.files, leaves: below };
    }
    for level in 1..levels {
        let folder = format!("{root}/layer{level}");
        let components = maker.components(&folder, &mut works);
        maker.layer(&folder, &below, &components, &mut works, None);
        below = vec![folder];
    }
    let leaves = [1, 1, 2, 2, 2, 3][maker.below(6)];
    let components = maker.components(&format!("{root}/leaf"), &mut works);
    let leaves = (0..leaves).map(|leaf| {
        let folder = format!("{root}/leaf{leaf}");
        maker.layer(&folder, &below, &components, &mut works.clone(), (leaves > 1).then_some(leaf));
        folder
    });
    let leaves = leaves.collect();
    Tree { seed, files: maker.files, leaves }
}

impl ImageExpr<'_> {
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.random.below(end as u64)).expect("it is below a usize")
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.random.below(n) == 0
    }

    fn pick<'t, T: ?Sized>(&mut self, all: &[&'t T]) -> &'t T {
        all[self.below(all.len())]
    }

    fn next(&mut self) -> usize {
        self.count += 1;
        self.count
    }

    fn write(&mut self, path: String, documents: &[Yaml]) {
        let file = match (path.ends_with(".json"), documents) {
            (true, [one]) => json(one) + "\n",
            _ => Writer { random: &mut self.random }.file(documents),
        };
        self.files.insert(path, file);
    }

    /// One of the images that are there, at a tag that may have newer ones.
    fn pushed(&mut self) -> Pushed {
        let at = self.random.below(self.images.len() as u64);
        self.images.at(at)
    }

    fn image(&mut self) -> String {
        let pushed = self.pushed();
        match self.below(25) {
            0 => pushed.name,
            1 | 2 => format!("{}:{}@{}", pushed.name, pushed.tag, pushed.digest),
            3 => format!("{}@{}", pushed.name, pushed.digest),
            4 => format!("{}:latest", pushed.name),
            _ => format!("{}:{}", pushed.name, pushed.tag),
        }
    }

    /// A container as a manifest or a patch has it.
    fn container(&mut self, container: &Container) -> Yaml {
        let mut pairs = vec![("name".to_owned(), text(&*container.name))];
        if let Some(image) = &container.image {
            pairs.insert(self.below(2), ("image".to_owned(), text(&**image)));
        }
        if self.one_in(3) {
            let at = self.below(pairs.len() + 1);
            pairs.insert(at, ("env".to_owned(), self.env()));
        }
        if self.one_in(6) {
            pairs.push(("args".to_owned(), Yaml::List(vec![text("--image=kept"), text("-v")])));
        }
        Yaml::Map(pairs)
    }

    fn env(&mut self) -> Yaml {
        let name = self.pick(&["LEVEL", "IMAGE", "TAG"]);
        Yaml::List(vec![map([("name", text(name)), ("value", text(self.pick(&["1.0", "on", "x:1.0.0"])))])])
    }

    /// What a workload is asked for.
    fn wishes(&mut self, work: &Work) -> Vec<(String, Yaml)> {
        let mut all = Vec::new();
        let mut add = |key: &str, value: &str| all.push((format!("supercargo.dev/{key}"), text(value)));
        if !self.one_in(8) {
            add("policy", self.pick(&["patch", "minor", "minor", "minor", "major", "never"]));
        }
        if self.one_in(4)
            && let Some(one) = work.lists.iter().flatten().next()
        {
            add(&format!("policy.{}", one.name), self.pick(&["patch", "never", "major"]));
        }
        if self.one_in(2) {
            add("init-containers", self.pick(&["all", "all", "none", "same"]));
        }
        if self.one_in(15) {
            add("suspend", self.pick(&["true", "false"]));
        }
        all
    }

    fn work(&mut self, works: &[Work]) -> Work {
        let kind = KINDS[self.below(4)];
        let name = format!("{}{}-{}", self.pick(&["web", "api", "job"]), works.len(), self.id);
        let mut lists = [Vec::new(), Vec::new()];
        let names = [["main", "sidecar", "proxy"], ["setup", "migrate", "wait"]];
        let counts = [1 + self.below(3), [0, 0, 1, 2][self.below(4)]];
        for (index, count) in counts.into_iter().enumerate() {
            for name in names[index].iter().take(count) {
                let image = (!self.one_in(40)).then(|| self.image());
                lists[index].push(Container { name: (*name).to_owned(), image });
            }
        }
        // Some init containers run the image of a container.
        if self.one_in(4)
            && let ([first, ..], [init, ..]) = (&lists[0].clone()[..], &mut lists[1][..])
        {
            init.image = first.image.clone();
        }
        let namespace = self.one_in(6).then(|| "own".to_owned());
        let app = self.pick(&["shop", "shop", "mail"]).to_owned();
        Work { kind, names: [name.clone(), name], namespace, lists, annotated: false, app }
    }

    fn manifest(&mut self, work: &mut Work) -> Yaml {
        let mut metadata = vec![("name".to_owned(), text(&*work.names[0]))];
        if let Some(namespace) = &work.namespace {
            metadata.push(("namespace".to_owned(), text(&**namespace)));
        }
        metadata.push(("labels".to_owned(), map([("app", text(&*work.app))])));
        let wishes = self.wishes(work);
        work.annotated = !wishes.is_empty();
        if work.annotated {
            metadata.push(("annotations".to_owned(), Yaml::Map(wishes)));
        }
        let mut pod = Vec::new();
        for (list, containers) in LISTS.iter().zip(&work.lists.clone()) {
            if !containers.is_empty() {
                let items = containers.iter().map(|container| self.container(container)).collect();
                pod.insert(self.below(pod.len() + 1), ((*list).to_owned(), Yaml::List(items)));
            }
        }
        let mut spec = vec![];
        if work.kind == "CronJob" {
            spec.push(("schedule".to_owned(), text("0 3 * * *")));
        } else if work.kind != "DaemonSet" {
            spec.push(("replicas".to_owned(), Yaml::Bare("2")));
        }
        let inner = under(&work.pod()["/spec".len()..], Yaml::Map(pod));
        let Yaml::Map(inner) = inner else { unreachable!("a path of keys") };
        spec.extend(inner);
        let head = [("apiVersion", text(work.version())), ("kind", text(work.kind))];
        let body = [("metadata", Yaml::Map(metadata)), ("spec", Yaml::Map(spec))];
        map(head.into_iter().chain(body))
    }

    /// A folder with workloads of its own.
    fn base(&mut self, folder: &str, works: &mut Vec<Work>) -> String {
        let mut layer = Layer::new(folder);
        let count = [1, 1, 2, 2, 3][self.below(5)];
        let first = works.len();
        let mut documents = Vec::new();
        for _ in 0..count {
            let mut work = self.work(works);
            // A name without a host that an entry of the same kustomization gives one.
            if self.one_in(6)
                && let Some(container) = work.lists[0].first_mut()
            {
                let placeholder = format!("image-{}", self.id);
                container.image = Some(format!("{placeholder}:dev"));
                let pushed = self.pushed();
                let entry = [("name", placeholder), ("newName", pushed.name), ("newTag", pushed.tag)];
                layer.add("images", map(entry.map(|(key, value)| (key, text(value)))));
            }
            documents.push(self.manifest(&mut work));
            works.push(work);
        }
        match self.one_in(2) {
            true => {
                self.write(format!("{folder}/all.yaml"), &documents);
                layer.add("resources", text("all.yaml"));
            }
            false => {
                for (index, document) in documents.iter().enumerate() {
                    self.write(format!("{folder}/w{index}.yaml"), std::slice::from_ref(document));
                    layer.add("resources", text(format!("w{index}.yaml")));
                }
            }
        }
        let busy = self.one_in(3);
        let mut own = works.split_off(first);
        self.fill(&mut layer, &mut own, busy, None);
        works.append(&mut own);
        self.finish(layer, false);
        folder.to_owned()
    }

    fn components(&mut self, folder: &str, works: &mut Vec<Work>) -> Vec<String> {
        let count = [0, 0, 0, 1, 1, 2][self.below(6)];
        (0..count)
            .map(|index| {
                let folder = format!("{folder}-part{index}");
                let mut layer = Layer::new(&folder);
                if self.one_in(6) {
                    self.own_work(&mut layer, works);
                }
                self.fill(&mut layer, works, true, None);
                if layer.keys.is_empty() && layer.words.is_empty() {
                    layer.set("commonAnnotations", map([("team", text("x"))]));
                }
                self.finish(layer, true);
                folder
            })
            .collect()
    }

    /// One more workload, in a layer or a component.
    fn own_work(&mut self, layer: &mut Layer, works: &mut Vec<Work>) {
        let mut work = self.work(works);
        work.names = [format!("{}x{}", work.names[0], self.next()), String::new()];
        work.names[1] = work.names[0].clone();
        let document = self.manifest(&mut work);
        self.write(format!("{}/more.yaml", layer.folder), &[document]);
        layer.add("resources", text("more.yaml"));
        works.push(work);
    }

    fn layer(
        &mut self,
        folder: &str,
        below: &[String],
        components: &[String],
        works: &mut Vec<Work>,
        leaf: Option<usize>,
    ) {
        let mut layer = Layer::new(folder);
        let relative = |other: &String| text(format!("../{}", other.rsplit('/').next().unwrap_or_default()));
        let key = if self.one_in(20) { "bases" } else { "resources" };
        below.iter().for_each(|below| layer.add(key, relative(below)));
        components.iter().for_each(|component| layer.add("components", relative(component)));
        if self.one_in(10) && leaf.is_none() {
            self.own_work(&mut layer, works);
        }
        let busy = !self.one_in(6);
        self.fill(&mut layer, works, busy, leaf);
        self.finish(layer, false);
    }

    /// What a kustomization does besides what it includes. Sibling leaves have names of their own.
    fn fill(&mut self, layer: &mut Layer, works: &mut Vec<Work>, busy: bool, leaf: Option<usize>) {
        if busy {
            for _ in 0..[0, 0, 1, 1, 2][self.below(5)] {
                self.patch(layer, works);
            }
        }
        if let Some(leaf) = leaf {
            match self.one_in(2) {
                true => layer.set("namespace", text(format!("n{leaf}-{}", self.id))),
                false => self.rename(layer, works, "nameSuffix", &format!("-l{leaf}")),
            }
        } else if self.one_in(8) {
            layer.set("namespace", text(format!("n{}", self.next())));
        }
        if !busy {
            return;
        }
        if self.one_in(9) {
            self.rename(layer, works, "namePrefix", "p-");
        }
        if self.one_in(7) {
            let mut labels = vec![("pairs".to_owned(), map([("tier", text("x")), ("app", text("shop"))]))];
            for key in ["includeSelectors", "includeTemplates"] {
                if self.one_in(4) {
                    labels.push((key.to_owned(), Yaml::Bare("true")));
                }
            }
            layer.add("labels", Yaml::Map(labels));
            works.iter_mut().for_each(|work| work.app = "shop".to_owned());
        }
        if self.one_in(7) {
            let policy = self.pick(&["minor", "patch", "major"]);
            let pairs = [("team", "x"), ("supercargo.dev/policy", policy)];
            let from = self.below(2);
            layer.set("commonAnnotations", map(pairs[from..].iter().map(|(key, value)| (*key, text(*value)))));
            works.iter_mut().for_each(|work| work.annotated = true);
        }
        if self.one_in(10) {
            let literals = Yaml::List(vec![text("A=x:1.0.0"), text("B=2")]);
            let name = format!("settings{}-{}", self.next(), self.id);
            layer.add("configMapGenerator", map([("name", text(name)), ("literals", literals)]));
        }
        if self.one_in(10)
            && let Some(work) = works.first()
        {
            let replicas = [("name", text(&*work.names[1])), ("count", Yaml::Bare("3"))];
            if matches!(work.kind, "Deployment" | "StatefulSet") {
                layer.add("replicas", map(replicas));
            }
        }
        if self.one_in(10) {
            self.patch_late(layer, works);
        }
        for _ in 0..[0, 0, 0, 1, 1, 2][self.below(6)] {
            self.entry(layer, works);
        }
        if self.one_in(12) {
            self.replacement(layer, works);
        }
        if self.one_in(8) {
            self.transformer(layer, works);
        }
    }

    /// A transformer in a file of its own, which comes after all else.
    fn transformer(&mut self, layer: &mut Layer, works: &mut [Work]) {
        let (kind, rest) = match self.below(4) {
            0 | 1 => {
                let Some(entry) = self.entry_of(works) else { return };
                ("ImageTagTransformer", vec![("imageTag", entry)])
            }
            2 => {
                let (indices, target) = self.target(works, true);
                let (Some(inner), Some(target)) = (self.operations(works, &indices), target) else { return };
                ("PatchTransformer", vec![("target", target), ("patch", Yaml::Inner(Box::new(inner)))])
            }
            _ => {
                works.iter_mut().for_each(|work| work.names[1] = format!("t-{}", work.names[1]));
                let field = Yaml::List(vec![map([("path", text("metadata/name"))])]);
                ("PrefixTransformer", vec![("prefix", text("t-")), ("fieldSpecs", field)])
            }
        };
        let name = format!("transformer{}", self.next());
        let head = [("apiVersion", text("builtin")), ("kind", text(kind)), ("metadata", map([("name", text(&*name))]))];
        self.write(format!("{}/{name}.yaml", layer.folder), &[map(head.into_iter().chain(rest))]);
        layer.add("transformers", text(format!("{name}.yaml")));
    }

    fn rename(&mut self, layer: &mut Layer, works: &mut Vec<Work>, key: &'static str, word: &str) {
        layer.set(key, text(word));
        for work in works {
            let name = &work.names[1];
            work.names[1] = if key == "namePrefix" { format!("{word}{name}") } else { format!("{name}{word}") };
        }
    }

    /// An entry of `images`.
    fn entry(&mut self, layer: &mut Layer, works: &mut [Work]) {
        let entry = self.entry_of(works);
        entry.into_iter().for_each(|entry| layer.add("images", entry));
    }

    fn entry_of(&mut self, works: &mut [Work]) -> Option<Yaml> {
        let all = works.iter().flat_map(|work| work.lists.iter().flatten());
        let names: Vec<String> = all.filter_map(|c| Some(name_of(c.image.as_deref()?).to_owned())).collect();
        if names.is_empty() {
            return None;
        }
        let own = &names[self.below(names.len())];
        let name = match self.below(12) {
            0 => format!("{}.*", &own[..own.len() - 2]),
            1 => format!(".*/{}", own.rsplit('/').next().unwrap_or_default()),
            2 => own.replacen("team", "(team|lib)", 1),
            3 => format!("{own}:1.0.0"),
            _ => own.clone(),
        };
        let pattern = format!("^{name}(:[a-zA-Z0-9_.{{}}-]*)?(@sha256:[a-zA-Z0-9_.{{}}-]*)?$");
        let pattern = Regex::new(&pattern).ok()?;
        let new = self.pushed();
        let mut pairs = vec![("name", name)];
        let moves = self.one_in(3);
        if moves {
            let tag = if self.one_in(15) { format!(":{}", new.tag) } else { String::new() };
            pairs.push(("newName", format!("{}{tag}", new.name)));
        }
        // Tags of one repository fit another only by luck, so the entry keeps to one.
        let tag = self.images.tag_of(if moves { &new.name } else { own }, self.random.below(1 << 20));
        match self.below(12) {
            0 => {
                pairs.push(("newTag", tag.tag));
                pairs.push(("digest", tag.digest));
            }
            1 => pairs.push(("digest", tag.digest)),
            2 if moves => {}
            3 => pairs.push(("newTag", String::new())),
            4 if self.one_in(2) => pairs.push(("tagSuffix", "-x".to_owned())),
            _ => pairs.push(("newTag", tag.tag)),
        }
        let to = pairs.iter().find(|(key, _)| *key == "newName").map(|(_, name)| name.clone());
        for container in works.iter_mut().flat_map(|work| work.lists.iter_mut().flatten()) {
            if let (Some(image), Some(to)) = (&mut container.image, &to)
                && pattern.is_match(image)
            {
                *image = format!("{}:1.0.0", name_of(to));
            }
        }
        let shift = self.below(pairs.len());
        pairs.rotate_left(shift);
        Some(map(pairs.into_iter().map(|(key, value)| (key, text(value)))))
    }

    /// Something that is copied from one object to another.
    fn replacement(&mut self, layer: &mut Layer, works: &mut [Work]) {
        let Some(work) = works.first() else { return };
        let source =
            map([("kind", text(work.kind)), ("name", text(&*work.names[1])), ("fieldPath", text("metadata.name"))]);
        let path = match self.one_in(6) {
            true => format!("{}.containers.0.image", &work.pod()[1..].replace('/', ".")),
            false => "metadata.annotations.copy".to_owned(),
        };
        let select = map([("kind", text(work.kind)), ("name", text(&*work.names[1]))]);
        let options = map([("create", Yaml::Bare("true"))]);
        let target = map([("select", select), ("fieldPaths", Yaml::List(vec![text(path)])), ("options", options)]);
        layer.add("replacements", map([("source", source), ("targets", Yaml::List(vec![target]))]));
    }

    /// The workloads that a patch is for, and its target; none for a patch that names its one object.
    fn target(&mut self, works: &[Work], must: bool) -> (Vec<usize>, Option<Yaml>) {
        let one = self.below(works.len());
        let work = works[one].clone();
        let name = work.names[self.below(2)].clone();
        let pairs: Vec<(&str, String)> = match self.below(if must { 7 } else { 10 }) {
            0 | 1 => vec![("kind", work.kind.to_owned()), ("name", name)],
            2 => vec![("kind", work.kind.to_owned())],
            3 => vec![("name", format!("{}.*", &name[..name.len() - 2]))],
            4 => vec![("kind", work.kind.to_owned()), ("labelSelector", format!("app={}", work.app))],
            5 => vec![("version", "v1".to_owned()), ("kind", work.kind.to_owned()), ("name", name)],
            6 => vec![("kind", format!("{}|Nothing", work.kind)), ("labelSelector", "app".to_owned())],
            _ => Vec::new(),
        };
        if pairs.is_empty() {
            return (vec![one], None);
        }
        let get = |key| pairs.iter().find(|(own, _)| *own == key).map(|(_, value)| value.as_str());
        let is_it = |other: &Work| {
            let kind = get("kind").is_none_or(|kind| kind.trim_end_matches("|Nothing") == other.kind);
            let name = get("name").is_none_or(|name| match name.strip_suffix(".*") {
                Some(start) => other.names.iter().any(|own| own.starts_with(start)),
                None => other.names.iter().any(|own| own == name),
            });
            kind && name && get("labelSelector").is_none_or(|s| s == "app" || s == format!("app={}", other.app))
        };
        let all: Vec<usize> = (0..works.len()).filter(|index| is_it(&works[*index])).collect();
        let alike = all.iter().all(|index| works[*index].pod() == work.pod());
        let pairs = if alike { pairs } else { vec![("kind", work.kind.to_owned()), ("name", work.names[0].clone())] };
        let all = if alike { all } else { vec![one] };
        (all, Some(map(pairs.into_iter().map(|(key, value)| (key, text(value))))))
    }

    fn patch(&mut self, layer: &mut Layer, works: &mut Vec<Work>) {
        let strategic = self.one_in(2);
        let (indices, target) = self.target(works, !strategic);
        let inner = match strategic {
            true => self.strategic(works, &indices),
            false => self.operations(works, &indices),
        };
        let Some(inner) = inner else { return };
        // It comes before `patches`: what these add would be there twice on the way.
        let is_late = layer.keys.contains_key("patches") && format!("{inner:?}").contains("added");
        if strategic && target.is_none() && !is_late && self.one_in(5) {
            let item = match self.one_in(2) {
                true => Yaml::Inner(Box::new(inner)),
                false => text(self.patch_file(layer, inner)),
            };
            return layer.add("patchesStrategicMerge", item);
        }
        let patch = self.patch_item(layer, inner, target);
        layer.add("patches", patch);
    }

    fn patch_late(&mut self, layer: &mut Layer, works: &mut [Work]) {
        let index = self.below(works.len());
        let Some(inner) = self.operations(works, &[index]) else { return };
        let work = &works[index];
        let (group, version) = work.version().split_once('/').expect("a group");
        let name = work.names[self.below(2)].clone();
        let target = [("group", group), ("version", version), ("kind", work.kind), ("name", &*name)];
        let patch = self.patch_item(layer, inner, Some(map(target.map(|(key, value)| (key, text(value))))));
        layer.add("patchesJson6902", patch);
    }

    fn patch_item(&mut self, layer: &mut Layer, inner: Yaml, target: Option<Yaml>) -> Yaml {
        let mut pairs: Vec<(&str, Yaml)> = target.map(|target| ("target", target)).into_iter().collect();
        let own = match self.one_in(2) {
            true => ("path", text(self.patch_file(layer, inner))),
            false => ("patch", Yaml::Inner(Box::new(inner))),
        };
        pairs.insert(self.below(pairs.len() + 1), own);
        map(pairs)
    }

    fn patch_file(&mut self, layer: &mut Layer, inner: Yaml) -> String {
        layer.files += 1;
        let ending = if self.one_in(8) { "json" } else { "yaml" };
        let name = format!("patch{}.{ending}", layer.files);
        self.write(format!("{}/{name}", layer.folder), &[inner]);
        name
    }

    /// A partial object.
    fn strategic(&mut self, works: &mut Vec<Work>, indices: &[usize]) -> Option<Yaml> {
        let first = works[*indices.first()?].clone();
        let mut metadata = vec![("name".to_owned(), text(&*first.names[0]))];
        if let Some(namespace) = &first.namespace {
            metadata.push(("namespace".to_owned(), text(&**namespace)));
        }
        if self.one_in(4) {
            let mut wishes = self.wishes(&first);
            let is_free = wishes.iter().all(|(key, _)| key != "supercargo.dev/policy.main");
            if is_free && self.one_in(5) {
                wishes.push(("supercargo.dev/policy.main".to_owned(), Yaml::Bare("null")));
            }
            if !wishes.is_empty() {
                metadata.push(("annotations".to_owned(), Yaml::Map(wishes)));
            }
        }
        let list = usize::from(self.one_in(4) && !first.lists[1].is_empty());
        let mut items = Vec::new();
        let mut after: Vec<Container> = Vec::new();
        let mut deleted: Vec<String> = Vec::new();
        for _ in 0..[1, 1, 1, 2, 2, 3][self.below(6)] {
            let there = &first.lists[list];
            let old = there[self.below(there.len().max(1)).min(there.len().saturating_sub(1))..].first().cloned();
            let Some(old) = old else { break };
            if after.iter().chain(&after).any(|one| one.name == old.name) || deleted.contains(&old.name) {
                continue;
            }
            match self.below(16) {
                0..5 => {
                    let image = Some(self.image());
                    let new = Container { image, ..old };
                    items.push(self.container(&new));
                    after.push(new);
                }
                5..9 => {
                    items.push(map([("name", text(&*old.name)), ("env", self.env())]));
                    after.push(old);
                }
                9..12 => {
                    let new = Container { name: format!("added{}", self.next()), image: Some(self.image()) };
                    items.push(self.container(&new));
                    after.push(new);
                }
                12 if there.len() > deleted.len() + 1 => {
                    items.push(map([("name", text(&*old.name)), ("$patch", text("delete"))]));
                    deleted.push(old.name);
                }
                13 => {
                    let new = Container { image: Some(self.image()), ..old };
                    let Yaml::Map(mut pairs) = self.container(&new) else { continue };
                    pairs.push(("$patch".to_owned(), text("replace")));
                    items.push(Yaml::Map(pairs));
                    after.push(new);
                }
                _ => {
                    items.push(map([("name", text(&*old.name))]));
                    after.push(old);
                }
            }
        }
        let mut pod = Vec::new();
        let head = |metadata: &Vec<(String, Yaml)>| {
            let head = [("apiVersion", text(first.version())), ("kind", text(first.kind))];
            map(head.into_iter().chain([("metadata", Yaml::Map(metadata.clone()))]))
        };
        if self.one_in(25) && indices.len() == 1 && works.len() > 1 {
            works.remove(indices[0]);
            let Yaml::Map(mut pairs) = head(&metadata) else { unreachable!("a mapping") };
            pairs.push(("$patch".to_owned(), text("delete")));
            return Some(Yaml::Map(pairs));
        }
        if self.one_in(40) && !format!("{items:?}").contains("$patch") {
            for index in indices {
                works[*index].lists = [Vec::new(), Vec::new()];
            }
            pod.push(("$patch".to_owned(), text("replace")));
        }
        if self.one_in(40) && list == 0 {
            pod.push((LISTS[1].to_owned(), Yaml::Bare("null")));
            indices.iter().for_each(|index| works[*index].lists[1].clear());
        }
        if !items.is_empty() {
            if self.one_in(30) && !format!("{items:?}").contains("$patch") {
                items.push(map([("$patch", text("replace"))]));
                for index in indices {
                    works[*index].lists[list].clear();
                }
            }
            pod.push((LISTS[list].to_owned(), Yaml::List(items)));
        }
        if self.one_in(5) || pod.is_empty() {
            pod.push(("terminationGracePeriodSeconds".to_owned(), Yaml::Bare("30")));
        }
        for index in indices {
            let work = &mut works[*index];
            work.annotated |= metadata.iter().any(|(key, _)| key == "annotations");
            let own = &mut work.lists[list];
            own.retain(|one| !deleted.contains(&one.name) && after.iter().all(|new| new.name != one.name));
            own.splice(0..0, after.iter().cloned());
        }
        let Yaml::Map(mut pairs) = head(&metadata) else { unreachable!("a mapping") };
        pairs.push(("spec".to_owned(), under(&first.pod()["/spec".len()..], Yaml::Map(pod))));
        Some(Yaml::Map(pairs))
    }

    /// Operations of RFC 6902.
    fn operations(&mut self, works: &mut [Work], indices: &[usize]) -> Option<Yaml> {
        let first = works[*indices.first()?].clone();
        let mut all = Vec::new();
        for _ in 0..[1, 1, 2, 3][self.below(4)] {
            let shortest = |list: usize| indices.iter().map(|index| works[*index].lists[list].len()).min().unwrap_or(0);
            let list = usize::from(self.one_in(4) && shortest(1) > 0);
            let count = shortest(list);
            if count == 0 {
                continue;
            }
            let at = self.below(count);
            let pointer = format!("{}/{}", first.pod(), LISTS[list]);
            let name = format!("added{}", self.next());
            let new = Container { name, image: Some(self.image()) };
            let named = |op: &str, path: String, value: Option<Yaml>| {
                let value = value.map(|value| ("value", value));
                map([("op", text(op)), ("path", text(path))].into_iter().chain(value))
            };
            let mut lists: Vec<&mut Vec<Container>> = Vec::new();
            let annotated = indices.iter().all(|index| works[*index].annotated);
            for (index, work) in works.iter_mut().enumerate() {
                if indices.contains(&index) {
                    lists.push(&mut work.lists[list]);
                }
            }
            all.push(match self.below(24) {
                0..9 => {
                    let op = if self.one_in(4) { "add" } else { "replace" };
                    lists.iter_mut().for_each(|list| list[at].image = new.image.clone());
                    named(op, format!("{pointer}/{at}/image"), new.image.map(text))
                }
                9..12 => {
                    lists.iter_mut().for_each(|list| list.push(new.clone()));
                    named("add", format!("{pointer}/-"), Some(self.container(&new)))
                }
                12 => {
                    lists.iter_mut().for_each(|list| list.insert(at, new.clone()));
                    named("add", format!("{pointer}/{at}"), Some(self.container(&new)))
                }
                13 if count > 1 => {
                    lists.iter_mut().for_each(|list| _ = list.remove(at));
                    named("remove", format!("{pointer}/{at}"), None)
                }
                14 => {
                    lists.iter_mut().for_each(|list| list[at] = new.clone());
                    named("replace", format!("{pointer}/{at}"), Some(self.container(&new)))
                }
                15 if self.one_in(2) => {
                    lists.iter_mut().for_each(|list| **list = vec![new.clone()]);
                    named("replace", pointer, Some(Yaml::List(vec![self.container(&new)])))
                }
                16 if annotated => {
                    let policy = self.pick(&["minor", "patch", "never"]);
                    named("add", "/metadata/annotations/supercargo.dev~1policy".to_owned(), Some(text(policy)))
                }
                17 => named("test", "/kind".to_owned(), Some(text(first.kind))),
                18 if count > 1 => {
                    let from = self.below(count);
                    lists.iter_mut().for_each(|list| {
                        let one = list.remove(from);
                        list.insert(at, one);
                    });
                    let from = ("from", text(format!("{pointer}/{from}")));
                    map([("op", text("move")), from, ("path", text(format!("{pointer}/{at}")))])
                }
                _ => named("add", format!("{pointer}/{at}/env"), Some(self.env())),
            });
        }
        (!all.is_empty()).then_some(Yaml::List(all))
    }

    /// Writes the kustomization.
    fn finish(&mut self, layer: Layer, component: bool) {
        let Layer { folder, keys, words, .. } = layer;
        let lists = keys.into_iter().map(|(key, list)| (key, Yaml::List(list)));
        let mut pairs: Vec<(&str, Yaml)> = lists.chain(words).collect();
        for end in (1..pairs.len()).rev() {
            let other = self.below(end + 1);
            pairs.swap(end, other);
        }
        if component || self.one_in(3) {
            let version = if component { "v1alpha1" } else { "v1beta1" };
            let kind = if component { "Component" } else { "Kustomization" };
            pairs.insert(0, ("kind", text(kind)));
            pairs.insert(0, ("apiVersion", text(format!("kustomize.config.k8s.io/{version}"))));
        }
        let name = self.pick(&["kustomization.yaml", "kustomization.yaml", "kustomization.yml", "Kustomization"]);
        self.write(format!("{folder}/{name}"), &[map(pairs)]);
    }
}

impl Layer {
    fn new(folder: &str) -> Self {
        Self { folder: folder.to_owned(), keys: BTreeMap::new(), words: BTreeMap::new(), files: 0 }
    }

    fn add(&mut self, key: &'static str, value: Yaml) {
        self.keys.entry(key).or_default().push(value);
    }

    fn set(&mut self, key: &'static str, value: Yaml) {
        self.words.insert(key, value);
    }
}

/// An image without its tag and digest.
fn name_of(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}
