//! What a pull request says: title, body, and in the body a comment that only we read.
//!
//! The comment names the changes that the request holds, those that people refused before, and the namespaces of its
//! workloads, each by a hash. So a closed request tells what is not wanted, whatever became of its branch, and an open
//! one for whom it counts.

use std::{collections::BTreeSet, fmt::Write as _};

use sha2::{Digest as _, Sha256};

use super::{
    asked::Asked,
    forges::text::{self, MAX_BODY},
};
use crate::domain::{
    update::{Change, Item},
    workload::WorkloadId,
};

/// Names of changes, or of namespaces.
pub(super) type Marks = BTreeSet<String>;

/// Changes that a request holds at most: what is kept of each in the comment has room in the body of any forge, and all of
/// them can be refused.
pub(super) const MAX_HELD: usize = 1000;
/// Refused changes that are remembered at most.
const MAX_REFUSED: usize = MAX_HELD;
const BEGIN: &str = "<!-- supercargo";

/// What a request holds, and what was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Memo {
    pub(super) holds: Marks,
    pub(super) refused: Marks,
    /// Whose workloads it holds.
    pub(super) namespaces: Marks,
}

/// The name of a change: what runs now is no part of it.
pub(super) fn mark(workload: &WorkloadId, change: &Change) -> String {
    hashed(&format!("{workload}\n{} {}\n{}", change.container, change.init, change.to))
}

/// The name of an update's namespace.
pub(super) fn namespace(asked: &Asked) -> String {
    hashed(&asked.update.workload.namespace)
}

fn hashed(text: &str) -> String {
    Sha256::digest(text).iter().take(6).fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The names of all changes of these updates.
pub(super) fn marks<'a>(asked: impl IntoIterator<Item = &'a Asked>) -> Marks {
    let of = |asked: &'a Asked| asked.update.changes().map(|change| mark(&asked.update.workload, change));
    asked.into_iter().flat_map(of).collect()
}

impl Memo {
    /// What a request is to name that brings these updates.
    pub(super) fn of(asked: &[Asked], refused: Marks) -> Self {
        Self { holds: marks(asked), refused, namespaces: asked.iter().map(namespace).collect() }
    }

    /// Reads the comment of a body; nothing if there is none.
    pub(super) fn read(body: &str) -> Self {
        let mut memo = Self::default();
        let Some((comment, _)) = body.rsplit_once(BEGIN).and_then(|(_, rest)| rest.split_once("-->")) else {
            return memo;
        };
        let is_mark = |word: &&str| word.len() == 12 && word.chars().all(|c| c.is_ascii_hexdigit());
        for part in comment.split_whitespace() {
            let Some((key, names)) = part.split_once('=') else { continue };
            let names = names.split(',').filter(is_mark).map(str::to_owned);
            match key {
                "holds" => memo.holds.extend(names),
                "refused" => memo.refused.extend(names.take(MAX_REFUSED)),
                "namespaces" => memo.namespaces.extend(names),
                _ => {}
            }
        }
        memo
    }

    /// A body of ours that names this instead of what it named.
    pub(super) fn written_over(&self, body: &str) -> String {
        let shown = body.rsplit_once(BEGIN).map_or(body, |(shown, _)| shown);
        format!("{}\n\n{}", shown.trim_end(), self.comment())
    }

    fn comment(&self) -> String {
        let list = |names: &Marks| names.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let refused: Marks = self.refused.iter().take(MAX_REFUSED).cloned().collect();
        let (holds, refused, namespaces) = (list(&self.holds), list(&refused), list(&self.namespaces));
        format!("{BEGIN} holds={holds} refused={refused} namespaces={namespaces} -->\n")
    }
}

