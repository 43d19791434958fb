//! `supercargo policy test`: run vector files and the examples of policy files.

use std::{
    fmt::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value},
};

use super::output::{print, tell};
use crate::{
    config::{policy_files, read_text},
    domain::{
        policy::{Failure, NamedPolicies, Policy, PolicyFile, Vector},
        text::escape,
    },
};

/// Work with policies
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Run vector files and the examples of policy files
    Test {
        /// Files, or folders of them
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
}

impl Command {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self::Test { files } = self;
        let (documents, unreadable) = read(&files);
        for error in &unreadable {
            tell(format!("error: {error}"));
        }
        let summary = run(&documents);
        print(&format!("{}{} passed, {} failed\n", summary.text, summary.passed, summary.failed))?;
        Ok(match (unreadable.len(), summary.failed) {
            (0, 0) => ExitCode::SUCCESS,
            (0, _) => ExitCode::FAILURE,
            _ => ExitCode::from(2),
        })
    }
}

/// A document of a case file.
#[derive(Debug)]
enum Document {
    Vectors(Vec<Vector>),
    Policy(Box<PolicyFile>),
}

/// What came of all cases.
#[derive(Debug, Default)]
struct Summary {
    passed: usize,
    failed: usize,
    /// A paragraph for each failure.
    text: String,
}

/// Reads files, and the YAML files right in folders; and what cannot be read.
fn read(paths: &[PathBuf]) -> (Vec<(PathBuf, Document)>, Vec<String>) {
    let (mut documents, mut unreadable) = (Vec::new(), Vec::new());
    for path in paths {
        let files = if path.is_dir() { policy_files(path) } else { Ok(vec![path.clone()]) };
        match files {
            Ok(files) if files.is_empty() => {
                unreadable.push(format!("{}: the folder holds no .yaml file", path.display()));
            }
            Ok(files) => {
                for file in files {
                    match read_file(&file) {
                        Ok(read) => documents.extend(read.into_iter().map(|document| (file.clone(), document))),
                        Err(error) => unreadable.push(error),
                    }
                }
            }
            Err(error) => unreadable.push(error),
        }
    }
    (documents, unreadable)
}

fn read_file(file: &Path) -> Result<Vec<Document>, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    let read: Vec<Document> = serde_saphyr::from_multiple_with_options(&read_text(file)?, options)
        .map_err(|error| format!("{}: {error}", file.display()))?;
    if read.is_empty() {
        Err(format!("{}: neither a list of cases nor a policy file", file.display()))
    } else {
        Ok(read)
    }
}

fn run(documents: &[(PathBuf, Document)]) -> Summary {
    let mut summary = Summary::default();
    let files = || documents.iter().filter_map(|(path, document)| Some((path, document.policy()?)));
    let named = NamedPolicies::new(files().map(|(_, file)| file));
    if let Err(error) = &named {
        summary.fail(Path::new("policy files"), "all together", &error.to_string());
    }
    let named = named.unwrap_or_default();
    for (path, document) in documents {
        match document {
            Document::Vectors(vectors) => {
                for vector in vectors {
                    summary.count(path, &vector.name, vector.run(&named));
                }
            }
            Document::Policy(file) => {
                let parse = |options| Policy::parse(&file.policy, &options, &NamedPolicies::default());
                let policy = file.gates().and_then(|_| file.options()).and_then(parse);
                for (index, example) in file.examples.iter().enumerate() {
                    let name = example.name.clone().unwrap_or_else(|| format!("example {}", index + 1));
                    summary.count(path, &format!("{}: {name}", file.name), example.run(policy.as_ref()));
                }
            }
        }
    }
    summary
}

impl Summary {
    fn count(&mut self, path: &Path, name: &str, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(Failure { expected, got, why }) => {
                let (expected, got) = (escape(&expected), escape(&got));
                let why = why.lines().map(escape).collect::<Vec<_>>().join("\n            ");
                self.fail(path, name, &format!("expected: {expected}\n  got:      {got}\n  because:  {why}"));
            }
        }
    }

    fn fail(&mut self, path: &Path, name: &str, what: &str) {
        self.failed += 1;
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "FAILED {}: {}\n  {}\n", escape(&path.display().to_string()), escape(name), what);
    }
}

impl Document {
    fn policy(&self) -> Option<&PolicyFile> {
        match self {
            Self::Vectors(_) => None,
            Self::Policy(file) => Some(file),
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of cases, or a policy file")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Document, A::Error> {
                Deserialize::deserialize(value::SeqAccessDeserializer::new(seq)).map(Document::Vectors)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Document, A::Error> {
                Deserialize::deserialize(value::MapAccessDeserializer::new(map)).map(Document::Policy)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
