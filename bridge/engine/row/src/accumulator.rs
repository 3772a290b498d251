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

use crate::{ArchivedRow, RowError, float_sum};

/// The sums of a group, or of one row of it, or of a change to it.
///
/// DBSP drops a group when its weight is zero. A group must exist as long as it has rows, so one
/// slot must count them (`COUNT(*)`), whether the query asks for it or not.
#[derive(Clone, PartialEq, Eq)]
pub struct Accumulator(Sums);

/// Numbers inline: the count of rows and three sums. What is zero for most groups belongs after them.
const FEW: usize = 4;

#[derive(Clone, PartialEq, Eq)]
enum Sums {
    /// The low 64 bits of each slot's integer, as a signed number; nothing but zeros otherwise.
    Few([i64; FEW]),
    Many(Box<Many>),
}

/// What does not fit [`Sums::Few`], and only that, so that equal sums are equal here.
#[derive(Clone, Default, PartialEq, Eq)]
struct Many {
    /// The low 64 bits of each slot's integer, without zeros at the end.
    slots: SmallVec<[i64; 8]>,
    /// Entries by key, ascending, none of them zero: see [`wide_key`] and [`float_key`].
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

impl Default for Accumulator {
    fn default() -> Self {
        Accumulator(Sums::Few([0; FEW]))
    }
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
        if let Sums::Few(slots) = &mut self.0
            && slot < FEW
            && let Some(sum) = i64::try_from(value).ok().and_then(|value| slots[slot].checked_add(value))
        {
            slots[slot] = sum;
            return;
        }
        self.change(|many| {
            // The value is `value as i64` plus a multiple of 2^64.
            let high = (value >> 64) + i128::from((value as i64) < 0);
            many.add_to_slot(slot, value as i64, high);
        });
    }

    /// Adds a float to a slot.
    #[inline]
    pub fn add_float(&mut self, slot: usize, value: f64) {
        if let Some((bucket, integer)) = float_sum::split(value) {
            self.change(|many| many.add_entry(float_key(slot, bucket), Some(integer)));
        }
    }

    /// The sum of a slot of integers.
    ///
    /// # Errors
    ///
    /// [`RowError::SumOverflow`] when it does not fit 128 bits.
    pub fn int(&self, slot: usize) -> Result<i128, RowError> {
        let low = i128::from(self.slots().get(slot).copied().unwrap_or(0));
        let Some(many) = self.many() else { return Ok(low) };
        let high = many.entries.iter().find(|(key, _)| *key == wide_key(slot)).map_or(0, |(_, high)| *high);
        let sum = high.checked_mul(1 << 64).and_then(|high| high.checked_add(low)).filter(|_| !many.lost);
        // The greatest sums are a multiple of 2^64 that overflows, less something.
        let below = || (high == 1 << 63 && low < 0).then(|| i128::MAX + low + 1).filter(|_| !many.lost);
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
        let Some(many) = self.many() else { return Ok(0.0) };
        if many.lost {
            return Err(RowError::SumOverflow);
        }
        let of_slot = |entry: &(u32, i128)| {
            let (key, sum) = *entry;
            (key >> 8 == slot as u32 && key & 0xff != 0xff).then_some((key & 0xff, sum))
        };
        Ok(float_sum::join(many.entries.iter().filter_map(of_slot)))
    }

    /// The slots without zeros at the end.
    fn slots(&self) -> &[i64] {
        let slots: &[i64] = match &self.0 {
            Sums::Few(slots) => slots,
            Sums::Many(many) => &many.slots,
        };
        let end = slots.iter().rposition(|slot| *slot != 0).map_or(0, |last| last + 1);
        &slots[..end]
    }

    fn many(&self) -> Option<&Many> {
        match &self.0 {
            Sums::Few(_) => None,
            Sums::Many(many) => Some(many),
        }
    }

    /// Changes the sums in their general form.
    fn change(&mut self, change: impl FnOnce(&mut Many)) {
        let mut many = match std::mem::replace(&mut self.0, Sums::Few([0; FEW])) {
            Sums::Few(slots) => Box::new(Many { slots: SmallVec::from_slice(&slots), ..Many::default() }),
            Sums::Many(many) => many,
        };
        change(&mut many);
        while many.slots.last() == Some(&0) {
            many.slots.pop();
        }
        self.0 = if many.slots.len() <= FEW && many.entries.is_empty() && !many.lost {
            let mut few = [0; FEW];
            few[..many.slots.len()].copy_from_slice(&many.slots);
            Sums::Few(few)
        } else {
            Sums::Many(many)
        };
    }

