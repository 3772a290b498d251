//! The operator behind a threshold.
//!
//! When a transaction ends, let R be the rows after it, d their changes, and P and Q what passes before and
//! after. Then Q(R) − P(R − d) = P(d) + (Q − P)(R): the changed rows that pass the old bound, and the rows between
//! both bounds. Only the bound of the end counts, however often it moved. The operator itself keeps nothing
//! between two transactions: rows and bound are integrals, and the old bound is the new one without its changes.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dbsp::circuit::operator_traits::{Operator, QuaternaryOperator};
use dbsp::circuit::splitter_output_chunk_size;
use dbsp::dynamic::{DowncastTrait, DynData, DynUnit, Erase};
use dbsp::trace::{BatchReader, Cursor};
use dbsp::typed_batch::{Spine, SpineSnapshot};
use dbsp::utils::Tup2;
use dbsp::{DynZWeight, OrdIndexedZSet, OrdZSet, Scope, ZWeight};
use tidegate_engine_row::Row;
use tidegate_engine_sql::Comparison;

use super::key::Key;
use super::way::Errors;

type Rows<K> = OrdIndexedZSet<K, Row>;

/// The keys of a Z-set with their weights.
pub(super) fn weighted_keys<K: Key>(
    mut cursor: impl Cursor<DynData, DynUnit, (), DynZWeight>,
) -> Vec<Tup2<K, ZWeight>> {
    let mut keys = Vec::new();
    while cursor.key_valid() {
        let weight = **cursor.weight();
        // SAFETY: the stream of bounds has keys of this type.
        keys.push(Tup2(unsafe { cursor.key().downcast::<K>() }.clone(), weight));
        cursor.step_key();
    }
    keys
}

/// A place between keys: before a key or behind it. The keys before a cut are those less than its key, and the
/// key itself where the cut is behind it.
type Cut<K> = (K, bool);

/// The keys between two cuts; `None` is the beginning or the end of all.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range<K> {
    from: Option<Cut<K>>,
    to: Option<Cut<K>>,
}

impl<K: Ord + Clone> Range<K> {
    /// The keys that pass a bound.
    fn passing(comparison: Comparison, bound: &K) -> Self {
        let (before, behind) = (Some((bound.clone(), false)), Some((bound.clone(), true)));
        match comparison {
            Comparison::Less => Range { from: None, to: before },
            Comparison::AtMost => Range { from: None, to: behind },
            Comparison::Greater => Range { from: behind, to: None },
            Comparison::AtLeast => Range { from: before, to: None },
            Comparison::Equal => Range { from: before, to: behind },
        }
    }

    /// The keys that pass one of two bounds only: each range with 1 where the new bound lets it pass and -1 where
    /// the old one did.
    fn changed(comparison: Comparison, old: Option<&K>, new: Option<&K>) -> Vec<(Self, ZWeight)> {
        let passing = |bound: Option<&K>| bound.map(|bound| Range::passing(comparison, bound));
        match (passing(old), passing(new)) {
            (old, new) if old == new => Vec::new(),
            (Some(Range { from: None, to: old }), Some(Range { from: None, to: new })) => {
                if old < new {
                    vec![(Range { from: old, to: new }, 1)]
                } else {
                    vec![(Range { from: new, to: old }, -1)]
                }
            }
            (Some(Range { from: old, to: None }), Some(Range { from: new, to: None })) => {
                if new < old {
                    vec![(Range { from: new, to: old }, 1)]
                } else {
                    vec![(Range { from: old, to: new }, -1)]
                }
            }
            (old, new) => old.into_iter().map(|old| (old, -1)).chain(new.into_iter().map(|new| (new, 1))).collect(),
        }
    }

    /// Whether a key, and all after it, are beyond the range.
    fn ends_before(&self, key: &K) -> bool {
        self.to.as_ref().is_some_and(|(end, behind)| if *behind { key > end } else { key >= end })
    }
}

/// Answers the rows that pass the bound.
pub(super) struct Passing<K: Key> {
    comparison: Comparison,
    errors: Errors,
    /// Counts the rows that a change of the bound looked at.
    touched: Arc<AtomicU64>,
    /// What has changed in the transaction.
    changes: Option<SpineSnapshot<Rows<K>>>,
    moves: Option<SpineSnapshot<OrdZSet<K>>>,
    is_flushed: bool,
    /// What is still to be answered of a transaction that ends.
    work: Option<Work<K>>,
}

