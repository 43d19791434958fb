//! The images that the trees use, in a real registry, and what policies make of them.

use std::collections::BTreeMap;

use super::super::registry::{Image, Registry};

const PATHS: [&str; 5] = ["team/web", "team/api", "team/job", "lib/proxy", "lib/log"];
const TAGS: [&str; 6] = ["1.0.0", "1.0.1", "1.0.2", "1.1.0", "1.2.0", "2.0.0"];
/// What looks like a number to YAML.
const SHORT: [&str; 3] = ["1.8", "1.9", "1.10"];

/// The images of a registry.
#[derive(Debug)]
pub(crate) struct Images {
    /// `host/path` and its tags, each with its digest.
    all: BTreeMap<String, Vec<(&'static str, String)>>,
}

/// An image that was pushed.
#[derive(Debug, Clone)]
pub(crate) struct Pushed {
    pub(crate) name: String,
    pub(crate) tag: String,
    pub(crate) digest: String,
}

impl Images {
    /// Pushes all of them; their digests are the same each time.
    pub(crate) async fn push(registry: &Registry) -> Self {
        let mut all = BTreeMap::new();
        for path in PATHS {
            let tags = if path == "lib/log" { &SHORT[..] } else { &TAGS[..] };
            let mut pushed = Vec::new();
            for tag in tags {
                let image = Image { seed: format!("{path}:{tag}"), ..Image::default() };
                pushed.push((*tag, registry.push(path, tag, &image).await.to_string()));
            }
            all.insert(format!("{}/{path}", registry.host), pushed);
        }
        Self { all }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.values().map(Vec::len).sum()
    }

    /// The image of that number.
    pub(crate) fn at(&self, number: u64) -> Pushed {
        let each = self.all.iter().flat_map(|(name, tags)| tags.iter().map(move |tag| (name, tag)));
        let number = usize::try_from(number).expect("a number of an image");
        let (name, (tag, digest)) = each.cycle().nth(number).expect("there are images");
        Pushed { name: name.clone(), tag: (*tag).to_owned(), digest: digest.clone() }
    }

    /// One of the tags of a repository; of another one if it has none.
    pub(crate) fn tag_of(&self, name: &str, number: u64) -> Pushed {
        match self.all.get(name) {
            None => self.at(number % self.len() as u64),
            Some(tags) => {
                let at = usize::try_from(number % tags.len() as u64).expect("an index");
                let (tag, digest) = &tags[at];
                Pushed { name: name.to_owned(), tag: (*tag).to_owned(), digest: digest.clone() }
            }
        }
    }

    /// The image that a policy wants in the place of `image`; none if it stays.
    pub(crate) fn newer(&self, image: &str, policy: &str) -> Option<String> {
        let (rest, digest) = image.split_once('@').map_or((image, None), |(rest, digest)| (rest, Some(digest)));
        let (name, tag) = rest.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
        let now = numbers(tag)?;
        let kept = match policy {
            "patch" => 2,
            "minor" => 1,
            "major" => 0,
            _ => return None,
        };
        // A level that the tag has no number for is a mistake.
        if kept == 2 && now.len() < 3 {
            return None;
        }
        let fits = |(tag, _): &&(&str, String)| {
            numbers(tag).is_some_and(|own| own.len() == now.len() && own[..kept] == now[..kept] && own > now)
        };
        let (tag, new) = self.all.get(name)?.iter().filter(fits).max_by_key(|(tag, _)| numbers(tag))?;
        Some(format!("{name}:{tag}{}", digest.map(|_| format!("@{new}")).unwrap_or_default()))
    }
}

fn numbers(tag: &str) -> Option<Vec<u64>> {
    tag.split('.').map(|number| number.parse().ok()).collect()
}