/// The body of a request. `origins` are links to what changed in the sources, one for each change, empty where nothing
/// is known of them.
pub(super) fn body(
    asked: &[Asked],
    origins: &[Vec<String>],
    places: &[Vec<String>],
    branch: &str,
    memo: &Memo,
) -> String {
    const HEAD: &str = "| workload | container | from | to | chosen by | changes |\n|---|---|---|---|---|---|\n";
    let mut rows = Vec::new();
    for (asked, origins) in asked.iter().zip(origins) {
        let update = &asked.update;
        for (index, Item { change, policy, .. }) in update.items.iter().enumerate() {
            let chosen = if policy.is_empty() { String::new() } else { format!("policy {}", text::code(policy)) };
            let origin = origins.get(index).map(String::as_str).unwrap_or_default();
            rows.push(format!("{}{chosen} | {origin} |\n", row(&update.workload, change)));
        }
    }
    let places: BTreeSet<&String> = places.iter().flatten().collect();
    let places = places.into_iter().map(|place| format!("- {}\n", text::code(place))).collect();
    let begin = format!("Merging this brings these images to {}:\n\n{HEAD}", text::code(branch));
    let comment = memo.comment();
    let room = MAX_BODY.saturating_sub(begin.len() + EDITED.len() + END.len() + comment.len());
    // Places are many where rows are.
    let rows = fitting(rows, room / 3 * 2);
    let places = fitting(places, room - rows.len());
    format!("{begin}{rows}{EDITED}{places}{END}{comment}")
}

const EDITED: &str = "\nEdited, and nothing else in these files:\n\n";
const END: &str = "\nNewer images are added here while it is open. Closing it unmerged refuses these versions; only newer \
                   ones are proposed then.\n\n";

/// As many of the lines as have room, in bytes, and a word about the others.
fn fitting(lines: Vec<String>, room: usize) -> String {
    const WORD: usize = "\n… and 1000000 more\n".len();
    let (mut text, all) = (String::new(), lines.len());
    if lines.iter().map(String::len).sum::<usize>() <= room {
        return lines.concat();
    }
    for (count, line) in lines.iter().enumerate() {
        if text.len() + line.len() + WORD > room {
            text.push_str(&format!("\n… and {} more\n", all - count));
            break;
        }
        text.push_str(line);
    }
    text
}

/// How the row of a change begins.
fn row(workload: &WorkloadId, change: &Change) -> String {
    let cells = [workload.to_string(), change.container.to_string(), change.from.to_string(), change.to.to_string()];
    let mut row = "| ".to_owned();
    for cell in cells {
        row.push_str(&text::code(&cell));
        row.push_str(" | ");
    }
    row
}

