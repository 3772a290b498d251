//! Rows that meet a row of another stream under their key, and rows that do not.

use tidegate_engine_row::Row;

use super::key::{Key, KeyedStream};
use super::plan::Keep;

/// The rows of `left` whose key is among those of `right`, or is not; each with its own weight, however
/// many rows it meets.
pub(super) fn meet<K: Key>(id: &str, left: &KeyedStream<K>, right: &KeyedStream<K>, keep: Keep) -> KeyedStream<K> {
    let met = match keep {
        Keep::Unmet => left.antijoin(right),
        Keep::Met => {
            let keys = right.map_index(|(key, _)| (key.clone(), Row::empty()));
            let keys = keys.set_persistent_id(Some(&format!("{id}.keys"))).distinct();
            let keys = keys.set_persistent_id(Some(&format!("{id}.distinct")));
            left.join_index(&keys, |key, value, _| Some((key.clone(), value.clone())))
        }
    };
    met.set_persistent_id(Some(id))
}
