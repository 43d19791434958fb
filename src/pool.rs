//! Threads for work that may take long: a few for all namespaces, one for each of them at a time.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    domain::line::Line,
    ports::{Clock, Pool, Work},
};

/// Pieces of work under way at once. The system shares the cores among them, so a short one need not wait for a long
/// one of another namespace.
const THREADS: usize = 4;

/// The pool. What it runs when the process stops is left to end with it.
#[derive(Clone)]
pub struct Threads {
    clock: Arc<dyn Clock>,
    queue: Arc<Mutex<Queue>>,
}

/// What waits, and the namespaces whose work is under way.
#[derive(Default)]
struct Queue {
    waiting: Line<Work>,
    running: HashSet<Arc<str>>,
}

impl Threads {
    /// A pool that measures with `clock` what is used of the CPU.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, queue: Arc::default() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what may start.
    fn start(&self) {
        loop {
            // A statement of its own, so that the lock is not held below: a runtime that ends drops the work at once,
            // which takes it too.
            let Some((namespace, work)) = self.queue().next() else { break };
            let ended = Ended { pool: self.clone(), namespace };
            tokio::task::spawn_blocking(move || {
                let clock = &ended.pool.clock;
                let before = clock.busy();
                work(&|| clock.busy().saturating_sub(before));
            });
        }
    }
}

impl Pool for Threads {
    fn run(&self, namespace: &Arc<str>, work: Work) {
        self.queue().push(namespace, work);
        self.start();
    }
}

impl Queue {
    fn push(&mut self, namespace: &str, work: Work) {
        self.waiting.join(namespace, work, usize::MAX, |_| true);
    }

    fn next(&mut self) -> Option<(Arc<str>, Work)> {
        if self.running.len() == THREADS {
            return None;
        }
        let (namespace, work) = self.waiting.next(|name| !self.running.contains(name))?;
        self.running.insert(namespace.clone());
        Some((namespace, work))
    }

    fn ended(&mut self, namespace: &Arc<str>) {
        self.running.remove(namespace);
    }
}

/// Tells the pool that a piece of work has ended, also by a panic.
struct Ended {
    pool: Threads,
    namespace: Arc<str>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.pool.queue().ended(&self.namespace);
        self.pool.start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn work_that_comes_while_the_runtime_ends_is_dropped_and_holds_up_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (ended, handle) = (std::sync::mpsc::channel(), runtime.handle().clone());
        runtime.shutdown_background();
        std::thread::spawn(move || {
            let _in_it = handle.enter();
            let pool = Threads::new(Arc::new(SystemClock::default()));
            pool.run(&"web".into(), Box::new(|_| {}));
            pool.run(&"web".into(), Box::new(|_| {}));
            ended.0.send(pool.queue().running.len()).unwrap();
        });
        assert_eq!(ended.1.recv_timeout(std::time::Duration::from_secs(60)), Ok(0));
    }

    #[test]
    fn a_namespace_has_one_thread_at_a_time_and_its_next_work_waits_for_the_others() {
        let mut queue = Queue::default();
        let namespaces: Vec<Arc<str>> = (0..THREADS + 1).map(|n| n.to_string().into()).collect();
        for namespace in &namespaces {
            for _ in 0..3 {
                queue.push(namespace, Box::new(|_| {}));
            }
        }
        let mut started = Vec::new();
        for ended in 0.. {
            while let Some((namespace, _)) = queue.next() {
                started.push(namespace);
            }
            let Some(namespace) = started.get(ended).cloned() else { break };
            queue.ended(&namespace);
        }
        let expected: Vec<_> = std::iter::repeat_n(namespaces, 3).flatten().collect();
        assert_eq!(started, expected);
        assert!(queue.waiting.is_empty() && queue.running.is_empty());
    }
}
