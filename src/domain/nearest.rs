//! What was meant by a misspelt name.

/// The candidate that differs from the text by the fewest letters, letter case aside, if that is near.
pub(crate) fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if text.len() > 64 {
        return None;
    }
    let text = text.to_ascii_lowercase();
    let near = |candidate: &'a str| {
        let distance = distance(&text, &candidate.to_ascii_lowercase());
        (distance * 3 <= candidate.len().max(3)).then_some((distance, candidate))
    };
    candidates.filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// What is said after a name that is not there: the nearest that is, with what stands before it.
pub(crate) fn is_meant<'a>(text: &str, candidates: impl Iterator<Item = &'a str>, before: &str) -> String {
    nearest(text, candidates).map_or_else(String::new, |near| format!("; is `{before}{near}` meant?"))
}

/// What is said of a value that is none of those listed.
pub(crate) fn listed(text: &str, all: &[&str]) -> String {
    let quoted: Vec<String> = all.iter().map(|value| format!("`{value}`")).collect();
    let (last, first) = quoted.split_last().map_or((String::new(), &[][..]), |(last, first)| (last.clone(), first));
    format!("write {} or {last}{}", first.join(", "), is_meant(text, all.iter().copied(), ""))
}

/// Letters to insert, remove, change or swap with the next.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 5] = ["policy", "min-age", "prerelease", "init-containers", "pin"];

    #[rstest::rstest]
    #[case("polcy", Some("policy"))]
    #[case("plicy", Some("policy"))]
    #[case("ploicy", Some("policy"))]
    #[case("min_age", Some("min-age"))]
    #[case("pre-release", Some("prerelease"))]
    #[case("initContainers", Some("init-containers"))]
    #[case("POLICY", Some("policy"))]
    #[case("xyz", None)]
    #[case("", None)]
    fn a_misspelt_key_finds_the_nearest(#[case] text: &str, #[case] near: Option<&str>) {
        assert_eq!(nearest(text, KEYS.into_iter()), near);
    }
}
