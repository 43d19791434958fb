//! The workloads of a repository, for running without a cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    FILE_KIND, Facts, Index, LocateError, Rendered, Unplaced, Wanted,
    index::Draft,
    listed::{self, Listed},
    locate::{BY_FILES, MAX_LEFT_ALONE, TOO_MANY},
    made::Made,
    marker::Says,
    names::{folder, join},
    uneditable,
};
use crate::{
    domain::{
        image::{ImageRef, Repository, excerpt},
        workload::{Container, Kind, Workload, WorkloadId, Written},
    },
    manifest::ManifestError,
};

/// A policy, the image it is for, and the line.
type Marked<'i> = (&'i str, &'i ImageRef, usize);

impl Index<'_> {
    /// The workloads that the repository renders; marked values that name a policy, one workload for each file; and the
    /// entries of `supercargo.yaml`.
    pub fn rendered(&self) -> Rendered {
        let mut rendered = Rendered::default();
        for (path, facts) in self.files {
            rendered.problems.extend(facts.problems().iter().map(|problem| (path.clone(), problem.clone())));
            rendered.templates.extend(facts.template().map(|line| (path.clone(), line)));
            // A patch may be for another kind than its own.
            let is_foreign = self.kustomizations.is_patch(path) && !facts.manifests.foreign.is_empty();
            let misplaced = facts.manifests.misplaced.iter().filter(|_| !is_foreign);
            rendered.misplaced.extend(misplaced.map(|each| (path.clone(), each.clone())));
        }
        let asking = self.namespaces.iter().filter(|(_, asks)| !asks.annotations.is_empty());
        rendered.namespaces = asking.map(|(name, asks)| (name.to_string(), asks.annotations.clone())).collect();
        for (path, missing) in &self.kustomizations.missing {
            let name = excerpt(&missing.name);
            let reason = match join(folder(path), &missing.name) {
                Some(_) => format!(
                    "there is no kustomization in `{name}` that could be read, so this one may not build: correct the path"
                ),
                None => format!(
                    "`{name}` leads out of what is read, so what this one renders is not known: read from a folder that \
                     holds both"
                ),
            };
            rendered.problems.push(((*path).clone(), ManifestError::new(missing.line, reason)));
        }
        if let Some(path) = &self.kustomizations.too_many {
            rendered.problems.push((path.as_str().into(), ManifestError::new(1, TOO_MANY)));
        }
        rendered.templates.extend(self.templates.iter().map(|(path, line)| ((*path).clone(), *line)));
        let mismarked = self.mismarked.iter();
        rendered.problems.extend(mismarked.map(|held| (held.path.clone(), ManifestError::new(held.line, &*held.why))));
        self.manifests_of(&mut rendered);
        self.marked_of(&mut rendered);
        let listed = self.files.get_key_value(listed::FILE);
        for (path, each) in listed.iter().flat_map(|(path, facts)| facts.listed.iter().map(move |each| (*path, each))) {
            match self.listed_workload(each) {
                Ok(workload) => {
                    rendered.workloads.push((workload, path.clone(), each.line));
                    rendered.misplaced.extend(self.unread(each));
                }
                Err(why) => rendered.unplaced.push(Unplaced {
                    id: listed_id(each),
                    repository: each.repository.clone(),
                    policy: each.annotations.get("supercargo.dev/policy").map_or("", |policy| policy).into(),
                    line: each.line,
                    why,
                }),
            }
        }
        let elsewhere =
            self.files.iter().filter(|(path, _)| path.rsplit_once('/').is_some_and(|(_, name)| name == listed::FILE));
        for (path, facts) in elsewhere {
            let first = facts.flat.iter().find(|(key, _)| &**key == ".images[0].policy");
            let reason = "entries count in the `supercargo.yaml` at the root only: move them there, with `files` for this folder";
            rendered.misplaced.extend(first.map(|(_, cell)| (path.clone(), ManifestError::new(cell.line, reason))));
        }
        rendered
    }

    /// Every image of each container, as often as something renders it, but those that a replacement sets; and those of
    /// what [`Self::rendered`] makes of files. By workload, container, and whether that stands under `initContainers`.
    pub fn each_image(&self) -> impl Iterator<Item = (WorkloadId, Arc<str>, bool, Box<str>)> {
        let roots = self.renderings.iter().filter(|rendering| rendering.chain.is_root);
        let each = roots.flat_map(|rendering| {
            let namespace = self.namespace(&rendering.id.namespace).into();
            let id = WorkloadId { namespace, ..rendering.id.clone() };
            let made = self.kustomizations.all_made(self.files, rendering, None).into_iter();
            let made = made.filter(|(.., made)| made.replaced.is_none());
            made.map(move |(name, init, made)| (id.clone(), name, init, made.image.into()))
        });
        let mut of_files = Rendered::default();
        self.marked_of(&mut of_files);
        let listed = self.files.get(listed::FILE).into_iter().flat_map(|facts| &facts.listed);
        let listed = listed.filter_map(|each| self.listed_workload(each).ok());
        let of_files = of_files.workloads.into_iter().map(|(workload, ..)| workload).chain(listed);
        each.chain(of_files.flat_map(|Workload { id, containers, .. }| {
            containers.into_iter().map(move |c| (id.clone(), c.name, c.init, (&*c.image).into()))
        }))
    }

    fn manifests_of(&self, rendered: &mut Rendered) {
        let mut seen = BTreeSet::new();
        for rendering in self.renderings.iter().filter(|rendering| rendering.chain.is_root) {
            let mut id = rendering.id.clone();
            if let Some(default) = self.options.default_namespace.as_deref().filter(|_| id.namespace.is_empty()) {
                id.namespace = default.into();
            }
            // Rendered twice, it is one workload; `locate` says if the images differ.
            if !seen.insert(id.clone()) {
                continue;
            }
            let found = rendering.found;
            let mut subject = rendering.subject();
            self.kustomizations.walk(self.files, &mut subject, &rendering.chain, |_| {});
            let annotations = Arc::new(subject.ours());
            // There is no cluster to read pull secrets from; the user's own credentials are used.
            let mut workload = Workload { id, annotations, pull_secrets: Vec::new(), ..found.workload.clone() };
            let made = self.kustomizations.all_made(self.files, rendering, None).into_iter().enumerate();
            let image = |made: Made| match made.replaced {
                Some((path, line)) => format!("$(set by the replacement at {path}:{line})").into(),
                None => made.image.into(),
            };
            let containers =
                made.map(|(index, (name, init, made))| Container { name, image: image(made), init, index });
            workload.containers = containers.collect();
            rendered.workloads.push((workload, rendering.path.clone(), found.line));
        }
    }

    fn marked_of(&self, rendered: &mut Rendered) {
        let mut files: BTreeMap<&Arc<str>, BTreeMap<&Repository, Marked>> = BTreeMap::new();
        let mut differing = BTreeSet::new();
        let mut marked: Vec<_> = self.markers.values().flatten().collect();
        marked.sort_by_key(|(path, says, draft)| (*path, says.is_never(), draft.line));
        for (path, says, draft) in marked {
            let Says::Policy(policy) = says else { continue };
            let images = files.entry(path).or_default();
            let (first, ..) = images.entry(&draft.holds.repository).or_insert((&**policy, &draft.holds, draft.line));
            // One that stays as it is stands beside any other.
            if *first != &**policy && !says.is_never() {
                let reason = format!(
                    "`{}` has another policy above in this file, so that neither counts: write the same",
                    draft.holds.repository
                );
                rendered.problems.push(((*path).clone(), ManifestError::new(draft.line, reason)));
                differing.insert((path, &draft.holds.repository));
            }
        }
        for (path, repository) in differing {
            files.entry(path).and_modify(|images| _ = images.remove(repository));
        }
        files.retain(|_, images| !images.is_empty());
        for (path, images) in files {
            let line = images.values().map(|(.., line)| *line).min().unwrap_or(1);
            let policy = |(repository, (policy, ..)): (&&Repository, &Marked)| {
                (format!("supercargo.dev/policy.{repository}"), (*policy).to_owned())
            };
            let annotations = images.iter().map(policy).collect();
            let written = |(repository, (.., line)): (&&Repository, &Marked)| {
                let at = format!("{path}:{line}");
                (format!("supercargo.dev/policy.{repository}"), Written { key: "# supercargo".to_owned(), at })
            };
            let written = images.iter().map(written).collect();
            let images = images.iter().map(|(repository, (_, image, _))| (repository.to_string(), image.to_string()));
            rendered.workloads.push((pseudo(path.clone(), annotations, written, images), path.clone(), line));
        }
    }

    /// Files that hold the image of an entry as values files do, and are not read for it.
    fn unread(&self, listed: &Listed) -> Vec<(Arc<str>, ManifestError)> {
        let others = self.other_values.get(&listed.repository).into_iter().flatten();
        let others = others.filter(|draft| listed.files.is_none() && !self.is_never(draft));
        let note = |draft: &Draft| {
            let reason = format!(
                "`{}` stands here, too, and stays: this is no values file by its name; name it by `files` of the entry `{}` \
                 of {}, or by `values` of the target",
                draft.holds,
                excerpt(&listed.name),
                listed::FILE
            );
            (draft.path.clone(), ManifestError::new(draft.line, reason))
        };
        others.take(MAX_LEFT_ALONE).map(note).collect()
    }

    fn listed_workload(&self, listed: &Listed) -> Result<Workload, String> {
        let id = listed_id(listed);
        let (workload, name) = (id.clone(), id.name);
        let image = ImageRef::parse(&listed.repository.to_string()).map_err(|error| error.to_string())?;
        let container = listed.repository.to_string();
        let wanted = Wanted {
            workload,
            instance: None,
            container: container.as_str().into(),
            init: false,
            from: image.clone(),
            to: image,
        };
        let drafts = self.everywhere(&wanted, listed).map_err(|misfit: LocateError| misfit.to_string())?;
        let (kept, drafts): (Vec<_>, Vec<_>) = drafts.into_iter().partition(|draft| self.is_never(draft));
        let versioned = drafts.iter().find(|draft| draft.holds.tag.is_some() || draft.holds.digest.is_some());
        let Some(draft) = versioned.or(drafts.first()) else {
            if let Some(kept) = kept.first() {
                let (path, line) = (excerpt(kept.path), kept.line);
                return Err(format!(
                    "{path}:{line} holds the image {}, and is marked `never`: write a policy there, or take the entry out",
                    listed.repository
                ));
            }
            let (others, repository) = (self.by_other_names(&listed.repository, BY_FILES), &listed.repository);
            let held = self.uneditable(repository, Some(listed));
            let left_alone = self.left_alone(Facts::unread, &held);
            let orphans = self.orphans(listed, None, |path| held.iter().any(|held| **held.path == *path));
            let others = others + &orphans.map(|orphans| format!("; {orphans}")).unwrap_or_default();
            return Err(match held.is_empty() {
                true if others.is_empty() && left_alone.is_empty() => {
                    format!("no file that this covers holds the image {repository}: correct it, or take the entry out")
                }
                true => format!("no file that this covers holds the image {repository}{others}{left_alone}"),
                false => {
                    format!("the image {repository} cannot be edited: {}{others}{left_alone}", uneditable::shown(&held))
                }
            });
        };
        let at = format!("{}:{}", listed::FILE, listed.line);
        let written = |key: &String| {
            let own = key.strip_prefix("supercargo.dev/").unwrap_or(key);
            (key.clone(), Written { key: own.to_owned(), at: at.clone() })
        };
        let written = listed.annotations.keys().map(written).collect();
        Ok(pseudo(name, listed.annotations.clone(), written, [(container, draft.holds.to_string())]))
    }
}

/// What an entry of `supercargo.yaml` is as a workload.
fn listed_id(listed: &Listed) -> WorkloadId {
    let name = format!("{}:{}", listed::FILE, listed.name).into();
    WorkloadId { kind: Kind(FILE_KIND.into()), namespace: "".into(), name }
}

/// A workload made of a file.
fn pseudo(
    name: Arc<str>,
    annotations: BTreeMap<String, String>,
    written: BTreeMap<String, Written>,
    images: impl IntoIterator<Item = (String, String)>,
) -> Workload {
    let containers = images.into_iter().enumerate().map(|(index, (name, image))| Container {
        name: name.into(),
        image: image.into(),
        init: false,
        index,
    });
    Workload {
        id: WorkloadId { kind: Kind(FILE_KIND.into()), namespace: "".into(), name },
        uid: "".into(),
        resource_version: "".into(),
        annotations: annotations.into(),
        written: Some(written.into()),
        labels: BTreeMap::new(),
        has_annotations: true,
        containers: containers.collect(),
        owner: None,
        instance: None,
        pull_secrets: Vec::new(),
    }
}
