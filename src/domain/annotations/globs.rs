//! Lists of globs, as values of annotations.

use std::sync::Arc;

use globset::{Glob, GlobMatcher};

use crate::domain::image::excerpt;

/// One glob of a list.
#[derive(Debug)]
pub(super) enum NameGlob {
    /// A plain name, as most are: compiling each as a pattern was a third of the time that a start took.
    Name(Arc<str>),
    /// With anything that stands for more than itself.
    Pattern(GlobMatcher),
}

impl NameGlob {
    pub(super) fn is_match(&self, text: &str) -> bool {
        match self {
            Self::Name(name) => **name == *text,
            Self::Pattern(glob) => glob.is_match(text),
        }
    }
}

/// Globs, joined by commas; a comma inside `{}` or `[]` does not split.
pub(super) fn globs(value: &str) -> Result<Vec<NameGlob>, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    list(value)
        .into_iter()
        .map(|glob| match &*glob {
            "" => Err("an empty glob; write globs, joined by commas".to_owned()),
            plain if plain.chars().all(is_plain) => Ok(NameGlob::Name(glob)),
            pattern => match Glob::new(pattern) {
                Ok(pattern) => Ok(NameGlob::Pattern(pattern.compile_matcher())),
                Err(_) => Err(format!("`{}` is no glob", excerpt(pattern))),
            },
        })
        .collect()
}

/// The parts of a comma-separated list of globs.
pub(crate) fn list(value: &str) -> Vec<Arc<str>> {
    let mut parts = vec![String::new()];
    let (mut braces, mut brackets, mut escaped) = (0_usize, false, false);
    for c in value.chars() {
        match c {
            ',' if braces == 0 && !brackets && !escaped => {
                parts.push(String::new());
                continue;
            }
            '{' if !escaped && !brackets => braces += 1,
            '}' if !escaped && !brackets => braces = braces.saturating_sub(1),
            '[' if !escaped => brackets = true,
            ']' if !escaped => brackets = false,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.iter().map(|part| part.trim().into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("a,b", &["a", "b"])]
    #[case(" a , b ", &["a", "b"])]
    #[case("{a,b}-*,c", &["{a,b}-*", "c"])]
    #[case("[,]x,y", &["[,]x", "y"])]
    #[case("", &[""])]
    #[case("a,", &["a", ""])]
    #[case("}a,b", &["}a", "b"])]
    fn a_comma_inside_braces_does_not_split(#[case] value: &str, #[case] parts: &[&str]) {
        let list = list(value);
        assert_eq!(list.iter().map(AsRef::as_ref).collect::<Vec<_>>(), parts);
    }
}