impl<K: Key> Passing<K> {
    pub fn new(comparison: Comparison, errors: Errors, touched: Arc<AtomicU64>) -> Self {
        Passing { comparison, errors, touched, changes: None, moves: None, is_flushed: false, work: None }
    }

    fn begin(&mut self, rows: &Spine<Rows<K>>, bounds: &Spine<OrdZSet<K>>) -> Work<K> {
        let mut bound: BTreeMap<K, ZWeight> = BTreeMap::new();
        for Tup2(key, weight) in weighted_keys::<K>(bounds.ro_snapshot().cursor()) {
            *bound.entry(key).or_default() += weight;
        }
        let new = self.only(&bound);
        for Tup2(key, weight) in self.moves.take().iter().flat_map(|moves| weighted_keys::<K>(moves.cursor())) {
            *bound.entry(key).or_default() -= weight;
        }
        let old = self.only(&bound);
        let mut scans = VecDeque::new();
        if let Some(old) = &old {
            scans.push_back(Scan { of: Of::Changes, range: Range::passing(self.comparison, old), sign: 1 });
        }
        let changed = Range::changed(self.comparison, old.as_ref(), new.as_ref());
        scans.extend(changed.into_iter().map(|(range, sign)| Scan { of: Of::Rows, range, sign }));
        Work { changes: self.changes.take(), rows: rows.ro_snapshot(), scans, next: None }
    }

    /// The only bound, if there is one.
    fn only(&self, bounds: &BTreeMap<K, ZWeight>) -> Option<K> {
        let mut present = bounds.iter().filter(|(_, weight)| **weight != 0);
        let (first, weight) = present.next()?;
        if *weight != 1 || present.next().is_some() {
            self.errors.inconsistent("what is compared with one value has several");
        }
        Some(first.clone())
    }
}

/// Rows that are answered a part at a time.
struct Work<K: Key> {
    changes: Option<SpineSnapshot<Rows<K>>>,
    rows: SpineSnapshot<Rows<K>>,
    scans: VecDeque<Scan<K>>,
    /// The row of the first scan that comes next, unless that is the first one.
    next: Option<(K, Row)>,
}

struct Scan<K> {
    of: Of,
    range: Range<K>,
    sign: ZWeight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Changes,
    Rows,
}

impl<K: Key> Work<K> {
    /// The next rows, at most so many, and whether there may be more.
    fn part(&mut self, rows_max: usize, touched: &AtomicU64) -> (Rows<K>, bool) {
        let mut tuples = Vec::new();
        while let Some(scan) = self.scans.pop_front() {
            let source = match scan.of {
                Of::Changes => self.changes.as_ref(),
                Of::Rows => Some(&self.rows),
            };
            let Some(source) = source else { continue };
            let before = tuples.len();
            self.next = scan.rows(source.cursor(), self.next.take(), rows_max, &mut tuples);
            if scan.of == Of::Rows {
                touched.fetch_add((tuples.len() - before) as u64, Ordering::Relaxed);
            }
            if self.next.is_some() {
                self.scans.push_front(scan);
                break;
            }
        }
        (OrdIndexedZSet::from_tuples((), tuples), !self.scans.is_empty())
    }
}

impl<K: Key> Scan<K> {
    /// Appends rows until there are `rows_max`, and answers the one that comes next then.
    fn rows(
        &self,
        mut cursor: impl Cursor<DynData, DynData, (), DynZWeight>,
        next: Option<(K, Row)>,
        rows_max: usize,
        tuples: &mut Vec<Tup2<Tup2<K, Row>, ZWeight>>,
    ) -> Option<(K, Row)> {
        match (&next, &self.range.from) {
            (Some((key, row)), _) => {
                cursor.seek_key(key.erase());
                cursor.seek_val(row.erase());
            }
            (None, Some((key, behind))) => {
                cursor.seek_key(key.erase());
                // SAFETY: the stream of rows has keys of this type.
                if *behind && cursor.key_valid() && unsafe { cursor.key().downcast::<K>() } == key {
                    cursor.step_key();
                }
            }
            (None, None) => {}
        }
        while cursor.key_valid() {
            // SAFETY: as above.
            let key = unsafe { cursor.key().downcast::<K>() }.clone();
            if self.range.ends_before(&key) {
                break;
            }
            while cursor.val_valid() {
                let weight = **cursor.weight() * self.sign;
                // SAFETY: the stream of rows has `Row` values.
                let row = unsafe { cursor.val().downcast::<Row>() };
                if tuples.len() >= rows_max {
                    return Some((key, row.clone()));
                }
                if weight != 0 {
                    tuples.push(Tup2(Tup2(key.clone(), row.clone()), weight));
                }
                cursor.step_val();
            }
            cursor.step_key();
        }
        None
    }
}

