//! Folders of manifests: find and read the files, write edited ones whole, show what changed.

use std::{
    ffi::OsStr,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    config::ConfigError,
    domain::text::escape,
    git::Text,
    manifest::{MAX_BYTES, ManifestError, Manifests},
};

/// A file that holds workloads or Namespaces.
#[derive(Debug)]
pub(super) struct ManifestFile {
    /// Its path, beginning as the folder's was given.
    pub(super) path: PathBuf,
    /// Its text as read.
    pub(super) text: String,
    /// What is in it.
    pub(super) manifests: Manifests,
}

/// A file, or a part of one, that was left alone, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The file or folder.
    pub(super) path: PathBuf,
    /// The line, from 1, where it is about one.
    pub(super) line: Option<usize>,
    /// What happened and what to do.
    pub(super) reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl Problem {
    pub(super) fn new(path: &Path, reason: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: None, reason: reason.into() }
    }

    fn on_line(path: &Path, error: ManifestError) -> Self {
        Self { path: path.to_owned(), line: Some(error.line), reason: error.reason }
    }
}

/// A new text for a file that was read.
#[derive(Debug)]
pub(super) struct NewText<'a> {
    /// The file.
    pub(super) path: &'a Path,
    /// What was read from it, and must still be there.
    pub(super) old: &'a str,
    /// What is to be there.
    pub(super) new: &'a str,
}

/// What is in a folder.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// The files that hold workloads or Namespaces, in the order of their paths.
    pub(super) files: Vec<ManifestFile>,
    /// What could not be read.
    pub(super) problems: Vec<Problem>,
}

/// Reads every manifest of a folder (or one file). A file that cannot be read or parsed is reported; the others go on.
pub(super) fn load(root: &Path) -> anyhow::Result<Loaded> {
    let (paths, mut problems) = walk(root, is_manifest)?;
    let mut files = Vec::new();
    for path in paths {
        match read(&path) {
            Err(reason) => problems.push(Problem::new(&path, reason)),
            Ok(text) => match crate::manifest::read(&text) {
                // The templates of a chart are no YAML, and need not be.
                Err(_) if is_template(root, &path) && text.contains("{{") => {}
                Err(error) => problems.push(Problem::on_line(&path, error)),
                Ok(manifests) => {
                    problems.extend(manifests.problems.iter().map(|problem| Problem::on_line(&path, problem.clone())));
                    if !manifests.workloads.is_empty() || !manifests.namespaces.is_empty() {
                        files.push(ManifestFile { path, text, manifests });
                    }
                }
            },
        }
    }
    problems.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(Loaded { files, problems })
}

/// Whether a file stands in a folder `templates`.
fn is_template(root: &Path, path: &Path) -> bool {
    let within = path.strip_prefix(root).unwrap_or(path).parent();
    within.is_some_and(|folder| folder.components().any(|part| part.as_os_str() == "templates"))
}

/// What the files of a folder may have together, in bytes, as all of them may be held at once.
pub(super) const MAX_IN_ALL: usize = 512 << 20;

