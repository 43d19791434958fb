//! Tag lists: every page of them or none.
//!
//! We never ask for a page size: what a registry sends without `n` is all there is, or a page with a `Link`, while
//! with `n` some cut the list without saying so. `Link` is followed as it is until it is absent or a page is empty.

use std::{borrow::Cow, collections::HashSet, fmt};

use reqwest::{Method, header::LINK};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    answer::{elsewhere, fail},
    http::{Ask, Class},
    session::Look,
};
use crate::{
    domain::image::Tag,
    ports::{RegistryError, RegistryErrorKind},
};

/// All pages of a listing together.
const MAX_BYTES: usize = 64 * 1024 * 1024;
const MAX_PAGES: usize = 10_000;
const MAX_TAGS: usize = 1_000_000;
const MAX_LINK: usize = 4096;

/// All tags of the repository, sorted, each once.
pub(super) async fn list(look: &Look<'_>) -> Result<Vec<Tag>, RegistryError> {
    let what = format!("the tags of {}", look.source.repository);
    let broken = |why: &str| fail(RegistryErrorKind::Unavailable, format!("{what} cannot be read: {why}"));
    let deadline = look.http.listing_deadline();
    let mut url = look.url(&format!("v2/{}/tags/list", look.source.repository.path()))?;
    let mut seen = HashSet::from([url.to_string()]);
    let mut page = Page::default();
    let mut budget = MAX_BYTES;
    loop {
        let ask = Ask {
            class: Class::Tags,
            method: Method::GET,
            url: url.clone(),
            accept: "application/json",
            form: None,
            what: &what,
        };
        let mut answer = look.send(ask).await?;
        if !answer.status().is_success() {
            return Err(answer.unexpected());
        }
        let body = answer.body(budget).await?;
        budget -= body.len();
        page.count = 0;
        let read = page.read(&body);
        if page.tags.len() > MAX_TAGS {
            return Err(broken("there are more than 1,000,000"));
        }
        read.map_err(|_| answer.broken("sent no tag list"))?;
        let links = answer.headers().get_all(LINK).iter().map(|value| value.to_str().unwrap_or("\u{fffd}"));
        let next = next_link(links).map_err(|()| answer.broken("sent a Link header that cannot be read"))?;
        let Some(next) = next.filter(|_| page.count > 0) else { break };
        // Whoever answers in another's place does not say what that other is asked with our credentials.
        if let Some(to) = answer.way.left() {
            return Err(elsewhere(RegistryErrorKind::Refused, &format!("the next page of {what}"), to, ""));
        }
        url = answer.way.url().join(&next).map_err(|_| answer.broken("sent a Link header that cannot be read"))?;
        url.set_fragment(None);
        if url.origin() != look.registry.url.origin() {
            return Err(fail(
                RegistryErrorKind::Refused,
                format!("{what}: the next page is on another host, which is not followed"),
            ));
        }
        if seen.len() >= MAX_PAGES {
            return Err(broken("there are more than 10,000 pages"));
        }
        if !seen.insert(url.to_string()) {
            return Err(broken("its pages lead back to an earlier one"));
        }
        if look.http.clock.monotonic() > deadline {
            return Err(broken("its pages did not end in time"));
        }
    }
    if page.dropped > 0 {
        look.http.metrics.registry_tags_dropped.inc_by(page.dropped);
    }
    page.tags.sort_unstable();
    page.tags.dedup();
    page.tags.shrink_to_fit();
    Ok(page.tags)
}

/// The target of `rel=next`, if there is one; an error where the header cannot be read, as a page may be missed then.
fn next_link<'a>(headers: impl Iterator<Item = &'a str>) -> Result<Option<String>, ()> {
    for header in headers {
        let mut rest = header.trim();
        while !rest.is_empty() {
            let (target, after) = rest.strip_prefix('<').and_then(|r| r.split_once('>')).ok_or(())?;
            let end = find_unquoted(after, b',');
            if is_next(&after[..end]) {
                return if target.len() > MAX_LINK { Err(()) } else { Ok(Some(target.to_owned())) };
            }
            rest = after[end..].trim_start_matches([',', ' ', '\t']);
        }
    }
    Ok(None)
}

