//! YAML as different people write it: block and flow style, quotes, comments, lists indented or not.

use super::super::kills::Random;

/// A value of a document.
#[derive(Debug, Clone)]
pub(crate) enum Yaml {
    Text(String),
    /// A number or a word that is no string.
    Bare(&'static str),
    Map(Vec<(String, Yaml)>),
    List(Vec<Yaml>),
    /// A text that is itself YAML, as the patches within a kustomization.
    Inner(Box<Yaml>),
}

/// A string.
pub(crate) fn text(text: impl Into<String>) -> Yaml {
    Yaml::Text(text.into())
}

/// A mapping with these keys in this order.
pub(crate) fn map<K: Into<String>>(pairs: impl IntoIterator<Item = (K, Yaml)>) -> Yaml {
    Yaml::Map(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// A value under several keys, each in the one before.
pub(crate) fn under(path: &str, value: Yaml) -> Yaml {
    path.split('/').filter(|key| !key.is_empty()).rev().fold(value, |value, key| map([(key, value)]))
}

/// Writes documents, each in a way of its own.
pub(crate) struct Writer<'r> {
    pub(crate) random: &'r mut Random,
}

impl Writer<'_> {
    fn one_in(&mut self, n: u64) -> bool {
        self.random.below(n) == 0
    }

    /// A file of these documents.
    pub(crate) fn file(&mut self, documents: &[Yaml]) -> String {
        let mut out = String::new();
        for (index, document) in documents.iter().enumerate() {
            if index > 0 || self.one_in(5) {
                out.push_str("---\n");
            }
            if self.one_in(6) {
                out.push_str("# of the team: image: none\n");
            }
            self.block(document, 0, &mut out);
            if self.one_in(12) {
                out.push('\n');
            }
        }
        if self.one_in(30) {
            out = out.replace('\n', "\r\n");
        } else if self.one_in(25) {
            out.truncate(out.trim_end().len());
        }
        out
    }

    fn block(&mut self, value: &Yaml, indent: usize, out: &mut String) {
        let pad = " ".repeat(indent);
        match value {
            Yaml::Map(pairs) if !pairs.is_empty() => {
                for (key, value) in pairs {
                    out.push_str(&pad);
                    let key = self.key(key);
                    out.push_str(&key);
                    out.push(':');
                    self.after_key(value, indent, out);
                }
            }
            Yaml::List(items) if !items.is_empty() => {
                for item in items {
                    if self.one_in(15) {
                        out.push_str(&format!("{pad}# next: 'one'\n"));
                    }
                    let mut inner = String::new();
                    let flat = self.is_flow(item);
                    match item {
                        Yaml::Map(pairs) if !flat && !pairs.is_empty() => self.block(item, indent + 2, &mut inner),
                        _ => {
                            inner.push_str(&" ".repeat(indent + 1));
                            self.after_key(item, indent, &mut inner);
                        }
                    }
                    out.push_str(&format!("{pad}-{}", &inner[indent + 1..]));
                }
            }
            other => {
                out.push_str(&pad);
                self.flow(other, out);
                out.push('\n');
            }
        }
    }

    /// A value behind `key:` or `-`, to the end of its lines.
    fn after_key(&mut self, value: &Yaml, indent: usize, out: &mut String) {
        match value {
            Yaml::Map(pairs) if !pairs.is_empty() && !self.is_flow(value) => {
                out.push('\n');
                self.block(value, indent + 2, out);
            }
            Yaml::List(items) if !items.is_empty() && !self.is_flow(value) => {
                out.push('\n');
                let more = if self.one_in(2) { 0 } else { 2 };
                self.block(value, indent + more, out);
            }
            Yaml::Inner(inner) if !self.one_in(25) => {
                let mut lines = String::new();
                match self.one_in(8) {
                    true => lines = json(inner) + "\n",
                    false => self.block(inner, 0, &mut lines),
                }
                out.push_str(if self.one_in(3) { " |\n" } else { " |-\n" });
                for line in lines.lines() {
                    out.push_str(&format!("{}{line}\n", " ".repeat(indent + 4)));
                }
            }
            other => {
                out.push(' ');
                self.flow(other, out);
                if self.one_in(10) {
                    out.push_str(" # as 'agreed'");
                }
                out.push('\n');
            }
        }
    }

    fn is_flow(&mut self, value: &Yaml) -> bool {
        fn size(value: &Yaml) -> usize {
            match value {
                Yaml::Map(pairs) => pairs.iter().map(|(_, value)| 1 + size(value)).sum(),
                Yaml::List(items) => items.iter().map(size).sum(),
                Yaml::Inner(_) => 100,
                _ => 1,
            }
        }
        match size(value) {
            0..4 => self.one_in(3),
            4..9 => self.one_in(6),
            9..30 => self.one_in(40),
            _ => false,
        }
    }

    fn flow(&mut self, value: &Yaml, out: &mut String) {
        match value {
            Yaml::Map(pairs) => {
                out.push('{');
                for (index, (key, value)) in pairs.iter().enumerate() {
                    out.push_str(if index > 0 { ", " } else { "" });
                    let key = self.key(key);
                    out.push_str(&format!("{key}: "));
                    self.flow(value, out);
                }
                out.push('}');
            }
            Yaml::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { ", " } else { "" });
                    self.flow(item, out);
                }
                out.push(']');
            }
            Yaml::Bare(word) => out.push_str(word),
            Yaml::Text(text) => {
                let text = self.scalar(text);
                out.push_str(&text);
            }
            Yaml::Inner(inner) => out.push_str(&format!("'{}'", json(inner).replace('\'', "''"))),
        }
    }

    fn key(&mut self, key: &str) -> String {
        match (is_plain(key), self.one_in(40)) {
            (true, false) => key.to_owned(),
            (_, true) => format!("\"{key}\""),
            (false, false) => format!("'{key}'"),
        }
    }

    fn scalar(&mut self, text: &str) -> String {
        let single = || format!("'{}'", text.replace('\'', "''"));
        match self.random.below(6) {
            0 => single(),
            1 => serde_json::Value::from(text).to_string(),
            _ if is_plain(text) => text.to_owned(),
            _ => single(),
        }
    }
}

/// Whether it is the same string without quotes.
fn is_plain(text: &str) -> bool {
    let is_word = text.chars().all(|c| c.is_ascii_alphanumeric() || "./:_-@$".contains(c)) && !text.ends_with(':');
    let is_string =
        text.parse::<f64>().is_err() && !matches!(text, "" | "true" | "false" | "null" | "yes" | "no" | "-");
    is_word
        && is_string
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c.is_ascii_digit() || "/$".contains(c))
}

/// The value as JSON, on one line.
pub(crate) fn json(value: &Yaml) -> String {
    fn of(value: &Yaml) -> serde_json::Value {
        match value {
            Yaml::Text(text) => text.as_str().into(),
            Yaml::Bare(word) => serde_json::from_str(word).expect("a number or a word of JSON"),
            Yaml::Map(pairs) => pairs.iter().map(|(key, value)| (key.clone(), of(value))).collect(),
            Yaml::List(items) => items.iter().map(of).collect(),
            Yaml::Inner(inner) => json(inner).into(),
        }
    }
    of(value).to_string()
}
