//! Folders that hold a workload more than once, and nothing that says which manifests belong together.

use std::{collections::HashSet, sync::Arc};

use super::{Files, listed};
use crate::domain::workload::WorkloadId;

/// Files in sets that each render a workload once: those of a folder without a kustomization and without a
/// `supercargo.yaml` may be those of several clusters. Otherwise they are one set. What Namespaces ask for is in each.
pub fn apart(files: Files) -> Vec<Files> {
    let is_one = files.contains_key(listed::FILE) || files.values().any(|facts| facts.is_kustomization());
    let mut sets = vec![(HashSet::<WorkloadId>::new(), Files::new())];
    for (path, facts) in files {
        let ids: HashSet<WorkloadId> =
            facts.manifests.workloads.iter().map(|found| found.workload.id.clone()).collect();
        let place = sets.iter().position(|(known, _)| is_one || known.is_disjoint(&ids));
        let place = place.unwrap_or_else(|| {
            sets.push((HashSet::new(), Files::new()));
            sets.len() - 1
        });
        sets[place].0.extend(ids);
        sets[place].1.insert(path, facts);
    }
    let namespaces = sets.iter().flat_map(|(_, files)| files);
    let namespaces = namespaces.filter_map(|(path, facts)| Some((path.clone(), Arc::new(facts.namespaces()?))));
    let namespaces: Files = if sets.len() > 1 { namespaces.collect() } else { Files::new() };
    for (_, files) in &mut sets {
        for (path, facts) in &namespaces {
            files.entry(path.clone()).or_insert_with(|| facts.clone());
        }
    }
    sets.into_iter().map(|(_, files)| files).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::Facts, *};

    fn sets(paths: &[&str]) -> Vec<Vec<String>> {
        let text = |path: &str| match path {
            "kustomization.yaml" => "resources: [a/web.yaml]\n",
            "broken/kustomization.yaml" => "resources: [\n",
            "supercargo.yaml" => "images: [{image: web, policy: minor}]\n",
            "values.yaml" => "image: {repository: web, tag: 1.0.0}\n",
            _ => {
                "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: \
                 [{name: app, image: 'web:1.0.0'}]}}}\n"
            }
        };
        let facts = |path: &str| Arc::new(Facts::read(path, text(path).as_bytes()));
        let sets = apart(paths.iter().map(|path| (Arc::from(*path), facts(path))).collect());
        sets.into_iter().map(|files| files.into_keys().map(|path| path.to_string()).collect()).collect()
    }

    #[test]
    fn manifests_of_one_workload_are_apart_where_nothing_says_that_they_belong_together() {
        let all = ["a/web.yaml", "b/web.yaml", "values.yaml"];
        assert_eq!(sets(&all), [vec!["a/web.yaml", "values.yaml"], vec!["b/web.yaml"]]);
        for one in ["kustomization.yaml", "broken/kustomization.yaml", "supercargo.yaml"] {
            assert_eq!(sets(&[&all[..], &[one]].concat()).len(), 1, "{one}");
        }
        assert_eq!(sets(&[]), [Vec::<String>::new()]);
    }
}