/// Where the first `separator` is that stands in no quotes, or the end.
fn find_unquoted(text: &str, separator: u8) -> usize {
    let mut quoted = false;
    let found = text.bytes().position(|b| {
        quoted ^= b == b'"';
        b == separator && !quoted
    });
    found.unwrap_or(text.len())
}

/// Whether a link's parameters (`; rel="next"; title=x`) have the relation `next`.
fn is_next(mut parameters: &str) -> bool {
    while let Some(rest) = parameters.trim_start().strip_prefix(';') {
        let (parameter, after) = rest.split_at(find_unquoted(rest, b';'));
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        if name.trim().eq_ignore_ascii_case("rel") && value.split_whitespace().any(|v| v.eq_ignore_ascii_case("next")) {
            return true;
        }
        parameters = after;
    }
    false
}

/// What has been read of a listing.
#[derive(Debug, Default)]
struct Page {
    tags: Vec<Tag>,
    /// Entries of this page, tags or not.
    count: usize,
    /// Entries of all pages that are no tags.
    dropped: u64,
}

impl Page {
    fn read(&mut self, body: &[u8]) -> Result<(), serde_json::Error> {
        let mut json = serde_json::Deserializer::from_slice(body);
        self.deserialize(&mut json)?;
        json.end()
    }
}

impl<'de> DeserializeSeed<'de> for &mut Page {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Page {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `tags`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "tags" && !found {
                found = true;
                map.next_value_seed(Entries(self))?;
            } else if key == "tags" {
                return Err(A::Error::duplicate_field("tags"));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if found { Ok(()) } else { Err(A::Error::missing_field("tags")) }
    }
}

/// The value of `tags`: an array of texts, or null where there is none.
struct Entries<'a>(&'a mut Page);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of tags")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Entry(self.0))?.is_some() {
            if self.0.tags.len() > MAX_TAGS {
                return Err(A::Error::custom("too many tags"));
            }
        }
        Ok(())
    }
}

/// One tag.
struct Entry<'a>(&'a mut Page);

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Entry<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tag")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.count += 1;
        match Tag::parse(text) {
            Ok(tag) => self.0.tags.push(tag),
            Err(_) => self.0.dropped += 1,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[rstest::rstest]
    #[case(&[], Ok(None))]
    #[case(&[""], Ok(None))]
    #[case(&[r#"</x>; rel="prev""#], Ok(None))]
    #[case(&[r#"</x>; rel="nextish""#], Ok(None))]
    #[case(&[r#"</x>; title="; rel=next""#], Ok(None))]
    #[case(&["</x>; rel=prev", "</y>; rel=next"], Ok(Some("/y")))]
    #[case(&["</a,b;c>;rel=\"last next\""], Ok(Some("/a,b;c")))]
    #[case(&["/x; rel=next"], Err(()))]
    #[case(&["</x; rel=next"], Err(()))]
    #[case(&["\u{fffd}"], Err(()))]
    fn the_next_link_is_found(#[case] headers: &[&str], #[case] expected: Result<Option<&str>, ()>) {
        assert_eq!(next_link(headers.iter().copied()), expected.map(|link| link.map(str::to_owned)));
    }

    proptest! {
        #[test]
        fn no_link_panics_or_hangs(text in r#"([<>;,="é ]|rel|next|/v2){0,30}"#) {
            let _ = next_link([text.as_str()].into_iter());
        }

        #[test]
        fn no_body_panics(text in r#"([\[\]{}:,"]|"tags"|"a"|null|1|é|\\u00){0,30}"#) {
            let mut page = Page::default();
            let _ = page.read(text.as_bytes());
        }

        #[test]
        fn every_tag_is_kept_and_nothing_else(texts: Vec<String>) {
            let mut page = Page::default();
            page.read(serde_json::json!({"tags": texts}).to_string().as_bytes()).unwrap();
            let tags: Vec<Tag> = texts.iter().filter_map(|text| Tag::parse(text).ok()).collect();
            prop_assert_eq!(page.count, texts.len());
            prop_assert_eq!(page.dropped as usize, texts.len() - tags.len());
            prop_assert_eq!(page.tags, tags);
        }
    }
}
