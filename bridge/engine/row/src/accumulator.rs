//! The weight of linear aggregates: exact sums that DBSP adds, negates and keeps.
//!
//! An accumulator is a vector of slots, one for each count or sum. A slot's integer is kept in
//! 64 bits plus, where that does not do, a multiple of 2^64 beside it; so no order of additions
//! can overflow on the way, and whether a sum fits its type is asked when it is read. Sums of
//! floats are exact too and lie beside the slots, see [`crate::float_sum`].

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use dbsp::ZWeight;
use dbsp::algebra::{AddAssignByRef, AddByRef, HasZero, MulByRef};
use dbsp::utils::{IsNone, SupportsRoaring};
use rkyv::ser::{ScratchSpace, Serializer};
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::{Archive, Deserialize, Fallible, Serialize};
use size_of::{Context, SizeOf};
use smallvec::SmallVec;

use crate::slots::Slots;
use crate::{ArchivedRow, RowError, float_sum};

/// The sums of a group, or of one row of it, or of a change to it.
///
/// DBSP drops a group when its weight is zero. A group must exist as long as it has rows, so one
/// slot must count them (`COUNT(*)`), whether the query asks for it or not.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Accumulator {
    /// The low 64 bits of each slot's integer, as a signed number.
    slots: Slots,
    /// What few groups need.
    more: Option<Box<More>>,
}

/// Entries by key, ascending, none of them zero: see [`wide_key`] and [`float_key`].
#[derive(Clone, Default, PartialEq, Eq)]
struct More {
    entries: SmallVec<[(u32, i128); 2]>,
    /// Set for good when an entry left its range, which takes 2^62 additions of the largest values.
    lost: bool,
}

/// The key of the multiple of 2^64 that belongs to a slot.
fn wide_key(slot: usize) -> u32 {
    (slot as u32) << 8 | 0xff
}

/// The key of a bucket of a slot's float sum.
fn float_key(slot: usize, bucket: u32) -> u32 {
    (slot as u32) << 8 | bucket
}

/// Entries stay below 2^126, so that two of them can be added.
fn in_range(value: Option<i128>) -> Option<i128> {
    value.filter(|value| value.unsigned_abs() < 1 << 126)
}

impl Accumulator {
    /// The accumulator of no rows; slots come into being as they are written.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an integer, a count, or a decimal's unscaled integer to a slot. One slot holds
    /// integers or floats, not both.
    #[inline]
    pub fn add_int(&mut self, slot: usize, value: i128) {
        let old = self.slots.get(slot);
        if let Some(sum) = i64::try_from(value).ok().and_then(|value| old.checked_add(value)) {
            self.slots.set(slot, sum);
            return;
        }
        let sum = i128::from(old) + i128::from(value as i64);
        // The value is `value as i64` plus this multiple of 2^64.
        let high = (value >> 64) + i128::from((value as i64) < 0);
        self.set_slot(slot, sum, high);
    }

    /// Adds a float to a slot.
    #[inline]
    pub fn add_float(&mut self, slot: usize, value: f64) {
        if let Some((bucket, integer)) = float_sum::split(value) {
            self.add_entry(float_key(slot, bucket), Some(integer));
        }
    }

    /// The sum of a slot of integers.
    ///
    /// # Errors
    ///
    /// [`RowError::SumOverflow`] when it does not fit 128 bits.
    pub fn int(&self, slot: usize) -> Result<i128, RowError> {
        let low = i128::from(self.slots.get(slot));
        let Some(more) = &self.more else { return Ok(low) };
        let high = more.entries.iter().find(|(key, _)| *key == wide_key(slot)).map_or(0, |(_, high)| *high);
        let sum = high.checked_mul(1 << 64).and_then(|high| high.checked_add(low)).filter(|_| !more.lost);
        // The greatest sums are a multiple of 2^64 that overflows, less something.
        let below = || (high == 1 << 63 && low < 0).then(|| i128::MAX + low + 1).filter(|_| !more.lost);
        sum.or_else(below).ok_or(RowError::SumOverflow)
    }

