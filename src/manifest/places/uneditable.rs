//! Where an image stands that no place is found for, and why it cannot be edited there.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    FILE_KIND, Index, Location, Wanted,
    cell::{Cell, ImageExpr, Name, is_unset, split},
    index::{self, Draft},
    listed::{self, Listed},
    locate::{MAX_LEFT_ALONE, draft},
    marker::Says,
    mention::{self, Mentions, Version},
    names::FileKind,
};
use crate::domain::image::{Repository, excerpt};

/// An image that stands in a file and cannot be edited there.
#[derive(Debug, Clone)]
pub(super) struct Uneditable<'f> {
    pub(super) path: &'f Arc<str>,
    pub(super) line: usize,
    /// Why, and what to do.
    pub(super) why: String,
}

/// By repository.
pub(super) type AllUneditable<'f> = HashMap<Repository, Vec<Uneditable<'f>>>;

/// What makes no image where one is meant.
pub(super) fn add<'f, 'm>(
    all: &mut AllUneditable<'f>,
    path: &'f Arc<str>,
    exprs: impl IntoIterator<Item = &'m ImageExpr>,
) {
    for expr in exprs {
        if let Some((repository, held)) = of_maker(path, expr) {
            all.entry(repository).or_default().push(held);
        }
    }
}

/// Of what is made of values; none if it is an image, or if it is not known whose.
pub(super) fn of_maker<'f>(path: &'f Arc<str>, expr: &ImageExpr) -> Option<(Repository, Uneditable<'f>)> {
    let error = expr.holds().err()?;
    let repository = repository(expr)?;
    let wrong = expr.cells().find(|cell| is_open(&cell.value) || cell.value.contains('\n'));
    let cell = wrong.or(expr.main())?;
    Some((repository, Uneditable { path, line: cell.line, why: why(cell).unwrap_or_else(|| error.to_string()) }))
}

/// Of what is made of values of which one is filled in from elsewhere: the repository, and that value.
pub(super) fn open(expr: &ImageExpr) -> Option<(Repository, &Cell)> {
    expr.holds().err()?;
    Some((repository(expr)?, expr.cells().find(|cell| is_open(&cell.value))?))
}

fn repository(expr: &ImageExpr) -> Option<Repository> {
    let whole = |cell: &Cell| Repository::parse(split(cell.value.rsplit('=').next().unwrap_or_default()).0).ok();
    match expr {
        ImageExpr::Whole { cell, .. } => whole(cell),
        ImageExpr::Parts(parts) => match (&parts.registry, &parts.name) {
            (Some(registry), Name::Cell(name)) if !is_unset(&registry.value) => {
                Repository::parse(&format!("{}/{}", registry.value.trim_end_matches('/'), name.value)).ok()
            }
            (_, name) => Repository::parse(name.value()).ok(),
        },
    }
}

/// Why a marked value makes no image of the repository that the marker means; none if it does.
pub(super) fn of_marked<'f>(
    path: &'f Arc<str>,
    says: &Says,
    repository: &Repository,
    expr: &ImageExpr,
    is_ours: bool,
) -> Option<Uneditable<'f>> {
    let line = expr.main().map_or(1, |cell| cell.line);
    let why = match (expr.holds(), says) {
        // It moves nothing, whatever it is.
        (Err(_), says) if says.is_never() => return None,
        (Err(_), _) => return of_maker(path, expr).map(|(_, held)| held),
        (Ok(holds), _) if holds.repository != *repository => {
            format!("the marker is for the image {repository}, and this is {}: correct one of them", holds.repository)
        }
        (_, Says::Flux(name)) if !is_ours => {
            format!("Flux's policy `{}` is not among the `imagePolicies` of the target: add it", excerpt(name))
        }
        _ => return None,
    };
    Some(Uneditable { path, line, why })
}

/// Why a value is no part of an image, and what to do.
pub(super) fn why(cell: &Cell) -> Option<String> {
    match () {
        () if is_open(&cell.value) => Some(format!("`{}` {OPEN}", excerpt(&cell.value))),
        () if cell.value.contains('\n') => {
            Some("the value is a text of lines (`|` or `>`): write it on the line of its key".to_owned())
        }
        () => None,
    }
}

/// What a release fills in from elsewhere.
pub(super) const OPEN_ABOVE: &str = "a part of the image is filled in here from elsewhere, and stands above what is below: write the \
                          image here, or mark the value there (`# supercargo: minor image=<repository> part=tag`)";

const OPEN: &str = "is filled in from elsewhere: write the image here, or mark the value there \
                    (`# supercargo: minor image=<repository> part=tag`)";

