//! The things used last, as far as they weigh no more together than they may.

use std::collections::HashMap;
use std::hash::Hash;

/// Forgets what was used longest ago when there is too much.
#[derive(Debug)]
pub(super) struct Latest<K, V> {
    things: HashMap<K, Thing<V>>,
    weight: usize,
    most: usize,
    clock: u64,
}

#[derive(Debug)]
struct Thing<V> {
    value: V,
    weight: usize,
    used: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Latest<K, V> {
    /// Keeps things that weigh so much together.
    pub(super) fn new(most: usize) -> Self {
        Latest { things: HashMap::new(), weight: 0, most, clock: 0 }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let thing = self.things.get_mut(key)?;
        thing.used = self.clock;
        Some(thing.value.clone())
    }

    /// Keeps a thing, unless it weighs too much for itself.
    pub(super) fn insert(&mut self, key: K, value: V, weight: usize) {
        self.remove(&key);
        if weight > self.most {
            return;
        }
        while self.weight + weight > self.most {
            let oldest = self.things.iter().min_by_key(|(_, thing)| thing.used).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            self.remove(&oldest);
        }
        self.clock += 1;
        self.weight += weight;
        self.things.insert(key, Thing { value, weight, used: self.clock });
    }

    fn remove(&mut self, key: &K) {
        if let Some(gone) = self.things.remove(key) {
            self.weight -= gone.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_used_longest_ago_goes() {
        let mut latest = Latest::new(2);
        latest.insert("a", 1, 1);
        latest.insert("b", 2, 1);
        assert_eq!(latest.get(&"a"), Some(1));
        latest.insert("b", 3, 1);
        assert_eq!(latest.get(&"a"), Some(1));
        latest.insert("c", 4, 1);
        assert_eq!([latest.get(&"a"), latest.get(&"b"), latest.get(&"c")], [Some(1), None, Some(4)]);
    }

    #[test]
    fn heavy_things_take_the_place_of_several() {
        let mut latest = Latest::new(4);
        latest.insert("a", 1, 2);
        latest.insert("b", 2, 2);
        latest.insert("too heavy", 3, 5);
        assert_eq!([latest.get(&"a"), latest.get(&"b"), latest.get(&"too heavy")], [Some(1), Some(2), None]);
        latest.insert("c", 4, 3);
        assert_eq!([latest.get(&"a"), latest.get(&"b"), latest.get(&"c")], [None, None, Some(4)]);
        latest.insert("c", 5, 1);
        latest.insert("d", 6, 3);
        assert_eq!([latest.get(&"c"), latest.get(&"d")], [Some(5), Some(6)]);
    }
}