impl<K: Key> Operator for Passing<K> {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("Threshold")
    }

    fn fixedpoint(&self, _: Scope) -> bool {
        self.work.is_none() && !self.is_flushed
    }

    fn clear_state(&mut self) -> Result<(), dbsp::Error> {
        (self.changes, self.moves, self.is_flushed, self.work) = (None, None, false, None);
        Ok(())
    }

    fn flush(&mut self) {
        self.is_flushed = true;
    }

    fn is_flush_complete(&self) -> bool {
        self.work.is_none() && !self.is_flushed
    }
}

impl<K: Key>
    QuaternaryOperator<Option<Spine<Rows<K>>>, Spine<Rows<K>>, Option<Spine<OrdZSet<K>>>, Spine<OrdZSet<K>>, Rows<K>>
    for Passing<K>
{
    async fn eval(
        &mut self,
        changes: Cow<'_, Option<Spine<Rows<K>>>>,
        rows: Cow<'_, Spine<Rows<K>>>,
        moves: Cow<'_, Option<Spine<OrdZSet<K>>>>,
        bounds: Cow<'_, Spine<OrdZSet<K>>>,
    ) -> Rows<K> {
        // Changes come once a transaction, and not in the same step as all else.
        if let Some(changes) = &*changes {
            self.changes = Some(changes.ro_snapshot());
        }
        if let Some(moves) = &*moves {
            self.moves = Some(moves.ro_snapshot());
        }
        if std::mem::take(&mut self.is_flushed) {
            self.work = Some(self.begin(&rows, &bounds));
        }
        let Some(work) = &mut self.work else { return OrdIndexedZSet::empty() };
        let (part, has_more) = work.part(splitter_output_chunk_size(), &self.touched);
        if !has_more {
            self.work = None;
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the keys 0 to 9 those that come and go when the bound moves, by the definition.
    type Passes = fn(i32, i32) -> bool;

    fn expected(passes: Passes, old: Option<i32>, new: Option<i32>) -> Vec<(i32, ZWeight)> {
        let passes = |key: i32, bound: Option<i32>| i64::from(bound.is_some_and(|bound| passes(key, bound)));
        let changes = (0..10).map(|key| (key, passes(key, new) - passes(key, old)));
        changes.filter(|(_, change)| *change != 0).collect()
    }

    fn contains(range: &Range<i32>, key: i32) -> bool {
        let behind = |(from, behind): &Cut<i32>| if *behind { key > *from } else { key >= *from };
        range.from.as_ref().is_none_or(behind) && !range.ends_before(&key)
    }

    #[test]
    fn ranges_hold_the_keys_that_change_sides_and_no_others() {
        let comparisons: [(Comparison, Passes); 5] = [
            (Comparison::Less, |key, bound| key < bound),
            (Comparison::AtMost, |key, bound| key <= bound),
            (Comparison::Greater, |key, bound| key > bound),
            (Comparison::AtLeast, |key, bound| key >= bound),
            (Comparison::Equal, |key, bound| key == bound),
        ];
        let bounds = || (-1..=10).map(Some).chain([None]);
        for (comparison, passes) in comparisons {
            for (old, new) in bounds().flat_map(|old| bounds().map(move |new| (old, new))) {
                let ranges = Range::changed(comparison, old.as_ref(), new.as_ref());
                let mut found: Vec<(i32, ZWeight)> = Vec::new();
                for key in 0..10 {
                    let hits = ranges.iter().filter(|(range, _)| contains(range, key));
                    found.extend(hits.map(|(_, sign)| (key, *sign)));
                }
                assert_eq!(found, expected(passes, old, new), "{comparison:?} from {old:?} to {new:?}");
            }
        }
    }
}
