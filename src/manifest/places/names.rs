//! What a file may hold, by its path.

use super::listed;

/// How a file is read, which its path alone decides: equal texts of the same kind have equal [`super::Facts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
    /// A kustomization.
    Kustomization,
    /// `Chart.yaml`: what is in `templates/` beside it is a template.
    Chart,
    /// YAML in a folder `templates`, which may be none.
    Template,
    /// Values by their name (`values.yaml`, `values-prod.yaml`, `prod.values.yaml`, `web-values-prod.yaml`).
    Values,
    /// `supercargo.yaml` at the root.
    Listed,
    /// `.argocd-source.yaml` or `.argocd-source-<application>.yaml`.
    ArgoSource,
    /// Other text with `#` comments: markers only.
    Text,
    /// Text with `#` comments on lines of their own: markers only.
    Dockerfile,
    /// Never read.
    Never,
}

/// Definitions of pipelines that are no dot files, in lower case.
const PIPELINES: [&str; 10] = [
    "azure-pipelines",
    "bitbucket-pipelines",
    "cloudbuild",
    "buildspec",
    "appveyor",
    "codefresh",
    "wercker",
    "screwdriver",
    "semaphore",
    "jenkinsfile",
];

/// Endings of texts that have `#` comments.
const TEXTS: [&str; 16] = [
    "env",
    "tpl",
    "gotmpl",
    "tmpl",
    "txt",
    "toml",
    "conf",
    "cfg",
    "ini",
    "properties",
    "sh",
    "bash",
    "mk",
    "tf",
    "tfvars",
    "hcl",
];

impl FileKind {
    /// The kind of a file, by its path from the root of the repository.
    pub fn of(path: &str) -> Self {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        if folders.split('/').any(|folder| folder.starts_with('.') || folder == "node_modules") {
            return Self::Never;
        }
        // `.env` is the one dot file that people keep images in; only its markers count.
        if name == ".env" || name.starts_with(".env.") {
            return Self::Text;
        }
        if name == ".argocd-source.yaml" || name.starts_with(".argocd-source-") && name.ends_with(".yaml") {
            return Self::ArgoSource;
        }
        let lower = name.to_ascii_lowercase();
        if name.is_empty() || name.starts_with('.') || PIPELINES.iter().any(|pipeline| lower.starts_with(pipeline)) {
            return Self::Never;
        }
        match name {
            "kustomization.yaml" | "kustomization.yml" | "Kustomization" => return Self::Kustomization,
            "Chart.yaml" => return Self::Chart,
            _ if path == listed::FILE => return Self::Listed,
            _ => {}
        }
        let (stem, ending) = lower.rsplit_once('.').unwrap_or((&lower, ""));
        let is_docker = |word: &str| stem == word || ending == word || lower.starts_with(word);
        match ending {
            "yaml" | "yml" if folders.split('/').any(|folder| folder == "templates") => Self::Template,
            "yaml" | "yml" | "json" if stem.contains("values") => Self::Values,
            "yaml" | "yml" => Self::Yaml,
            "json" => Self::Json,
            _ if is_docker("dockerfile") || is_docker("containerfile") => Self::Dockerfile,
            _ if TEXTS.contains(&ending) || lower == "makefile" => Self::Text,
            _ => Self::Never,
        }
    }
}

/// The path that `relative` means in a folder; none if it leads out of the root or is no path.
pub(super) fn join(folder: &str, relative: &str) -> Option<String> {
    if relative.starts_with('/') || relative.contains("://") {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop()?,
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The folder of a file; empty for the root.
pub(super) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("apps/web.yaml", FileKind::Yaml)]
    #[case("apps/kustomization.yml", FileKind::Kustomization)]
    #[case("Kustomization", FileKind::Kustomization)]
    #[case("chart/values-prod.yaml", FileKind::Values)]
    #[case("prod.values.yml", FileKind::Values)]
    #[case("web-values-prod.yaml", FileKind::Values)]
    #[case("env/dev.yaml", FileKind::Yaml)]
    #[case("chart/templates/a/values.yaml", FileKind::Template)]
    #[case("a.json", FileKind::Json)]
    #[case("supercargo.yaml", FileKind::Listed)]
    #[case("a/supercargo.yaml", FileKind::Yaml)]
    #[case(".env", FileKind::Text)]
    #[case("a/.env.prod", FileKind::Text)]
    #[case("a/.argocd-source.yaml", FileKind::ArgoSource)]
    #[case("a/.argocd-source-web.yaml", FileKind::ArgoSource)]
    #[case("a/Dockerfile", FileKind::Dockerfile)]
    #[case("a/web.Dockerfile", FileKind::Dockerfile)]
    #[case("a/Dockerfile.txt", FileKind::Dockerfile)]
    #[case("a/Makefile", FileKind::Text)]
    #[case(".github/workflows/a.yaml", FileKind::Never)]
    #[case("a/.hidden/b.yaml", FileKind::Never)]
    #[case(".gitlab-ci.yml", FileKind::Never)]
    #[case("Jenkinsfile", FileKind::Never)]
    #[case("ci/azure-pipelines-release.yml", FileKind::Never)]
    #[case("cloudbuild.yaml", FileKind::Never)]
    #[case("README.md", FileKind::Never)]
    #[case("logo.png", FileKind::Never)]
    #[case("a/", FileKind::Never)]
    fn a_name_says_how_a_file_is_read(#[case] path: &str, #[case] expected: FileKind) {
        assert_eq!(FileKind::of(path), expected);
    }

    #[rstest::rstest]
    #[case("a/b", "../c", Some("a/c"))]
    #[case("a", "./x/../y.yaml", Some("a/y.yaml"))]
    #[case("a", "..", Some(""))]
    #[case("a", "../..", None)]
    #[case("", "../x", None)]
    #[case("a", "https://github.com/x/y", None)]
    #[case("a", "/etc", None)]
    fn a_path_never_leaves_the_root(#[case] folder: &str, #[case] relative: &str, #[case] expected: Option<&str>) {
        assert_eq!(join(folder, relative).as_deref(), expected);
    }
}
