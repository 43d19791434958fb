//! What is kept for many namespaces within one limit, of which none can push out what the others use.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use moka::future::Cache;

/// A cache bounded by bytes. Where they do not suffice, what goes is, of the namespace for which most is kept, what was
/// used longest ago.
pub struct Kept<K, V> {
    /// Bounded by `shares`. Whoever wants what is being fetched waits for it.
    values: Cache<K, V>,
    shares: Mutex<Shares<K>>,
    weigh: fn(&K, &V) -> usize,
}

/// What is kept, without its values.
struct Shares<K> {
    bytes: usize,
    most: usize,
    keys: HashMap<K, Key>,
    namespaces: HashMap<Arc<str>, Share<K>>,
    /// Counts uses.
    uses: u64,
}

struct Key {
    namespace: Arc<str>,
    bytes: usize,
    /// Its last use.
    used: u64,
}

/// Of one namespace.
struct Share<K> {
    bytes: usize,
    /// By the last use.
    keys: BTreeMap<u64, K>,
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static, V: Clone + Send + Sync + 'static> Kept<K, V> {
    /// At most `most` bytes, as `weigh` counts them.
    pub fn new(most: usize, weigh: fn(&K, &V) -> usize) -> Self {
        Self { values: Cache::builder().build(), shares: Mutex::new(Shares::new(most)), weigh }
    }

    /// What is kept under that key.
    pub async fn get(&self, key: &K) -> Option<V> {
        let value = self.values.get(key).await?;
        self.shares().touch(key);
        Some(value)
    }

    /// Keeps it for that namespace.
    pub async fn insert(&self, namespace: &str, key: K, value: V) {
        let bytes = (self.weigh)(&key, &value);
        self.values.insert(key.clone(), value).await;
        self.make_room(namespace, key, bytes).await;
    }

    /// What is kept under that key, unless it is over; else what `fetch` brings, however many wait for it.
    pub async fn get_or(
        &self,
        namespace: &str,
        key: K,
        fetch: impl Future<Output = V>,
        is_over: impl FnMut(&V) -> bool + Send,
    ) -> V {
        let entry = self.values.entry(key.clone()).or_insert_with_if(fetch, is_over).await;
        let is_new = entry.is_fresh();
        let value = entry.into_value();
        if is_new {
            let bytes = (self.weigh)(&key, &value);
            self.make_room(namespace, key, bytes).await;
        } else {
            self.shares().touch(&key);
        }
        value
    }

    /// Forgets it.
    pub async fn remove(&self, key: &K) {
        self.shares().remove(key);
        self.values.invalidate(key).await;
    }

    async fn make_room(&self, namespace: &str, key: K, bytes: usize) {
        let gone = self.shares().put(namespace, key, bytes);
        for key in gone {
            self.values.invalidate(&key).await;
        }
    }

    fn shares(&self) -> MutexGuard<'_, Shares<K>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> Shares<K> {
    fn new(most: usize) -> Self {
        Self { bytes: 0, most, keys: HashMap::new(), namespaces: HashMap::new(), uses: 0 }
    }

    /// Returns what has to go for it.
    fn put(&mut self, namespace: &str, key: K, bytes: usize) -> Vec<K> {
        self.remove(&key);
        self.uses += 1;
        self.bytes += bytes;
        let namespace = match self.namespaces.get_key_value(namespace) {
            Some((name, _)) => name.clone(),
            None => namespace.into(),
        };
        let share = self.namespaces.entry(namespace.clone()).or_insert(Share { bytes: 0, keys: BTreeMap::new() });
        share.bytes += bytes;
        share.keys.insert(self.uses, key.clone());
        self.keys.insert(key, Key { namespace, bytes, used: self.uses });
        let mut gone = Vec::new();
        while self.bytes > self.most
            && let Some(most) = self.namespaces.values().max_by_key(|share| share.bytes)
            && let Some(oldest) = most.keys.values().next().cloned()
        {
            self.remove(&oldest);
            gone.push(oldest);
        }
        gone
    }

    fn touch(&mut self, key: &K) {
        let Some(known) = self.keys.get_mut(key) else { return };
        self.uses += 1;
        if let Some(share) = self.namespaces.get_mut(&known.namespace)
            && let Some(key) = share.keys.remove(&known.used)
        {
            share.keys.insert(self.uses, key);
            known.used = self.uses;
        }
    }

    fn remove(&mut self, key: &K) {
        let Some(Key { namespace, bytes, used }) = self.keys.remove(key) else { return };
        self.bytes -= bytes;
        if let Some(share) = self.namespaces.get_mut(&namespace) {
            share.bytes -= bytes;
            share.keys.remove(&used);
            if share.keys.is_empty() {
                self.namespaces.remove(&namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_most_loses_what_it_used_longest_ago() {
        let mut shares = Shares::<u8>::new(10);
        for n in 0..3 {
            assert!(shares.put("a", n, 3).is_empty());
        }
        shares.touch(&0);
        assert_eq!(shares.put("b", 10, 3), [1]);
        assert!(shares.put("b", 11, 1).is_empty());
        assert_eq!(shares.put("b", 12, 4), [10, 2], "first b keeps most, then a");
        assert_eq!((shares.bytes, shares.keys.len()), (8, 3));
        assert!(shares.put("c", 20, 2).is_empty() && shares.put("c", 20, 1).is_empty(), "the same again");
        assert_eq!(shares.put("d", 30, 11), [30], "what never fits pushes out nothing else");
        for key in [0, 11, 12, 20, 99] {
            shares.remove(&key);
        }
        assert!(shares.bytes == 0 && shares.keys.is_empty() && shares.namespaces.is_empty());
    }

    #[tokio::test]
    async fn what_goes_is_fetched_again_and_what_stays_is_not() {
        let kept: Kept<u8, u8> = Kept::new(2, |_, _| 1);
        let get = async |namespace: &str, key: u8, value: u8| {
            kept.get_or(namespace, key, async move { value }, |_| false).await
        };
        assert_eq!(get("a", 1, 1).await, 1);
        assert_eq!(get("b", 2, 2).await, 2);
        assert_eq!(get("b", 3, 3).await, 3);
        assert_eq!((get("a", 1, 9).await, get("b", 2, 9).await), (1, 9));
        assert_eq!((kept.get(&3).await, kept.get(&1).await), (None, Some(1)));
        kept.remove(&1).await;
        kept.insert("a", 1, 7).await;
        assert_eq!(kept.get_or("a", 1, async { 8 }, |value| *value == 7).await, 8);
    }
}