/// What a body tells of what changed in the sources with a change; people may have written it.
pub(super) fn told<'a>(body: &'a str, workload: &WorkloadId, change: &Change) -> &'a str {
    let row = row(workload, change);
    let rest = body.lines().find_map(|line| line.strip_prefix(&row));
    let cells = rest.and_then(|rest| rest.trim_end().strip_suffix('|')).and_then(|rest| rest.rsplit_once(" | "));
    cells.map(|(_, told)| told.trim()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::git::history::changes_of;

    fn asked(lines: &str) -> Vec<Asked> {
        let trailers: String = lines.lines().map(|line| format!("Supercargo-Change: {line}\n")).collect();
        changes_of(&trailers, &crate::domain::target::Route::Request("prod".into(), None), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_body_is_read_back_and_names_nobody() {
        let mut asked =
            asked("shop/Deployment/web app r.io/web:1 r.io/web:2\nshop/Deployment/api app r.io/api:1 r.io/api:2");
        asked[0].update.items[0].policy = "glob:@alice|*".into();
        let memo = Memo::of(&asked, Marks::from(["0123456789ab".to_owned()]));
        let places = [vec!["apps/web.yaml:3".to_owned()], vec!["apps/web.yaml:3".to_owned()]];
        let body = body(&asked, &[vec![], vec![]], &places, "main", &memo);
        assert_eq!((Memo::read(&body), memo.holds.len()), (memo, 2));
        assert_eq!(Memo::read(&body).namespaces, Marks::from([namespace(&asked[0])]));
        let fewer = Memo::of(&[], Marks::from(["ba9876543210".to_owned()]));
        assert_eq!(Memo::read(&fewer.written_over(&body)), fewer);
        assert!(body.contains("| `shop/Deployment/web` | `app` | `r.io/web:1` | `r.io/web:2` |"), "{body}");
        assert!(!body.contains("@alice") && body.matches("apps/web.yaml:3").count() == 1, "{body}");
    }

    #[test]
    fn a_body_tells_again_what_changed_in_the_sources() {
        let mut asked =
            asked("shop/Deployment/web app r.io/web:1 r.io/web:2\nshop/Deployment/api app r.io/api:1 r.io/api:2");
        asked[0].update.items[0].policy = "glob:a | b".into();
        let origins = [vec!["[source](https://a.example/o/r)".to_owned()], vec![String::new()]];
        let body = body(&asked, &origins, &[], "main", &Memo::default()).replace('\n', "\r\n");
        let told = |at: usize| told(&body, &asked[at].update.workload, &asked[at].update.items[0].change);
        assert_eq!((told(0), told(1)), (&*origins[0][0], ""));
        let other = &self::asked("shop/Deployment/web app r.io/web:1 r.io/web:3")[0].update;
        assert_eq!(super::told(&body, &other.workload, &other.items[0].change), "");
    }

    #[test]
    fn what_runs_now_is_no_part_of_a_name() {
        let first = marks(&asked("shop/Deployment/web app r.io/web:1 r.io/web:3"));
        assert_eq!(first, marks(&asked("shop/Deployment/web app r.io/web:2 r.io/web:3")));
        assert_ne!(first, marks(&asked("shop/Deployment/web app r.io/web:1 r.io/web:4")));
        assert_ne!(first, marks(&asked("shop/Deployment/web init:app r.io/web:1 r.io/web:3")));
    }

    /// With as much in the comment as there may be.
    #[test]
    fn a_body_that_is_too_long_says_how_many_lines_are_left_out_and_is_read_back() {
        let name = |n: usize| format!("{n}{}", "x".repeat(100));
        let line = |n| format!("team-{n}/Deployment/{} app r.io/web:1 r.io/web:2\n", name(n));
        let asked = asked(&(0..MAX_HELD).map(line).collect::<String>());
        let refused: Marks = (0..MAX_REFUSED).map(|n| format!("{n:012x}")).collect();
        let memo = Memo::of(&asked, refused);
        assert_eq!((memo.holds.len(), memo.namespaces.len()), (MAX_HELD, MAX_HELD));
        let places: Vec<Vec<String>> = (0..MAX_HELD).map(|n| vec![format!("apps/{}.yaml:3", name(n))]).collect();
        let body = body(&asked, &vec![vec![]; MAX_HELD], &places, "main", &memo);
        assert!(body.len() <= MAX_BODY, "{}", body.len());
        assert_eq!(Memo::read(&body), memo);
        let count = |begin: &str| body.lines().filter(|line| line.starts_with(begin)).count();
        let left: Vec<usize> =
            body.lines().filter_map(|line| line.strip_prefix("… and ")?.split(' ').next()?.parse().ok()).collect();
        assert_eq!([count("| `team-") + left[0], count("- `apps/") + left[1]], [MAX_HELD; 2], "{body}");
        assert!(count("| `team-") > 10 && count("- `apps/") > 10 && body.contains(END), "{body}");
    }

    #[rstest::rstest]
    #[case("")]
    #[case("<!-- supercargo holds=abc -->")]
    #[case("<!-- supercargo holds=0123456789ab")]
    #[case("<!-- supercargo nonsense=0123456789ab -->")]
    fn what_is_no_comment_of_ours_says_nothing(#[case] body: &str) {
        assert_eq!(Memo::read(body), Memo::default());
    }
}