    /// The sum of a slot of counts.
    ///
    /// # Errors
    ///
    /// [`RowError::SumOverflow`] when it does not fit 64 bits.
    pub fn count(&self, slot: usize) -> Result<i64, RowError> {
        i64::try_from(self.int(slot)?).map_err(|_| RowError::SumOverflow)
    }

    /// The sum of a slot of floats, correctly rounded whatever the order of the additions; 0.0
    /// for none.
    ///
    /// # Errors
    ///
    /// [`RowError::SumOverflow`] after some 2^43 additions of one magnitude.
    pub fn float(&self, slot: usize) -> Result<f64, RowError> {
        let Some(more) = &self.more else { return Ok(0.0) };
        if more.lost {
            return Err(RowError::SumOverflow);
        }
        let of_slot = |entry: &(u32, i128)| {
            let (key, sum) = *entry;
            (key >> 8 == slot as u32 && key & 0xff != 0xff).then_some((key & 0xff, sum))
        };
        Ok(float_sum::join(more.entries.iter().filter_map(of_slot)))
    }

    /// Writes `sum + high * 2^64`, `sum` being the result of small sums, to a slot.
    #[inline]
    fn set_slot(&mut self, slot: usize, sum: i128, high: i128) {
        let low = sum as i64;
        self.slots.set(slot, low);
        let carry = (sum - i128::from(low)) >> 64;
        if carry != 0 || high != 0 {
            self.add_entry(wide_key(slot), high.checked_add(carry));
        }
    }

    /// Adds to an entry; `None` is a number that was lost.
    fn add_entry(&mut self, key: u32, value: Option<i128>) {
        let more = self.more.get_or_insert_default();
        let Some(value) = in_range(value) else {
            more.lost = true;
            return;
        };
        match more.entries.binary_search_by_key(&key, |(key, _)| *key) {
            Err(place) if value != 0 => more.entries.insert(place, (key, value)),
            Err(_) => {}
            Ok(place) => match in_range(more.entries[place].1.checked_add(value)) {
                Some(0) => drop(more.entries.remove(place)),
                Some(sum) => more.entries[place].1 = sum,
                None => more.lost = true,
            },
        }
        if more.entries.is_empty() && !more.lost {
            self.more = None;
        }
    }

    /// The accumulator as words: what is stored, and what it is ordered by.
    fn to_words(&self) -> SmallVec<[u64; 16]> {
        let mut words = SmallVec::with_capacity(self.word_count());
        if self.is_zero() {
            return words;
        }
        let slots = self.slots.as_slice();
        words.push(slots.len() as u64);
        words.extend(slots.iter().map(|slot| *slot as u64));
        if let Some(more) = &self.more {
            words.push(u64::from(more.lost));
            for (key, value) in &more.entries {
                words.extend([u64::from(*key), (*value >> 64) as u64, *value as u64]);
            }
        }
        words
    }

    fn word_count(&self) -> usize {
        match &self.more {
            _ if self.is_zero() => 0,
            None => 1 + self.slots.as_slice().len(),
            Some(more) => 2 + self.slots.as_slice().len() + 3 * more.entries.len(),
        }
    }

    /// The inverse of [`Accumulator::to_words`]; words that it cannot have written end early.
    fn from_words(words: &[u64]) -> Self {
        let Some((length, rest)) = words.split_first() else { return Self::default() };
        let (slots, rest) = rest.split_at(rest.len().min(*length as usize));
        let more = rest.split_first().map(|(lost, entries)| {
            let entry = |words: &[u64]| (words[0] as u32, i128::from(words[1] as i64) << 64 | i128::from(words[2]));
            Box::new(More { entries: entries.chunks_exact(3).map(entry).collect(), lost: *lost != 0 })
        });
        Accumulator { slots: slots.iter().map(|slot| *slot as i64).collect(), more }
    }
}

