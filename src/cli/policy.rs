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

use super::output::print;
use crate::{
    config::{policy_files, read_text},
    domain::policy::{Failure, NamedPolicies, Policy, PolicyFile, Vector},
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
        let cases = match read(&files) {
            Ok(cases) => cases,
            Err(error) => {
                eprintln!("error: {error}");
                return Ok(ExitCode::from(2));
            }
        };
        let summary = run(&cases);
        print(&format!("{}{} passed, {} failed\n", summary.text, summary.passed, summary.failed))?;
        Ok(if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

/// Reads files, and the YAML files right in folders.
fn read(paths: &[PathBuf]) -> Result<Vec<(PathBuf, Document)>, String> {
    let mut documents = Vec::new();
    for path in paths {
        let files = if path.is_dir() { policy_files(path)? } else { vec![path.clone()] };
        if files.is_empty() {
            return Err(format!("{}: the folder holds no .yaml file", path.display()));
        }
        for file in files {
            let text = read_text(&file)?;
            let read: Vec<Document> =
                serde_saphyr::from_multiple(&text).map_err(|error| format!("{}: {error}", file.display()))?;
            if read.is_empty() {
                return Err(format!("{}: neither a list of cases nor a policy file", file.display()));
            }
            documents.extend(read.into_iter().map(|document| (file.clone(), document)));
        }
    }
    Ok(documents)
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
                let policy =
                    file.options().and_then(|options| Policy::parse(&file.policy, &options, &NamedPolicies::default()));
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
                let why = why.replace('\n', "\n            ");
                self.fail(path, name, &format!("expected: {expected}\n  got:      {got}\n  because:  {why}"));
            }
        }
    }

    fn fail(&mut self, path: &Path, name: &str, what: &str) {
        self.failed += 1;
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "FAILED {}: {name}\n  {what}\n", path.display());
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
