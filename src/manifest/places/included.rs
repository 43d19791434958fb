//! Which other files count for what a file holds.

use std::borrow::Cow;

use super::{
    Facts,
    names::{folder, join},
};

impl Facts {
    /// The files that a kustomization, a release or a chart at this path takes in, and the kustomizations that there may be in
    /// folders.
    pub fn included(&self, path: &str) -> Vec<String> {
        let own = self.kustomization.iter().flat_map(|kustomization| kustomization.included());
        let of_transformers = self.transformers.iter().flat_map(|transformer| transformer.included());
        let of_charts = self.inflations.iter().flat_map(|inflation| inflation.included()).map(Cow::Owned);
        let own = own.chain(of_transformers).chain(of_charts).filter_map(|name| join(folder(path), &name));
        let components = self.outer.iter().flat_map(|outer| outer.component_folders());
        let of_releases = self.releases.iter().flat_map(|release| release.included());
        let of_helm_charts = self.given.iter().flat_map(|given| given.chart_files());
        let of_chart = self.chart.iter().flat_map(|chart| chart.included(folder(path)));
        let included: Vec<String> =
            own.chain(components).chain(of_releases).chain(of_helm_charts).chain(of_chart).collect();
        let files = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
        let in_folder = |folder: &String| {
            files.map(|file| if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") })
        };
        let within: Vec<String> = included.iter().flat_map(in_folder).collect();
        included.into_iter().filter(|path| !path.is_empty()).chain(within).collect()
    }
}