impl AddAssignByRef for Accumulator {
    fn add_assign_by_ref(&mut self, other: &Self) {
        if !self.slots.add(&other.slots) {
            for (slot, value) in other.slots.as_slice().iter().enumerate() {
                self.set_slot(slot, i128::from(self.slots.get(slot)) + i128::from(*value), 0);
            }
        }
        if let Some(more) = &other.more {
            for (key, value) in &more.entries {
                self.add_entry(*key, Some(*value));
            }
            if more.lost {
                self.more.get_or_insert_default().lost = true;
            }
        }
    }
}

impl AddByRef for Accumulator {
    fn add_by_ref(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.add_assign_by_ref(other);
        sum
    }
}

impl MulByRef<ZWeight> for Accumulator {
    type Output = Self;

    fn mul_by_ref(&self, weight: &ZWeight) -> Self {
        match weight {
            0 => return Self::default(),
            1 => return self.clone(),
            _ => {}
        }
        let mut product = Accumulator::default();
        for (slot, value) in self.slots.as_slice().iter().enumerate() {
            product.set_slot(slot, i128::from(*value) * i128::from(*weight), 0);
        }
        if let Some(more) = &self.more {
            for (key, value) in &more.entries {
                product.add_entry(*key, value.checked_mul(i128::from(*weight)));
            }
            if more.lost {
                product.more.get_or_insert_default().lost = true;
            }
        }
        product
    }
}

impl HasZero for Accumulator {
    #[inline]
    fn is_zero(&self) -> bool {
        self.more.is_none() && self.slots.is_zero()
    }

    fn zero() -> Self {
        Self::default()
    }
}

impl fmt::Debug for Accumulator {
    /// The number of slots only: values never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accumulator({} slots)", self.slots.as_slice().len())
    }
}

impl Ord for Accumulator {
    /// Some total order, the same in memory and in files.
    fn cmp(&self, other: &Self) -> Ordering {
        self.to_words().cmp(&other.to_words())
    }
}

impl PartialOrd for Accumulator {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Accumulator {
    fn hash<H: Hasher>(&self, state: &mut H) {
        u64::hash_slice(&self.to_words(), state);
    }
}

impl SizeOf for Accumulator {
    fn size_of_children(&self, context: &mut Context) {
        if let Some((length, capacity)) = self.slots.heap() {
            context.add_vectorlike(length, capacity, size_of::<i64>());
        }
        if let Some(more) = &self.more {
            context.add(size_of::<More>()).add_distinct_allocation();
            if more.entries.spilled() {
                let (length, capacity) = (more.entries.len(), more.entries.capacity());
                context.add_vectorlike(length, capacity, size_of::<(u32, i128)>());
            }
        }
    }
}

impl IsNone for Accumulator {
    type Inner = Self;

    fn is_none(&self) -> bool {
        false
    }

    fn unwrap_or_self(&self) -> &Self {
        self
    }

    fn from_inner(inner: Self) -> Self {
        inner
    }
}

impl SupportsRoaring for Accumulator {}

impl Archive for Accumulator {
    type Archived = ArchivedAccumulator;
    type Resolver = VecResolver;

    unsafe fn resolve(&self, pos: usize, resolver: VecResolver, out: *mut ArchivedAccumulator) {
        // SAFETY: `ArchivedAccumulator` is transparent over the vector that the caller's place was
        // resolved for, and `serialize` has written that many words.
        unsafe { ArchivedVec::resolve_from_len(self.word_count(), pos, resolver, out.cast::<ArchivedVec<u64>>()) }
    }
}

impl<S: Serializer + ScratchSpace + ?Sized> Serialize<S> for Accumulator {
    fn serialize(&self, serializer: &mut S) -> Result<VecResolver, S::Error> {
        ArchivedVec::<u64>::serialize_from_slice(&self.to_words(), serializer)
    }
}

/// An accumulator as it lies in a batch file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct ArchivedAccumulator(ArchivedRow);

impl<D: Fallible + ?Sized> Deserialize<Accumulator, D> for ArchivedAccumulator {
    fn deserialize(&self, _: &mut D) -> Result<Accumulator, D::Error> {
        Ok(Accumulator::from_words(self.0.as_words()))
    }
}
