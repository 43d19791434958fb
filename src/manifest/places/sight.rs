//! What is seen of a text before it is parsed.

use super::names::FileKind;

/// Whether a text may hold anything: `image`, `tag`, `version` or `digest` as a word or the end of one, our own words and
/// Keel's, what a patch does to containers, whole objects or by operations, a Namespace, an object that may be a patch, holds values or deploys others. In
/// one pass, as most files of a repository hold
/// none.
pub(super) fn is_promising(text: &[u8]) -> bool {
    text.windows(4).enumerate().any(|(at, word)| match word {
        b"mage" | b"MAGE" | b"iges" | b"IGES" | b"supe" | b"keel" | b"$pat" => true,
        b"aine" => text[..at].ends_with(b"ont"),
        b"rmer" => text[..at].ends_with(b"Transfo"),
        // Objects of Flux and Argo CD.
        b"kit." => text[..at].ends_with(b"tool"),
        b"proj" => text[..at].ends_with(b"argo"),
        b"Conf" | b"Secr" | b"Depl" | b"Stat" | b"Daem" | b"Cron" | b"Name" => is_kind(&text[..at]),
        // Operations.
        b"/met" => text[at..].starts_with(b"/metadata"),
        b"/spe" => text[at..].starts_with(b"/spec"),
        [b't' | b'T', b'a', b'g', _] | b"_TAG" | b"-TAG" | b"VERS" => true,
        // Every object has an `apiVersion`.
        b"Vers" => !text[..at].ends_with(b"api"),
        b"vers" => at == 0 || !text[at - 1].is_ascii_alphanumeric(),
        _ => false,
    })
}

/// Whether a text ends where the kind of an object would begin.
fn is_kind(text: &[u8]) -> bool {
    let end = text.iter().rposition(|byte| !b" \"':".contains(byte)).map_or(0, |last| last + 1);
    text[..end].ends_with(b"kind")
}

/// The first line of a chart's template that no YAML needs.
pub(super) fn template_line(kind: FileKind, text: &str) -> Option<usize> {
    let at = text.find("{{").filter(|_| kind == FileKind::Template)?;
    Some(1 + text[..at].bytes().filter(|byte| *byte == b'\n').count())
}