    /// The accumulator as words: what is stored, and what it is ordered by.
    fn to_words(&self) -> SmallVec<[u64; 16]> {
        let mut words = SmallVec::with_capacity(self.word_count());
        if self.is_zero() {
            return words;
        }
        let slots = self.slots();
        words.push(slots.len() as u64);
        words.extend(slots.iter().map(|slot| *slot as u64));
        if let Some(more) = self.many().filter(|many| many.has_more()) {
            words.push(u64::from(more.lost));
            for (key, value) in &more.entries {
                words.extend([u64::from(*key), (*value >> 64) as u64, *value as u64]);
            }
        }
        words
    }

    fn word_count(&self) -> usize {
        match self.many().filter(|many| many.has_more()) {
            _ if self.is_zero() => 0,
            None => 1 + self.slots().len(),
            Some(many) => 2 + self.slots().len() + 3 * many.entries.len(),
        }
    }

    /// The inverse of [`Accumulator::to_words`]; words that it cannot have written end early.
    fn from_words(words: &[u64]) -> Self {
        let mut sums = Accumulator::default();
        let Some((length, rest)) = words.split_first() else { return sums };
        let (slots, rest) = rest.split_at(rest.len().min(*length as usize));
        if slots.len() <= FEW && rest.is_empty() {
            let mut few = [0; FEW];
            few.iter_mut().zip(slots).for_each(|(slot, word)| *slot = *word as i64);
            return Accumulator(Sums::Few(few));
        }
        sums.change(|many| {
            many.slots = slots.iter().map(|slot| *slot as i64).collect();
            if let Some((lost, entries)) = rest.split_first() {
                let value = |words: &[u64]| i128::from(words[1] as i64) << 64 | i128::from(words[2]);
                many.entries = entries.chunks_exact(3).map(|words| (words[0] as u32, value(words))).collect();
                many.lost = *lost != 0;
            }
        });
        sums
    }
}

impl Many {
    fn has_more(&self) -> bool {
        self.lost || !self.entries.is_empty()
    }

    /// Adds `low + high * 2^64` to a slot.
    fn add_to_slot(&mut self, slot: usize, low: i64, high: i128) {
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, 0);
        }
        let sum = i128::from(self.slots[slot]) + i128::from(low);
        self.slots[slot] = sum as i64;
        let carry = (sum - i128::from(sum as i64)) >> 64;
        if carry != 0 || high != 0 {
            self.add_entry(wide_key(slot), high.checked_add(carry));
        }
    }

    /// Adds to an entry; `None` is a number that was lost.
    fn add_entry(&mut self, key: u32, value: Option<i128>) {
        let Some(value) = in_range(value) else {
            self.lost = true;
            return;
        };
        match self.entries.binary_search_by_key(&key, |(key, _)| *key) {
            Err(place) if value != 0 => self.entries.insert(place, (key, value)),
            Err(_) => {}
            Ok(place) => match in_range(self.entries[place].1.checked_add(value)) {
                Some(0) => drop(self.entries.remove(place)),
                Some(sum) => self.entries[place].1 = sum,
                None => self.lost = true,
            },
        }
    }
}

impl AddAssignByRef for Accumulator {
    #[inline]
    fn add_assign_by_ref(&mut self, other: &Self) {
        if let (Sums::Few(left), Sums::Few(right)) = (&mut self.0, &other.0) {
            let mut sums = [0; FEW];
            let mut fits = true;
            for slot in 0..FEW {
                let (sum, overflows) = left[slot].overflowing_add(right[slot]);
                sums[slot] = sum;
                fits &= !overflows;
            }
            if fits {
                *left = sums;
                return;
            }
        }
        self.change(|many| {
            other.slots().iter().enumerate().for_each(|(slot, value)| many.add_to_slot(slot, *value, 0));
            if let Some(other) = other.many() {
                other.entries.iter().for_each(|(key, value)| many.add_entry(*key, Some(*value)));
                many.lost |= other.lost;
            }
        });
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
        for (slot, value) in self.slots().iter().enumerate() {
            product.add_int(slot, i128::from(*value) * i128::from(*weight));
        }
        if let Some(many) = self.many().filter(|many| many.has_more()) {
            product.change(|product| {
                for (key, value) in &many.entries {
                    product.add_entry(*key, value.checked_mul(i128::from(*weight)));
                }
                product.lost |= many.lost;
            });
        }
        product
    }
}

impl HasZero for Accumulator {
    #[inline]
    fn is_zero(&self) -> bool {
        matches!(&self.0, Sums::Few(slots) if *slots == [0; FEW])
    }

    fn zero() -> Self {
        Self::default()
    }
}

impl fmt::Debug for Accumulator {
    /// The number of slots only: values never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accumulator({} slots)", self.slots().len())
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
        if let Some(many) = self.many() {
            context.add(size_of::<Many>()).add_distinct_allocation();
            if many.slots.spilled() {
                context.add_vectorlike(many.slots.len(), many.slots.capacity(), size_of::<i64>());
            }
            if many.entries.spilled() {
                context.add_vectorlike(many.entries.len(), many.entries.capacity(), size_of::<(u32, i128)>());
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
