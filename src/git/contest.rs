//! Places that make the images of several workloads: one is edited only where everybody wishes the same. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    chain::FileEdit,
    find::{Asked, Finding, same},
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
    /// It goes where its place goes.
    Any,
}

/// Blocks what would change the image of a workload that is to have another one, or to stay as it is; where all agree,
/// the edit is theirs, too. `brought` says which image each edit makes.
pub(super) fn contest(
    asked: &[Asked],
    findings: &mut [Finding],
    index: &Index<'_>,
    scope: &Scope,
    brought: &HashMap<FileEdit, ImageRef>,
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
    for (asked, finding) in asked.iter().zip(findings) {
        let Finding::Edits(edits, _) = finding else { continue };
        let contested = edits.iter().find_map(|edit| {
            let against = against(asked, edit, brought.get(edit)?, &sharers, &changes);
            (!against.is_empty()).then(|| reason(asked, edit, brought.get(edit)?, &against, (index, scope)))?
        });
        match contested {
            Some(reason) => *finding = Finding::Blocked(reason),
            None => {
                let of =
                    |(path, edit): &FileEdit| sharers.others(path, edit).map(|other| (path.clone(), other)).collect();
                let others: Vec<Vec<FileEdit>> = edits.iter().map(of).collect();
                edits.extend(others.into_iter().flatten());
            }
        }
    }
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

/// Those whose image an edit would make another than is wished for them.
fn against<'s>(
    asked: &Asked,
    (path, edit): &FileEdit,
    to: &ImageRef,
    sharers: &'s Sharers,
    changes: &Changes<'_>,
) -> Vec<(&'s Sharer, Wish)> {
    let all = sharers.of(path, edit);
    let own = all.iter().find(|sharer| sharer.workload == asked.update.workload);
    let other = |sharer: &'s Sharer| {
        let wish = wish(asked, own, sharer, changes);
        let is_other = match &wish {
            Wish::To(wished) => !(same(wished, to) || is_version(edit, to) && is_same_version(wished, to)),
            Wish::Stay(_) => true,
            Wish::Any => false,
        };
        is_other.then_some((sharer, wish))
    };
    all.iter().filter_map(other).collect()
}

/// Whether an edit writes the tag or the digest alone: an anchor may bring one to images of several names.
fn is_version(edit: &LocationEdit, to: &ImageRef) -> bool {
    let digest = to.digest.as_ref().map(ToString::to_string).unwrap_or_default();
    let tag = to.tag.as_ref().map(|tag| tag.as_str()).unwrap_or_default();
    edit.new == tag || digest.ends_with(&edit.new)
}

fn is_same_version(a: &ImageRef, b: &ImageRef) -> bool {
    (&a.tag, &a.digest) == (&b.tag, &b.digest)
}

fn wish(asked: &Asked, own: Option<&Sharer>, sharer: &Sharer, changes: &Changes<'_>) -> Wish {
    let Sharer { workload, container, init, annotations } = sharer;
    if let Some(to) = changes.get(&(workload, &**container, *init)) {
        return Wish::To((*to).clone());
    }
    // An entry or a marker of the repository is for whatever has no policy of its own.
    let by_file = asked.update.workload.kind.as_str() == FILE_KIND;
    if let Some(wish) = asked.wishes.get(workload) {
        let image = wish.images.iter().find(|image| image.container == *container && image.init == *init);
        return match image {
            None => Wish::Any,
            Some(_) if !wish.watched && by_file => Wish::Any,
            Some(image) => match &image.to {
                Err(Code::NotSelected | Code::NotWatched) if by_file => Wish::Any,
                Err(code) => Wish::Stay(code.as_str()),
                Ok(to) => Wish::To(to.clone()),
            },
        };
    }
    // Nobody here knows it: its manifest speaks for it. With the same annotations it wishes the same.
    let is_plain = annotations.as_ref().is_none_or(|annotations| annotations.is_empty());
    let is_alike = own.is_some_and(|own| own.annotations == *annotations);
    if is_alike || is_plain && (by_file || own.is_none()) { Wish::Any } else { Wish::Stay("other annotations") }
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
