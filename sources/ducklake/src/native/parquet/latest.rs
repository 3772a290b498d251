//! The things used last, up to a number of them.

use std::collections::HashMap;
use std::hash::Hash;

/// Forgets what was used longest ago when there is one too many.
#[derive(Debug)]
pub(super) struct Latest<K, V> {
    things: HashMap<K, (V, u64)>,
    most: usize,
    clock: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Latest<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Latest { things: HashMap::new(), most, clock: 0 }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let (thing, used) = self.things.get_mut(key)?;
        *used = self.clock;
        Some(thing.clone())
    }

    pub(super) fn insert(&mut self, key: K, thing: V) {
        self.clock += 1;
        if self.things.len() >= self.most && !self.things.contains_key(&key) {
            let oldest = self.things.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.things.remove(&oldest));
        }
        self.things.insert(key, (thing, self.clock));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_used_longest_ago_goes() {
        let mut latest = Latest::new(2);
        latest.insert("a", 1);
        latest.insert("b", 2);
        assert_eq!(latest.get(&"a"), Some(1));
        latest.insert("b", 3);
        assert_eq!(latest.get(&"a"), Some(1));
        latest.insert("c", 4);
        assert_eq!([latest.get(&"a"), latest.get(&"b"), latest.get(&"c")], [Some(1), None, Some(4)]);
    }
}
