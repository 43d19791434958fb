//! How much is kept of all files of a repository.

use std::sync::Arc;

use super::{super::ManifestError, Facts, Files, broken::Broken};

/// The most scalars of all files that hold anything. Where there are more, the smallest files are read.
pub const MAX_SCALARS_IN_ALL: usize = 2_000_000;

/// What is to change so that all files keep to [`MAX_SCALARS_IN_ALL`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Files for which there is no room.
    pub crowded: Vec<Arc<str>>,
    /// Files that were left out, and for which there is room now.
    pub fitting: Vec<Arc<str>>,
}

impl Room {
    /// The room of each of the files. It depends on nothing but what all of them hold.
    pub fn of(files: &Files) -> Self {
        let mut by_size: Vec<_> = files.iter().map(|(path, facts)| (facts.scalars(), path, facts)).collect();
        by_size.sort_unstable_by_key(|(scalars, path, _)| (*scalars, *path));
        let (mut room, mut all) = (Self::default(), 0);
        for (scalars, path, facts) in by_size {
            all += scalars;
            match (all > MAX_SCALARS_IN_ALL, facts.is_left_out()) {
                (true, false) if scalars > 0 => room.crowded.push(path.clone()),
                (false, true) => room.fitting.push(path.clone()),
                _ => {}
            }
        }
        room
    }
}

impl Facts {
    /// What is kept of these where all files have more scalars than are read.
    pub fn left_out(&self) -> Self {
        let names = self.kustomization.iter().flat_map(|kustomization| kustomization.included());
        let broken = self.kustomization.as_ref().map(|_| Box::new(Broken::of(names.map(Box::from).collect())));
        let reason = format!(
            "the files that hold images have more than {MAX_SCALARS_IN_ALL} scalars together, and the largest of them, as \
             this one with {}, are left alone: split the repository, or say by `paths` what to read",
            self.scalars
        );
        let problems = vec![ManifestError::new(1, reason)];
        Self { broken, problems, scalars: self.scalars, is_left_out: true, ..Self::default() }
    }

    /// Whether there was no room for more than the reason.
    pub fn is_left_out(&self) -> bool {
        self.is_left_out
    }

    /// How many scalars count; none of a file that holds nothing.
    pub fn scalars(&self) -> usize {
        if self.holds_nothing() { 0 } else { self.scalars }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_scalars(scalars: usize) -> Arc<Facts> {
        let text = format!("image: team/web:1.0.0\nlist: [{}]\n", "1,".repeat(scalars - 3));
        let facts = Facts::read("values.yaml", text.as_bytes());
        assert_eq!((facts.problems(), facts.scalars()), (&[][..], scalars));
        Arc::new(facts)
    }

    #[test]
    fn the_largest_files_are_left_out_whatever_came_first_and_read_again_when_there_is_room() {
        let (large, small) = (of_scalars(190_000), of_scalars(90_000));
        let mut files: Files = (0..11).map(|n| (format!("{n:02}/values.yaml").into(), large.clone())).collect();
        files.insert("99/values.yaml".into(), small);
        let Room { crowded, fitting } = Room::of(&files);
        assert_eq!((crowded.len(), &*crowded[0], fitting), (1, "10/values.yaml", Vec::new()));
        let left_out = Arc::new(large.left_out());
        assert!(left_out.problems()[0].reason.contains("190000"), "{:?}", left_out.problems());
        files.insert("10/values.yaml".into(), left_out);
        assert_eq!(Room::of(&files), Room::default());
        files.remove("00/values.yaml");
        assert_eq!(Room::of(&files), Room { crowded: Vec::new(), fitting: vec!["10/values.yaml".into()] });
    }
}