/// The files under a folder that are wanted by their names, sorted. Dot folders, `node_modules` and symbolic links are not
/// entered; a link that leads out of the folder is reported.
pub(super) fn walk(root: &Path, is_wanted: impl Fn(&Path) -> bool) -> anyhow::Result<(Vec<PathBuf>, Vec<Problem>)> {
    let cannot = |error: io::Error| ConfigError::one(format!("{} cannot be read: {error}", root.display()));
    let kind = fs::metadata(root).map_err(cannot)?;
    if !kind.is_dir() {
        return Ok((vec![root.to_owned()], Vec::new()));
    }
    let inside = fs::canonicalize(root).map_err(cannot)?;
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                problems.push(Problem::new(&folder, format!("the folder cannot be read: {error}")));
                continue;
            }
        };
        for entry in entries {
            let found = entry.and_then(|e| e.file_type().map(|kind| (e.path(), e.file_name(), kind)));
            let (path, name, kind) = match found {
                Ok(found) => found,
                Err(error) => {
                    problems.push(Problem::new(&folder, format!("an entry of the folder cannot be read: {error}")));
                    continue;
                }
            };
            let is_hidden = is_hidden(&name);
            if kind.is_dir() {
                if !is_hidden {
                    folders.push(path);
                }
            } else if kind.is_file() {
                if is_wanted(&path) {
                    files.push(path);
                }
            } else if kind.is_symlink() && !is_hidden {
                // What a link within the folder points to is found by its own path.
                match fs::canonicalize(&path) {
                    Ok(target) if target.starts_with(&inside) => {}
                    Ok(target) if target.is_file() && !is_wanted(&path) => {}
                    Ok(_) => problems.push(Problem::new(&path, "a symbolic link out of the folder: left alone")),
                    Err(_) if !is_wanted(&path) => {}
                    Err(error) => problems.push(Problem::new(&path, format!("a symbolic link to nowhere: {error}"))),
                }
            }
        }
    }
    files.sort();
    let sizes = files.iter().filter_map(|path| usize::try_from(fs::metadata(path).ok()?.len()).ok());
    // A file that is too large is not read.
    within_all(root, sizes.filter(|size| *size <= MAX_BYTES).sum())?;
    Ok((files, problems))
}

/// Whether a folder's files may have so many bytes.
pub(super) fn within_all(root: &Path, size: usize) -> Result<(), ConfigError> {
    let (size, most) = (size.div_ceil(1 << 20), MAX_IN_ALL >> 20);
    let why = || {
        format!(
            "{}: its files have {size} MiB, more than the {most} that are read: name a folder in it",
            root.display()
        )
    };
    if size <= most { Ok(()) } else { Err(ConfigError::one(why())) }
}

/// Whether nothing of that name is entered.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || name == "node_modules"
}

/// Whether a file holds manifests, by its name.
pub(super) fn is_manifest(path: &Path) -> bool {
    let ending = path.extension().filter(|_| !path.file_name().is_some_and(is_hidden));
    ending.is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e.eq_ignore_ascii_case(known)))
}

/// The bytes of a file; if these are more than are read, their number.
pub(super) fn bytes(path: &Path) -> io::Result<Text> {
    let file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(if bytes.len() > MAX_BYTES { Err(size.max(bytes.len())) } else { Ok(bytes) })
}

/// The text of a file, or why it is not read.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| format!("the file cannot be read: {error}"))?;
    read_from(file)
}

/// The text of a stream, or why it is not read.
pub(super) fn read_from(stream: impl io::Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    stream.take(limit).read_to_end(&mut bytes).map_err(|error| format!("the file cannot be read: {error}"))?;
    if bytes.len() > MAX_BYTES {
        return Err(format!("it has more than {} MiB: split it", MAX_BYTES >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|b| **b == b'\n').count() + 1;
        format!("it is not UTF-8 (line {line}): save it as UTF-8")
    })
}

/// Writes all of them, each whole: every new text lies complete beside its file before the first takes its place, and
/// nothing is written where a file is no longer what was read.
pub(super) fn write(files: &[NewText]) -> anyhow::Result<()> {
    let mut staged = Vec::new();
    for file in files {
        staged.push(stage(file).with_context(|| format!("{}: nothing was written", file.path.display()))?);
    }
    let total = staged.len();
    for (done, stage) in staged.into_iter().enumerate() {
        let path = stage.path.clone();
        stage.publish().with_context(|| format!("{}: {done} of {total} files were written", path.display()))?;
    }
    Ok(())
}

/// A complete new text beside its file; removed again unless it takes the file's place.
struct Staged {
    path: PathBuf,
    temporary: PathBuf,
    published: bool,
}

