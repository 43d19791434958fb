//! Places that make the images of several workloads: one is edited only where everybody wishes the same. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    asked::Asked,
    chain::FileEdit,
    find::{Carried, Carries, EditedImages, Finding, Key, is_same_version, same},
    settings::Scope,
};
use crate::{
    domain::{
        image::ImageRef,
        plan::{Origin, Wishes},
        reason::{Code, Other, Reason},
        text::escape,
        workload::WorkloadId,
    },
    manifest::places::{FILE_KIND, Index, LocationEdit, Sharer, Sharers, Wanted},
};

/// Other wishes that are named in one reason.
const MAX_NAMED: usize = 5;

/// What is wished for an image that shares its place.
enum Wish {
    /// Another image, or none.
    To(ImageRef),
    /// To stay as it is, and why.
    Stay(&'static str),
    /// It is not known what the place does to it, or what is wished, and why.
    Unknown(Arc<str>),
    /// It goes where its place goes.
    Any,
}

/// Blocks what would change the image of a workload that is to have another one, or to stay as it is; where all agree,
/// the edit is theirs, too.
pub(super) fn contest(
    asked: &[Asked],
    findings: &mut [Finding],
    index: &Index<'_>,
    scope: &Scope,
    brought: &EditedImages,
) {
    if !findings.iter().any(|finding| matches!(finding, Finding::Edits(..))) {
        return;
    }
    let wishes: BTreeMap<*const Wishes, &Wishes> =
        asked.iter().map(|asked| (Arc::as_ptr(&asked.wishes), &*asked.wishes)).collect();
    let known: Vec<Wanted> = wishes.into_values().flat_map(|wishes| wanted(wishes, scope)).collect();
    let sharers = index.sharers(&known);
    let changes = asked.iter().flat_map(|Asked { update, .. }| {
        update.changes().map(|change| ((&update.workload, &*change.container, change.init), &change.to))
    });
    let changes: Changes = changes.collect();
    let mut carries: HashMap<(FileEdit, bool), Arc<Carries>> = HashMap::new();
    for (asked, finding) in asked.iter().zip(findings) {
        let Finding::Edits(edits, places) = finding else { continue };
        let contested = edits.iter().find_map(|edit| {
            let (_, to) = brought.get(edit)?;
            let against = against(asked, edit, to, &sharers, &changes);
            (!against.is_empty()).then(|| reason(asked, edit, to, &against, (index, scope)))?
        });
        match contested {
            Some(reason) => *finding = Finding::Blocked(reason),
            None => {
                // Many may ask for the same edit.
                let carried = edits.iter().filter_map(|edit| {
                    let (brought, key) = (brought.get(edit)?, (edit.clone(), is_by_file(asked)));
                    let all = carries.entry(key).or_insert_with(|| {
                        let all = wished(asked, edit, &sharers, &changes);
                        all.filter_map(|(sharer, wish)| carried(sharer, wish, brought)).collect::<Carries>().into()
                    });
                    Some(all.clone())
                });
                places.carries.extend(carried);
                let of =
                    |(path, edit): &FileEdit| sharers.others(path, edit).map(|other| (path.clone(), other)).collect();
                let others: Vec<Vec<FileEdit>> = edits.iter().map(of).collect();
                edits.extend(others.into_iter().flatten());
            }
        }
    }
}

/// What comes of a sharer's image by an edit that nobody is against.
fn carried(sharer: &Sharer, wish: Wish, brought: &(ImageRef, ImageRef)) -> Option<(Key, Carried)> {
    let carried = match wish {
        Wish::To(to) => Carried::To(to),
        Wish::Any => Carried::Along(brought.clone()),
        Wish::Stay(_) | Wish::Unknown(_) => return None,
    };
    Some(((sharer.workload.clone(), sharer.container.clone(), sharer.init), carried))
}

/// Whether an entry or a marker of the repository asks.
fn is_by_file(asked: &Asked) -> bool {
    asked.update.workload.kind.as_str() == FILE_KIND
}

/// The image that each container is to have that somebody asks for now.
type Changes<'a> = HashMap<(&'a WorkloadId, &'a str, bool), &'a ImageRef>;

/// The images that are watched and may come from this target in other ways than by their manifest.
fn wanted<'w>(wishes: &'w Wishes, scope: &Scope) -> impl Iterator<Item = Wanted> + use<'w> {
    let name = scope.name.clone();
    let ours = wishes.iter().filter(move |(_, wish)| wish.watched && wish.origin.may_be(&name));
    ours.flat_map(|(workload, wish)| {
        wish.images.iter().filter_map(|image| {
            Some(Wanted {
                workload: workload.clone(),
                instance: wish.instance.clone(),
                container: image.container.clone(),
                init: image.init,
                from: image.now.clone()?,
                to: image.now.clone()?,
            })
        })
    })
}

/// What is wished for each whose image an edit changes.
fn wished<'s>(
    asked: &Asked,
    (path, edit): &FileEdit,
    sharers: &'s Sharers,
    changes: &Changes<'_>,
) -> impl Iterator<Item = (&'s Sharer, Wish)> {
    let own = sharers.of(path, edit).find(|sharer| sharer.workload == asked.update.workload);
    sharers.of(path, edit).map(move |sharer| (sharer, wish(asked, own, sharer, changes)))
}