const OPEN_TAG: &str = "its tag is filled in from elsewhere: write the image here, or mark the tag there (`# supercargo: minor \
                        image=<repository> part=tag`)";
const BARE: &str = "no tag that is known stands with it: call the keys `repository` and `tag`, or mark the line that has \
                    the tag (`# supercargo: minor image=<repository> part=tag`)";

/// Whether something else fills a value in.
pub(super) fn is_open(value: &str) -> bool {
    ["$", "{{", "<%"].iter().any(|sign| value.contains(sign))
}

impl<'f> Index<'f> {
    /// Where an image stands, one line each, though it is not to be edited there for a workload, or for an entry of
    /// `supercargo.yaml`. Empty if no file holds it.
    pub(super) fn uneditable(&self, repository: &Repository, listed: Option<&Listed>) -> Vec<Uneditable<'f>> {
        let mut found: BTreeMap<(&str, usize), Uneditable<'f>> = BTreeMap::new();
        let add = |found: &mut BTreeMap<_, _>, held: Uneditable<'f>| {
            found.entry((&**held.path, held.line)).or_insert(held);
        };
        let uncovered = |path: &str| listed.filter(|listed| !listed.covers(path)).map(not_covered);
        for held in self.barred.get(repository).into_iter().chain(self.images().1.get(repository)).flatten() {
            let why = uncovered(held.path).unwrap_or_else(|| held.why.clone());
            add(&mut found, Uneditable { why, ..held.clone() });
        }
        for (draft, why) in self.of_others(repository, listed.is_some()) {
            let why = uncovered(draft.path).unwrap_or(why);
            add(&mut found, Uneditable { path: draft.path, line: draft.line, why });
        }
        let is_other = |path: &Arc<str>, line| {
            let others = self.other_values.get(repository).into_iter().flatten();
            others.into_iter().any(|draft| draft.path == path && draft.expr.cells().any(|cell| cell.line == line))
        };
        for (path, mention) in self.mentions().get(&mention::hash(repository)).into_iter().flatten() {
            let (kind, line) = (FileKind::of(path), mention.line as usize);
            let unread =
                self.files.get(&***path).and_then(|facts| facts.unread()).filter(|_| kind != FileKind::Template);
            // Those are told by their names, and a name is told by what stands beside it.
            let is_told = is_other(path, line) && listed.is_none_or(|listed| listed.files.is_none());
            let is_part = mention.version == Version::None
                && found.range((&***path, 0)..).next().is_some_and(|((of, _), _)| *of == &***path);
            if !is_told && !is_part {
                let (line, why) = unread.unwrap_or_else(|| (line, why_not(kind, mention.version)));
                let why = uncovered(path).unwrap_or_else(|| why.to_owned());
                add(&mut found, Uneditable { path, line, why });
            }
        }
        for (draft, line) in self.without_registry(repository) {
            let why = format!(
                "its registry stands on line {line}, and is not taken for it: write `registry: {}` beside it, or mark the line \
                 that has the tag (`# supercargo: minor image=<repository> part=tag`)",
                repository.host()
            );
            add(
                &mut found,
                Uneditable { path: draft.path, line: draft.line, why: uncovered(draft.path).unwrap_or(why) },
            );
        }
        let told = |held: Uneditable<'f>| Uneditable {
            why: held.why.replace("<repository>", &repository.to_string()),
            ..held
        };
        found.into_values().map(told).collect()
    }

    /// Values that hold a repository without its registry, where another line of the file has that (`global.registry`).
    fn without_registry(&self, repository: &Repository) -> Vec<(&Draft<'f>, usize)> {
        let Ok(bare) = Repository::parse(repository.path()) else { return Vec::new() };
        let all = [&self.values, &self.other_values].into_iter().filter(|_| bare != *repository);
        let drafts = all.flat_map(|all| all.get(&bare)).flatten();
        let with_registry = drafts.filter_map(|draft| {
            let flat = &self.files.get(draft.path)?.flat;
            let is_registry = |(key, cell): &&(Box<str>, Cell)| {
                key.to_ascii_lowercase().ends_with("registry") && cell.value.trim_end_matches('/') == repository.host()
            };
            // The outermost is for all.
            let outermost = flat.iter().filter(is_registry).min_by_key(|(key, _)| key.matches('.').count());
            Some((draft, outermost?.1.line))
        });
        with_registry.collect()
    }

    /// Where else the image of a workload stands as in values, in files that are none by their names; none if its places
    /// are no values files. Of an entry of `supercargo.yaml`, which tells so itself, the files that it names in vain.
    pub fn besides(&self, wanted: &Wanted, spots: &[Location]) -> Option<String> {
        if let Some(listed) = self.listed(&wanted.workload.name).filter(|_| wanted.workload.kind.as_str() == FILE_KIND)
        {
            let tag = wanted.from.tag.as_ref().map(|tag| tag.as_str());
            return self.orphans(listed, tag, |path| spots.iter().any(|spot| *spot.path == *path));
        }
        let repository = &wanted.to.repository;
        let is_values = |spot: &Location| {
            let values = self.values.get(repository).into_iter().flatten();
            values.into_iter().any(|draft| (draft.path, draft.line) == (&spot.path, spot.line))
        };
        if !spots.iter().any(is_values) {
            return None;
        }
        let others = self.other_values.get(repository)?.iter().filter(|draft| !self.is_never(draft));
        let others: Vec<String> =
            others.take(MAX_LEFT_ALONE).map(|draft| format!("{}:{}", excerpt(draft.path), draft.line)).collect();
        (!others.is_empty()).then(|| {
            let others = others.join(", ");
            format!("{others} has it, too, and stays, as it is no values file by its name: name it by `values` of the target")
        })
    }

    /// The places of an image that are not those of who asks.
    fn of_others(&self, repository: &Repository, is_listed: bool) -> Vec<(&Draft<'f>, String)> {
        let mut all = Vec::new();
        let rendered = self.images().0.get(repository).into_iter().flatten();
        all.extend(rendered.map(|draft| (draft, "it is the image of another workload or container".to_owned())));
        let released = self.released.get(repository).into_iter().flatten();
        all.extend(released.map(|(release, each)| {
            let target = self.releases[*release].as_deref();
            let target = target.map_or("another namespace".to_owned(), |n| format!("the namespace {}", excerpt(n)));
            let why = match &each.draft.ambiguity {
                Some(ambiguity) if each.draft.is_open() => ambiguity.reason.to_owned(),
                _ => format!("it is for another release, which goes to {target}"),
            };
            (&each.draft, why)
        }));
        if is_listed {
            let maps = [&self.values, &self.entries, &self.configured];
            all.extend(
                maps.into_iter().flat_map(|map| map.get(repository)).flatten().map(|draft| (draft, String::new())),
            );
        }
        all
    }

    /// Images that manifests make with what kustomizations do, and what is none there.
    pub(super) fn images(&self) -> &(HashMap<Repository, Vec<Draft<'f>>>, AllUneditable<'f>) {
        self.images.get_or_init(|| {
            let (mut images, mut held) = (HashMap::new(), AllUneditable::new());
            let roots = self.renderings.iter().filter(|rendering| rendering.chain.is_root);
            for (.., made) in roots.flat_map(|rendering| self.all_made(rendering)) {
                let (path, line) = (made.path, made.line);
                let why = made.expr.main().and_then(why);
                match (Repository::parse(split(&made.image).0), draft(made)) {
                    (_, Ok(draft)) => index::add(&mut images, [draft]),
                    (Ok(repository), Err(misfit)) => {
                        let why = why.unwrap_or_else(|| misfit.reason());
                        held.entry(repository).or_default().push(Uneditable { path, line, why });
                    }
                    _ => {}
                }
            }
            (images, held)
        })
    }

    fn mentions(&self) -> &Mentions<'f> {
        self.mentions.get_or_init(|| {
            let mut all = Mentions::new();
            for (path, facts) in self.files {
                for mention in &facts.mentions {
                    all.entry(mention.hash).or_default().push((path, *mention));
                }
            }
            all
        })
    }
}

/// Why an image that a line names is no place.
fn why_not(kind: FileKind, version: Version) -> &'static str {
    match (kind, version) {
        (FileKind::Template, _) => {
            "a template of a chart is left alone: what the chart takes from its values is edited there"
        }
        (_, Version::Open) => OPEN_TAG,
        (FileKind::Dockerfile, _) => {
            "in such a file only marked values count: put `# supercargo: minor` on the line above"
        }
        (_, Version::None) => BARE,
        _ => {
            "it is at no place where images are looked for: mark it with `# supercargo: minor` behind the value, which must \
             stand alone on its line, and in no text of several lines"
        }
    }
}

/// The lines, for people; empty if there are none.
pub(super) fn shown(all: &[Uneditable]) -> String {
    let each = all.iter().take(MAX_LEFT_ALONE);
    let each: Vec<String> = each.map(|held| format!("{}:{}: {}", excerpt(held.path), held.line, held.why)).collect();
    match all.len().saturating_sub(each.len()) {
        0 => each.join("; "),
        more => format!("{}; and {more} more lines", each.join("; ")),
    }
}

fn not_covered(listed: &Listed) -> String {
    format!("`files` of the entry `{}` of {} does not cover it", excerpt(&listed.name), listed::FILE)
}