fn stage(file: &NewText) -> anyhow::Result<Staged> {
    // Where the path itself is a link, the file it leads to is replaced, not the link.
    let path = fs::canonicalize(file.path)?;
    let metadata = fs::metadata(&path)?;
    anyhow::ensure!(metadata.is_file(), "it is no regular file");
    anyhow::ensure!(!metadata.permissions().readonly(), "it is read-only: allow writing (chmod u+w) first");
    if read(&path).as_deref() != Ok(file.old) {
        anyhow::bail!("the file was changed by somebody else meanwhile: run the command again");
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut attempt = 0;
    let (mut out, temporary) = loop {
        let temporary = folder.join(format!(".supercargo-{}-{attempt}.tmp", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(out) => break (out, temporary),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 10_000 => attempt += 1,
            Err(error) => {
                let folder = format!("the new text is first written into the folder {}", folder.display());
                return Err(anyhow::Error::from(error).context(folder));
            }
        }
    };
    let staged = Staged { path, temporary, published: false };
    out.write_all(file.new.as_bytes())?;
    keep_owner(&out, &metadata);
    out.set_permissions(metadata.permissions())?;
    out.sync_all()?;
    Ok(staged)
}

/// As far as this process may; for most, the owner is who runs it.
fn keep_owner(out: &File, metadata: &fs::Metadata) {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let _ = fchown(out, Some(metadata.uid()), Some(metadata.gid()));
}

impl Staged {
    fn publish(mut self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.path)?;
        self.published = true;
        match self.path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// What changes in a file, as a unified diff; empty if nothing does.
pub(super) fn diff(path: &Path, old: &str, new: &str) -> String {
    let name = path.display().to_string();
    let name = escape(name.strip_prefix("./").unwrap_or(&name).trim_start_matches('/'));
    // By line feeds only, as `patch` and git have it: a carriage return alone ends no line to them.
    fn lines(text: &str) -> Vec<&str> {
        text.split_inclusive('\n').collect()
    }
    similar::TextDiff::configure()
        .newline_terminated(true)
        .diff_slices(&lines(old), &lines(new))
        .unified_diff()
        .header(&format!("a/{name}"), &format!("b/{name}"))
        .to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n";

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn names(root: &Path, paths: impl IntoIterator<Item = PathBuf>) -> Vec<String> {
        paths.into_iter().map(|p| p.strip_prefix(root).unwrap().display().to_string()).collect()
    }

    #[test]
    fn a_folder_is_read_in_order_without_what_is_hidden() {
        let yaml = DEPLOYMENT.as_bytes();
        let folder = folder(&[
            ("b.yml", yaml),
            ("a/z.yaml", yaml),
            ("a.json", b"{\"kind\": \"Namespace\", \"apiVersion\": \"v1\", \"metadata\": {\"name\": \"n\"}}"),
            ("c.YAML", yaml),
            ("notes.txt", yaml),
            ("values.yaml", b"image: {tag: 1}"),
            (".hidden.yaml", yaml),
            (".git/x.yaml", yaml),
            ("node_modules/x/y.yaml", yaml),
        ]);
        let Loaded { files, problems } = load(folder.path()).unwrap();
        assert_eq!(names(folder.path(), files.into_iter().map(|f| f.path)), ["a/z.yaml", "a.json", "b.yml", "c.YAML"]);
        assert_eq!(problems, []);
    }

    #[test]
    fn files_that_cannot_be_read_are_reported_and_others_go_on() {
        let folder = folder(&[
            ("bad.yaml", b"a: 1\nb: [\n"),
            ("binary.yaml", b"a: 1\n\xff"),
            ("good.yaml", DEPLOYMENT.as_bytes()),
            ("huge.yaml", b""),
            ("part.yaml", format!("{DEPLOYMENT}---\n{}", DEPLOYMENT.replace("name", "labels")).as_bytes()),
        ]);
        let huge = OpenOptions::new().write(true).open(folder.path().join("huge.yaml")).unwrap();
        huge.set_len(MAX_BYTES as u64 + 1).unwrap();
        let Loaded { files, problems } = load(folder.path()).unwrap();
        assert_eq!(names(folder.path(), files.into_iter().map(|f| f.path)), ["good.yaml", "part.yaml"]);
        let shown: Vec<String> = problems.iter().map(|p| p.to_string()).collect();
        let expected = [
            "bad.yaml:",
            "binary.yaml: it is not UTF-8 (line 2)",
            "huge.yaml: it has more than 32 MiB",
            "part.yaml:5: this Deployment has no metadata.name",
        ];
        assert_eq!(shown.len(), expected.len(), "{shown:?}");
        for (shown, expected) in shown.iter().zip(expected) {
            assert!(shown.contains(expected), "{shown} should say {expected}");
        }
    }

    #[test]
    fn links_are_not_followed_out_of_the_folder() {
        let outside = folder(&[("secret.yaml", DEPLOYMENT.as_bytes())]);
        let folder = folder(&[("a.yaml", DEPLOYMENT.as_bytes())]);
        symlink(outside.path(), folder.path().join("out")).unwrap();
        symlink(outside.path().join("secret.yaml"), folder.path().join("out.yaml")).unwrap();
        symlink(folder.path(), folder.path().join("round")).unwrap();
        symlink("a.yaml", folder.path().join("same.yaml")).unwrap();
        symlink("nowhere", folder.path().join("gone.yaml")).unwrap();
        let (files, problems) = walk(folder.path(), is_manifest).unwrap();
        assert_eq!(names(folder.path(), files), ["a.yaml"]);
        let mut reported = names(folder.path(), problems.into_iter().map(|p| p.path));
        reported.sort();
        assert_eq!(reported, ["gone.yaml", "out", "out.yaml"]);
    }

    #[test]
    fn a_file_of_any_name_is_read_when_it_is_the_path() {
        let folder = folder(&[("deploy.tpl", DEPLOYMENT.as_bytes())]);
        let files = load(&folder.path().join("deploy.tpl")).unwrap().files;
        assert_eq!(files.len(), 1);
        assert!(load(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn files_are_written_whole_with_their_permissions() {
        let folder = folder(&[("a.yaml", b"a"), ("b.yaml", b"b")]);
        let path = |name: &str| folder.path().join(name);
        fs::set_permissions(path("a.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("b.yaml", path("link.yaml")).unwrap();
        write(&[
            NewText { path: &path("a.yaml"), old: "a", new: "A" },
            NewText { path: &path("link.yaml"), old: "b", new: "B" },
        ])
        .unwrap();
        assert_eq!(fs::read_to_string(path("a.yaml")).unwrap(), "A");
        assert_eq!(fs::metadata(path("a.yaml")).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_to_string(path("b.yaml")).unwrap(), "B");
        assert!(fs::symlink_metadata(path("link.yaml")).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn nothing_is_written_when_one_file_was_changed_meanwhile() {
        let folder = folder(&[("a.yaml", b"a"), ("b.yaml", b"changed")]);
        let path = |name: &str| folder.path().join(name);
        let written = write(&[
            NewText { path: &path("a.yaml"), old: "a", new: "A" },
            NewText { path: &path("b.yaml"), old: "b", new: "B" },
        ]);
        let message = format!("{:#}", written.unwrap_err());
        assert!(message.contains("b.yaml: nothing was written: the file was changed"), "{message}");
        assert_eq!(fs::read_to_string(path("a.yaml")).unwrap(), "a");
        assert_eq!(fs::read_to_string(path("b.yaml")).unwrap(), "changed");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_difference_is_a_unified_diff() {
        let shown = diff(Path::new("./k8s/web.yaml"), "a: 1\nb: 2", "a: 1\nb: 3");
        assert_eq!(
            shown,
            "--- a/k8s/web.yaml\n+++ b/k8s/web.yaml\n@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n\\ No newline at end of file\n\
             +b: 3\n\\ No newline at end of file\n"
        );
    }
}
