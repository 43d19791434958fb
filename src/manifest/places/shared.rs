//! Which workloads a place makes the image of: one line may be rendered for many.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::{
    FILE_KIND, Index, LocationEdit, Wanted,
    cell::{At, Cell},
    chains::Rendering,
    passing::{ImagesAt, Placed},
    patch::Ambiguity,
};
use crate::domain::workload::WorkloadId;

/// Annotations by their keys.
type Annotations = Arc<BTreeMap<String, String>>;

/// A container whose image a place makes.
#[derive(Debug, Clone)]
pub struct Sharer {
    /// The workload.
    pub workload: WorkloadId,
    /// The container's name.
    pub container: Arc<str>,
    /// Whether it stands under `initContainers`.
    pub init: bool,
    /// The annotations that concern us as the repository renders them, and as `Namespace/…` those of the Namespace; none if
    /// it does not render the workload.
    pub annotations: Option<Annotations>,
    /// Whether an entry of `images` is for its image only with the tag or digest that the place has now.
    pub by_version: bool,
    /// Why it is not known what an edit does to its image, or what is wished for it.
    pub ambiguity: Option<Arc<str>>,
}

/// The containers of each place.
#[derive(Debug, Default)]
pub struct Sharers {
    places: HashMap<(Arc<str>, At), Shared>,
    /// Those of which it is not known which entries of `images` of a file are for them, and these entries.
    of_entries: HashMap<Arc<str>, (HashSet<At>, Vec<Sharer>)>,
}

#[derive(Debug, Default)]
struct Shared {
    sharers: Vec<Sharer>,
    /// By which aliases they reach it.
    uses: HashSet<At>,
}

impl Sharers {
    /// Those whose image an edit changes.
    pub fn of<'s>(&'s self, path: &Arc<str>, edit: &LocationEdit) -> impl Iterator<Item = &'s Sharer> + use<'s> {
        let own = self.shared(path, edit).into_iter().flat_map(|shared| &shared.sharers);
        let of_entries = self.of_entries.get(path).filter(|(entries, _)| entries.contains(&*edit.at.bare()));
        own.chain(of_entries.into_iter().flat_map(|(_, sharers)| sharers))
    }

    /// The same edit, as the others reach its place: where all of them agree they have to be asked for, too.
    pub fn others<'s>(&'s self, path: &Arc<str>, edit: &'s LocationEdit) -> impl Iterator<Item = LocationEdit> {
        let uses = self.shared(path, edit).into_iter().flat_map(|shared| &shared.uses);
        uses.filter(|at| **at != edit.at).map(|at| LocationEdit { at: at.clone(), ..edit.clone() })
    }

    fn shared(&self, path: &Arc<str>, edit: &LocationEdit) -> Option<&Shared> {
        self.places.get(&(path.clone(), edit.at.bare().into_owned()))
    }

    fn add(&mut self, (path, cell): (&Arc<str>, &Cell), sharer: &Sharer) {
        let shared = self.places.entry((path.clone(), cell.at.bare().into_owned())).or_default();
        shared.sharers.push(sharer.clone());
        shared.uses.insert(cell.at.clone());
    }

    fn add_entries(&mut self, entries: &[ImagesAt<'_>], sharer: &Sharer) {
        let mut seen = HashSet::new();
        for (path, entry) in entries {
            let (all, sharers) = self.of_entries.entry((*path).clone()).or_default();
            if seen.insert(*path) {
                sharers.push(sharer.clone());
            }
            all.extend(entry.cells().map(|cell| cell.at.bare().into_owned()));
        }
    }
}

/// Why it is not known what is wished for a workload.
const DIFFERING: &str = "it is rendered more than once, with different annotations: set a namespace or a prefix in each \
     overlay, or read each for itself";

fn of<'p>((path, cell): &'p Placed<'_>) -> (&'p Arc<str>, &'p Cell) {
    (path, cell)
}

/// The ways out where a place makes images that are to differ.
const IN_OVERLAYS: &str = "give each its own place: an entry of `images` in its overlay";
const IN_CONTAINERS: &str =
    "an entry of `images` is for every container of that image: take it out, and write the tag in each container";
const BY_PATCH: &str = "this patch is for both: write one for each, by its name";
const BESIDE_EACH: &str = "an anchor brings it to both images: write the tag beside each name";
const BY_ONE: &str = "write one policy for both, or take the entry or the marker out";
const WRITTEN_OUT: &str = "write the image out for each of them, in a place of its own";