/// Those whose image an edit would make another than is wished for them.
fn against<'s>(
    asked: &Asked,
    at: &FileEdit,
    to: &ImageRef,
    sharers: &'s Sharers,
    changes: &Changes<'_>,
) -> Vec<(&'s Sharer, Wish)> {
    let is_other = |(sharer, wish): &(&Sharer, Wish)| match wish {
        Wish::To(wished) => {
            let is_alike = || !sharer.by_version && is_version(&at.1, to) && is_same_version(wished, to);
            !(same(wished, to) || is_alike())
        }
        Wish::Stay(_) | Wish::Unknown(_) => true,
        Wish::Any => false,
    };
    wished(asked, at, sharers, changes).filter(is_other).collect()
}

/// Whether an edit writes the tag or the digest alone: an anchor may bring one to images of several names.
fn is_version(edit: &LocationEdit, to: &ImageRef) -> bool {
    let digest = to.digest.as_ref().map(ToString::to_string).unwrap_or_default();
    let tag = to.tag.as_ref().map(|tag| tag.as_str()).unwrap_or_default();
    edit.new == tag || digest.ends_with(&edit.new)
}

fn wish(asked: &Asked, own: Option<&Sharer>, sharer: &Sharer, changes: &Changes<'_>) -> Wish {
    let Sharer { workload, container, init, annotations, by_version, ambiguity } = sharer;
    let by_file = is_by_file(asked);
    let known = asked.wishes.get(workload);
    let is_plain = annotations.as_ref().is_none_or(|annotations| annotations.is_empty());
    // Such a one is for whatever has no policy of its own.
    let is_free = by_file && known.map_or(is_plain, |wish| !wish.watched);
    let any = || if *by_version { Wish::Stay("an entry of `images` is for this version only") } else { Wish::Any };
    if is_free {
        return any();
    }
    if let Some(ambiguity) = ambiguity {
        return Wish::Unknown(ambiguity.clone());
    }
    if let Some(to) = changes.get(&(workload, &**container, *init)) {
        return Wish::To((*to).clone());
    }
    if let Some(wish) = known {
        let image = wish.images.iter().find(|image| image.container == *container && image.init == *init);
        return match image.map(|image| &image.to) {
            None => any(),
            Some(Err(Code::NotSelected | Code::NotWatched)) if by_file => any(),
            Some(Err(code)) => Wish::Stay(code.as_str()),
            Some(Ok(to)) => Wish::To(to.clone()),
        };
    }
    // Nobody here knows it: its manifest speaks for it. With the same annotations it wishes the same.
    let is_alike = own.is_some_and(|own| own.annotations == *annotations);
    if is_alike || is_plain && own.is_none() { any() } else { Wish::Stay("other annotations") }
}

fn reason(
    asked: &Asked,
    (path, edit): &FileEdit,
    to: &ImageRef,
    against: &[(&Sharer, Wish)],
    (index, scope): (&Index<'_>, &Scope),
) -> Option<Reason> {
    let workloads = against.iter().map(|(sharer, _)| &sharer.workload);
    // The containers of what is no workload are called as their repositories.
    let are_others = against.iter().any(|(sharer, _)| *sharer.container != *to.repository.to_string());
    let way_out = index.way_out((path, edit), &asked.update.workload, workloads, are_others);
    let is_unsaid = |sharer: &&Sharer| {
        let wish = asked.wishes.get(&sharer.workload).filter(|_| sharer.annotations.is_none());
        wish.is_some_and(|wish| matches!(wish.origin, Origin::Unsaid(_)))
    };
    let way_out = match against.iter().map(|(sharer, _)| *sharer).find(is_unsaid) {
        Some(Sharer { workload, .. }) => {
            format!("{way_out}, or say by `supercargo.dev/write` on {workload} where its image is written")
        }
        None => way_out.to_owned(),
    };
    let place = format!("{}:{}", escape(path), edit.line);
    let mut said: Vec<String> = against
        .iter()
        .map(|(sharer, wish)| {
            let wish = match wish {
                Wish::To(to) => format!("is to have {to}"),
                Wish::Stay(why) => format!("is to stay ({why})"),
                Wish::Unknown(why) => format!("is in doubt ({why})"),
                Wish::Any => return String::new(),
            };
            format!("{} (container {}), which {wish}", sharer.workload, sharer.container)
        })
        .collect();
    said.dedup();
    let more = said.len().saturating_sub(MAX_NAMED);
    said.truncate(MAX_NAMED);
    let more = if more > 0 { format!(", and of {more} more") } else { String::new() };
    let message =
        format!("{}: {place} makes the image of {}{more}, too: {way_out}", scope.shown, said.join(", and of "));
    let own = &asked.update.workload;
    let text = format!("{place} makes this image, and {own} is to have {to} from it, which is not written: {way_out}");
    let others = against.iter().filter(|(sharer, _)| sharer.workload != *own).map(|(sharer, _)| Other {
        workload: sharer.workload.clone(),
        container: sharer.container.clone(),
        text: text.clone(),
    });
    Some(Reason::new(Code::GitConflict, message).with_others(others))
}
