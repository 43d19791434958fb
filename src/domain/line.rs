//! Who waits for something that there is not enough of.

use std::{collections::VecDeque, sync::Arc};

/// Those who wait, in their order, each namespace in its turn: however many wait for one, the next of another waits
/// for one of them only.
#[derive(Debug)]
pub struct Line<T> {
    /// The next first. None is empty.
    namespaces: VecDeque<(Arc<str>, VecDeque<T>)>,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { namespaces: VecDeque::new() }
    }
}

impl<T> Line<T> {
    /// Comes last in its namespace; `false` if `most` wait there already of those that still `waits`.
    pub fn join(&mut self, namespace: &str, one: T, most: usize, waits: impl Fn(&T) -> bool) -> bool {
        let Some((_, line)) = self.namespaces.iter_mut().find(|(name, _)| **name == *namespace) else {
            self.namespaces.push_back((namespace.into(), VecDeque::from([one])));
            return true;
        };
        if line.len() >= most {
            line.retain(waits);
        }
        let has_room = line.len() < most;
        if has_room {
            line.push_back(one);
        }
        has_room
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.namespaces.iter().map(|(_, line)| line.len()).sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// Takes the next one out of a namespace whose turn it may be.
    pub fn next(&mut self, may: impl Fn(&str) -> bool) -> Option<(Arc<str>, T)> {
        let at = self.namespaces.iter().position(|(name, _)| may(name))?;
        let (name, mut line) = self.namespaces.remove(at)?;
        let one = line.pop_front()?;
        if !line.is_empty() {
            self.namespaces.push_back((name.clone(), line));
        }
        Some((name, one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_take_turns_and_each_keeps_its_order() {
        let mut line = Line::default();
        for n in 1..=3 {
            assert!(line.join("many", n, 3, |_| true));
        }
        assert!(!line.join("many", 4, 3, |_| true));
        assert!(line.join("one", 10, 3, |_| true) && line.join("two", 20, 3, |_| true));
        let order: Vec<i32> = std::iter::from_fn(|| line.next(|_| true)).map(|(_, one)| one).collect();
        assert_eq!(order, [1, 10, 20, 2, 3]);
    }

    #[test]
    fn a_namespace_whose_turn_it_may_not_be_is_passed_over() {
        let mut line = Line::default();
        assert!(line.join("a", 1, 9, |_| true) && line.join("b", 2, 9, |_| true));
        assert_eq!(line.next(|name| name != "a"), Some(("b".into(), 2)));
        assert_eq!(line.next(|name| name != "a"), None);
        assert_eq!(line.next(|_| true), Some(("a".into(), 1)));
    }

    #[test]
    fn who_waits_no_more_makes_room() {
        let mut line = Line::default();
        assert!(line.join("a", 1, 2, |_| true) && line.join("a", 2, 2, |_| true));
        assert!(line.join("a", 3, 2, |one| *one != 1));
        assert_eq!(line.next(|_| true).unwrap().1, 2);
    }
}
