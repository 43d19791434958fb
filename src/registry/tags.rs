//! Tag lists: every page of them or none.
//!
//! We never ask for a page size: what a registry sends without `n` is all there is, or a page with a `Link`, while
//! with `n` some cut the list without saying so. `Link` is followed as it is until it is absent or a page is empty.

use std::collections::HashSet;

use reqwest::{Method, StatusCode, header::LINK};

use super::{
    answer::{elsewhere, fail},
    http::{Ask, Class},
    page::{Fault, Page},
    session::Look,
};
use crate::{
    domain::tags::{Collector, Tags},
    ports::{RegistryError, RegistryErrorKind},
};

/// All pages of a listing together.
const MAX_BYTES: usize = 64 * 1024 * 1024;
const MAX_PAGES: usize = 10_000;
const MAX_LINK: usize = 4096;
/// Of a body that comes at once, what is read before others get their turn.
const STRETCH: usize = 256 * 1024;
/// Lists that are longer are sorted beside everything else.
const LONG: usize = 64 * 1024;

/// All tags of the repository, if they have room.
pub(super) async fn list(look: &Look<'_>, room: usize) -> Result<Tags, RegistryError> {
    let what = format!("the tags of {}", look.source.repository);
    let broken = |why: &str| fail(RegistryErrorKind::Unavailable, format!("{what} cannot be read: {why}"));
    let deadline = look.http.listing_deadline();
    let mut url = look.url(&format!("v2/{}/tags/list", look.source.repository.path()))?;
    let mut seen = HashSet::from([url.to_string()]);
    let (mut tags, mut dropped) = (Collector::default(), 0);
    let mut budget = MAX_BYTES;
    loop {
        let ask = Ask {
            class: Class::Tags,
            source: look.source,
            method: Method::GET,
            url: url.clone(),
            accept: "application/json",
            form: None,
            what: &what,
        };
        let mut answer = look.send(ask).await?;
        let (status, page_number) = (answer.status(), seen.len());
        if status == StatusCode::NOT_FOUND && page_number > 1 {
            return Err(broken(&format!("{} answered {status} to the request for page {page_number}", answer.host)));
        }
        if !status.is_success() {
            return Err(answer.unexpected());
        }
        let mut page = Page::new(&mut tags, room);
        let (mut read, mut stretch) = (0, 0);
        let mut fed = Ok(());
        while fed.is_ok()
            && let Some(piece) = answer.piece(budget, read).await?
        {
            fed = page.feed(&piece);
            read += piece.len();
            stretch += piece.len();
            if stretch >= STRETCH {
                stretch = 0;
                tokio::task::yield_now().await;
            }
        }
        let (count, others) = fed.and_then(|()| page.end()).map_err(|fault| match fault {
            Fault::NoList => answer.broken("sent no tag list"),
            Fault::TooMany => broken("there are more than 1,000,000"),
            Fault::NoRoom => RegistryError::no_room(&look.source.repository),
        })?;
        budget -= read;
        dropped += others;
        let links = answer.headers().get_all(LINK).iter().map(|value| value.to_str().unwrap_or("\u{fffd}"));
        let next = next_link(links).map_err(|()| answer.broken("sent a Link header that cannot be read"))?;
        let Some(next) = next.filter(|_| count > 0) else { break };
        // Whoever answers in another's place does not say what that other is asked with our credentials.
        if let Some(to) = answer.way.left() {
            return Err(elsewhere(RegistryErrorKind::Refused, &format!("the next page of {what}"), to, ""));
        }
        url = answer.way.url().join(&next).map_err(|_| answer.broken("sent a Link header that cannot be read"))?;
        url.set_fragment(None);
        let ours = &look.registry.url;
        if url.origin() != ours.origin() {
            let why = if (url.host(), url.port()) == (ours.host(), ours.port()) {
                let (theirs, ours) = (url.scheme(), ours.scheme());
                format!(
                    "is named by {theirs}:, while this registry is asked by {ours}:, so it is not followed; a proxy \
                     before a registry must tell it the scheme (`X-Forwarded-Proto: {ours}`)"
                )
            } else {
                "is on another host, which is not followed".to_owned()
            };
            return Err(fail(RegistryErrorKind::Refused, format!("{what}: the next page {why}")));
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
    if dropped > 0 {
        look.http.metrics.registry_tags_dropped.inc_by(dropped);
    }
    if tags.bytes() < LONG {
        return Ok(tags.finish());
    }
    tokio::task::spawn_blocking(|| tags.finish()).await.map_err(|_| broken("sorting them failed"))
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
    }
}