impl Index<'_> {
    /// How a workload gets a place of its own, where an edit in a file makes the images of others, too; they may be of
    /// other repositories.
    pub fn way_out<'w>(
        &self,
        (path, edit): (&str, &LocationEdit),
        own: &WorkloadId,
        others: impl IntoIterator<Item = &'w WorkloadId>,
        are_others: bool,
    ) -> &'static str {
        let outer = |workload: &WorkloadId| {
            let own = self.rendered_as(workload).filter(|rendering| rendering.chain.is_root);
            own.filter_map(|rendering| rendering.chain.layers.last().copied()).next()
        };
        let mut others = others.into_iter();
        match outer(own) {
            _ if own.kind.as_str() == FILE_KIND && are_others => BESIDE_EACH,
            _ if own.kind.as_str() == FILE_KIND => BY_ONE,
            Some(overlay) if others.all(|other| outer(other).is_some_and(|other| other != overlay)) => IN_OVERLAYS,
            _ if self.is_entry(path, edit) => IN_CONTAINERS,
            _ if self.kustomizations.is_patch(path) || self.is_kustomization(path) => BY_PATCH,
            _ => WRITTEN_OUT,
        }
    }

    fn is_kustomization(&self, path: &str) -> bool {
        self.files.get(path).is_some_and(|facts| facts.is_kustomization())
    }

    /// Whether an edit is of an entry of `images`.
    fn is_entry(&self, path: &str, edit: &LocationEdit) -> bool {
        let kustomization = self.files.get(path).and_then(|facts| facts.kustomization.as_deref());
        let mut entries = kustomization.into_iter().flat_map(|kustomization| &kustomization.images);
        entries.any(|entry| entry.cells().any(|cell| cell.at == edit.at))
    }

    fn rendered_as<'i>(&'i self, workload: &'i WorkloadId) -> impl Iterator<Item = &'i Rendering<'i>> {
        self.renderings.iter().filter(move |rendering| {
            let namespace = self.namespace(&rendering.id.namespace);
            let own = (&rendering.id.kind, namespace, &rendering.id.name);
            own == (&workload.kind, &*workload.namespace, &workload.name)
        })
    }

    /// The files that a workload is rendered from.
    pub fn files_of(&self, workload: &WorkloadId) -> BTreeSet<Arc<str>> {
        let own = self.rendered_as(workload);
        own.flat_map(|rendering| self.kustomizations.files_of(self.files, rendering)).collect()
    }

    /// A workload as it is rendered, and what is asked for there.
    fn asks(&self, rendering: &Rendering<'_>) -> (WorkloadId, Annotations) {
        let namespace = self.namespace(&rendering.id.namespace).into();
        let workload = WorkloadId { namespace, ..rendering.id.clone() };
        let mut subject = rendering.subject();
        self.kustomizations.walk(self.files, &mut subject, &rendering.chain, |_| {});
        let mut annotations = subject.ours();
        let of_namespace = self.namespaces.get(&workload.namespace).into_iter().flat_map(|asks| &asks.annotations);
        annotations.extend(of_namespace.map(|(key, value)| (format!("Namespace/{key}"), value.clone())));
        (workload, annotations.into())
    }

    /// The containers of all places: of the workloads that the repository renders, and of those that are known to have
    /// their images from it otherwise.
    pub fn sharers<'w>(&self, known: impl IntoIterator<Item = &'w Wanted>) -> Sharers {
        let mut all = Sharers::default();
        let mut rendered: HashMap<WorkloadId, Annotations> = HashMap::new();
        let mut differing = HashSet::new();
        let mut roots = Vec::new();
        for rendering in self.renderings.iter().filter(|rendering| rendering.chain.is_root) {
            let (workload, annotations) = self.asks(rendering);
            match rendered.get(&workload) {
                Some(other) if *other != annotations => _ = differing.insert(workload.clone()),
                Some(_) => {}
                None => _ = rendered.insert(workload.clone(), annotations.clone()),
            }
            roots.push((rendering, workload, annotations));
        }
        for (rendering, workload, annotations) in roots {
            let lost = self.namespaces.get(&workload.namespace).and_then(|asks| asks.lost.as_ref());
            let lost: Option<Arc<str>> = lost.map(|lost| lost.to_string().into());
            let lost = lost.or_else(|| differing.contains(&workload).then(|| DIFFERING.into()));
            let annotations = Some(annotations);
            for (container, init, way) in self.ways(rendering) {
                let (workload, annotations) = (workload.clone(), annotations.clone());
                let ambiguity = way.lost.as_ref().map(Ambiguity::shown).or_else(|| lost.clone());
                let sharer = Sharer { workload, container, init, annotations, by_version: false, ambiguity };
                // What a replacement sets hangs on no place below it.
                if let Some(made) = way.made.filter(|made| made.replaced.is_none()) {
                    let own = made.expr.cells().map(|cell| (made.path, cell));
                    own.chain(made.below.iter().map(of)).for_each(|place| all.add(place, &sharer));
                    let sharer = Sharer { by_version: true, ..sharer.clone() };
                    made.by_version.iter().for_each(|place| all.add(of(place), &sharer));
                }
                way.may.iter().for_each(|place| all.add(of(place), &sharer));
                all.add_entries(&way.any, &sharer);
            }
        }
        for wanted in known.into_iter().filter(|wanted| !rendered.contains_key(&wanted.workload)) {
            let (drafts, lost) = match self.drafts(wanted) {
                Ok(drafts) => (drafts, None),
                Err(misfit) => (self.may_be_of(wanted), Some(misfit.to_string().into())),
            };
            let Wanted { workload, container, init, .. } = wanted.clone();
            let sharer = Sharer { workload, container, init, annotations: None, by_version: false, ambiguity: lost };
            for draft in drafts {
                let ambiguity = draft.ambiguity.as_ref().map(Ambiguity::shown);
                let sharer = Sharer { ambiguity: sharer.ambiguity.clone().or(ambiguity), ..sharer.clone() };
                draft.expr.cells().for_each(|cell| all.add((draft.path, cell), &sharer));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Facts, Files, Options},
        *,
    };
    use crate::domain::{image::ImageRef, workload::Kind};

    const RELEASE: &str = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web, namespace: NS}\n\
        spec: {chart: {spec: {chart: web, sourceRef: {kind: HelmRepository, name: x}}}, valuesFrom: [{kind: ConfigMap, name: given}]}\n";
    const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: given}\ndata:\n  values.yaml: |\n    image: {repository: \
        team/web, tag: 1.0.0}\n";

    /// The doubts of those who share the place that is edited for the release in the namespace `a`, by their namespaces.
    fn sharers(files: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
        let facts = |(path, text): &(&str, &str)| {
            let namespace = path.split('/').next().unwrap();
            (Arc::from(*path), Arc::new(Facts::read(path, text.replace("NS", namespace).as_bytes())))
        };
        let (files, options): (Files, _) = (files.iter().map(facts).collect(), Options::default());
        let index = Index::new(&files, &options);
        let wanted = |namespace: &str| Wanted {
            workload: WorkloadId { kind: Kind("Deployment".into()), namespace: namespace.into(), name: "web".into() },
            instance: None,
            container: "web".into(),
            init: false,
            from: ImageRef::parse("team/web:1.0.0").unwrap(),
            to: ImageRef::parse("team/web:1.1.0").unwrap(),
        };
        let sharers = index.sharers(&[wanted("a"), wanted("b")]);
        let spots = index.locate(&wanted("a")).unwrap();
        let edits = spots.iter().flat_map(|spot| spot.edits.iter().map(|edit| (spot.path.clone(), edit)));
        let of = edits.flat_map(|(path, edit)| sharers.of(&path, edit).cloned().collect::<Vec<_>>());
        of.map(|one| (one.workload.namespace.to_string(), one.ambiguity.map(|ambiguity| ambiguity.to_string())))
            .collect()
    }

    /// A release that takes values from elsewhere, in a way that is not followed, may have those that another one has.
    #[rstest::rstest]
    #[case::patched(
        &[("a/kustomization.yaml", "resources: [hr.yaml, ../given]\n"), ("given/kustomization.yaml", "resources: [cm.yaml]\n"), ("given/cm.yaml", CONFIG)],
        "resources: [hr.yaml, ../given]\npatches: [{target: {kind: ConfigMap}, patch: '[{op: test, path: /a, value: b}]'}]\n",
        "b/kustomization.yaml:2: this patch may change the values"
    )]
    #[case::several(
        &[("a/kustomization.yaml", "resources: [hr.yaml, cm.yaml]\n"), ("a/cm.yaml", CONFIG), ("c/cm.yaml", CONFIG)],
        "resources: [hr.yaml]\n",
        "b/hr.yaml:4: several ConfigMaps or Secrets"
    )]
    fn a_release_whose_values_are_in_doubt_may_share_those_of_another(
        #[case] more: &[(&str, &str)],
        #[case] b: &str,
        #[case] why: &str,
    ) {
        let own = [("a/hr.yaml", RELEASE), ("b/hr.yaml", RELEASE), ("b/kustomization.yaml", b)];
        let found = sharers(&[&own[..], more].concat());
        assert!(found.contains(&("a".to_owned(), None)), "{found:?}");
        let b = found.iter().find(|(namespace, _)| namespace == "b").unwrap_or_else(|| panic!("{found:?}"));
        assert!(b.1.as_ref().is_some_and(|ambiguity| ambiguity.starts_with(why)), "{found:?}");
    }
}
