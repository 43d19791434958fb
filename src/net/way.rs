//! Where redirects lead a request, and whether the credentials that it was made with may still be used there.

use http::{HeaderMap, header::LOCATION};
use url::Url;

use crate::domain::image::excerpt;

/// The way of one request. Credentials belong to the origin (scheme, host, port) where it begins; once it has left
/// that, nothing of them is used: no `Authorization`, no answer to a challenge, no token from a realm that is named
/// there. Nor after it has come back, as another's words brought it there.
#[derive(Debug, Clone)]
pub struct Way {
    home: Url,
    now: Url,
    /// The first origin that is not the one where it began.
    left: Option<Elsewhere>,
}

/// A request was led from the origin that its credentials are for to another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{from} leads to {to}, where no credentials for {from} are used")]
pub struct Elsewhere {
    from: String,
    to: String,
}

impl Way {
    /// A request for this URL. What stands before an `@` in it would be sent as credentials, and is taken out.
    pub fn new(url: Url) -> Self {
        let now = plain(url);
        Self { home: now.clone(), now, left: None }
    }

    /// Where it is now.
    pub fn url(&self) -> &Url {
        &self.now
    }

    /// Goes on to where an answer leads; `false` if it does not say where.
    pub fn follow(&mut self, headers: &HeaderMap) -> bool {
        let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let Some(next) = location.and_then(|location| self.now.join(location).ok()) else { return false };
        self.now = plain(next);
        if self.left.is_none() && self.now.origin() != self.home.origin() {
            let name = |url: &Url| excerpt(&url.origin().ascii_serialization());
            self.left = Some(Elsewhere { from: name(&self.home), to: name(&self.now) });
        }
        true
    }

    /// The end of the credentials, if it came.
    pub fn left(&self) -> Option<&Elsewhere> {
        self.left.as_ref()
    }
}

fn plain(mut url: Url) -> Url {
    // Only a URL without a host has no place for them.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.set_fragment(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::path(&["/b"], None)]
    #[case::same_origin(&["https://a.example:443/b", "?c"], None)]
    #[case::other_host(&["https://b.example/"], Some("https://b.example"))]
    #[case::suffix(&["https://a.example.b.example/"], Some("https://a.example.b.example"))]
    #[case::without_a_scheme(&["//b.example/"], Some("https://b.example"))]
    #[case::user(&["https://a.example@b.example/"], Some("https://b.example"))]
    #[case::backslash(&["https:\\\\b.example\\@a.example/"], Some("https://b.example"))]
    #[case::port(&["https://a.example:8443/"], Some("https://a.example:8443"))]
    #[case::plain(&["http://a.example/"], Some("http://a.example"))]
    #[case::plain_on_the_same_port(&["http://a.example:443/"], Some("http://a.example:443"))]
    #[case::back_again(&["https://b.example/", "https://a.example/"], Some("https://b.example"))]
    #[case::file(&["file:///etc/passwd"], Some("null"))]
    fn credentials_end_where_the_origin_is_left(#[case] locations: &[&str], #[case] left: Option<&str>) {
        let mut way = Way::new(Url::parse("https://u:p@a.example/a").unwrap());
        for location in locations {
            assert!(way.follow(&HeaderMap::from_iter([(LOCATION, location.parse().unwrap())])));
        }
        assert_eq!(way.left().map(|elsewhere| &*elsewhere.to), left);
        assert!(way.url().username().is_empty() && way.url().password().is_none());
        if let Some(elsewhere) = way.left() {
            let words = elsewhere.to_string();
            assert!(words.starts_with("https://a.example leads to ") && words.contains(left.unwrap()), "{words}");
        }
    }

    #[test]
    fn a_location_that_is_absent_or_cannot_be_read_leads_nowhere() {
        let mut way = Way::new(Url::parse("https://a.example/a").unwrap());
        assert!(!way.follow(&HeaderMap::new()));
        assert!(!way.follow(&HeaderMap::from_iter([(LOCATION, "http://[".parse().unwrap())])));
        assert_eq!(way.url().as_str(), "https://a.example/a");
    }
}
