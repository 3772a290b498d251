//! The numbers of an accumulator.

/// Numbers inline: the count of rows, and two sums with their counts.
const FEW: usize = 5;

/// A vector of numbers with zeros after its end; equal numbers are equal slots.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Slots {
    /// Nothing but zeros beyond these.
    Few([i64; FEW]),
    /// More than that; the last one is not zero.
    Many(Vec<i64>),
}

impl Default for Slots {
    fn default() -> Self {
        Slots::Few([0; FEW])
    }
}

impl Slots {
    #[inline]
    pub fn get(&self, slot: usize) -> i64 {
        let slots: &[i64] = match self {
            Slots::Few(slots) => slots,
            Slots::Many(slots) => slots,
        };
        slots.get(slot).copied().unwrap_or(0)
    }

    #[inline]
    pub fn set(&mut self, slot: usize, value: i64) {
        match self {
            Slots::Few(slots) if slot < FEW => slots[slot] = value,
            _ => self.set_many(slot, value),
        }
    }

    #[cold]
    fn set_many(&mut self, slot: usize, value: i64) {
        let mut slots = self.as_slice().to_vec();
        slots.resize(slots.len().max(slot + 1), 0);
        slots[slot] = value;
        *self = Slots::from_vec(slots);
    }

    fn from_vec(mut slots: Vec<i64>) -> Self {
        slots.truncate(trimmed(&slots).len());
        if slots.len() > FEW {
            return Slots::Many(slots);
        }
        let mut few = [0; FEW];
        few[..slots.len()].copy_from_slice(&slots);
        Slots::Few(few)
    }

    /// The numbers without zeros at the end.
    #[inline]
    pub fn as_slice(&self) -> &[i64] {
        match self {
            Slots::Few(slots) => trimmed(slots),
            Slots::Many(slots) => slots,
        }
    }

    #[inline]
    pub fn is_zero(&self) -> bool {
        matches!(self, Slots::Few(slots) if *slots == [0; FEW])
    }

    /// Adds number by number; `false`, and nothing done, when a sum would not fit 64 bits.
    #[inline]
    pub fn add(&mut self, other: &Slots) -> bool {
        let mut sums = [0; FEW];
        if let (Slots::Few(left), Slots::Few(right)) = (&*self, other) {
            for (sum, (left, right)) in sums.iter_mut().zip(left.iter().zip(right)) {
                match left.checked_add(*right) {
                    Some(added) => *sum = added,
                    None => return false,
                }
            }
            *self = Slots::Few(sums);
            return true;
        }
        let length = self.as_slice().len().max(other.as_slice().len());
        let sums: Option<Vec<i64>> = (0..length).map(|slot| self.get(slot).checked_add(other.get(slot))).collect();
        match sums {
            Some(sums) => *self = Slots::from_vec(sums),
            None => return false,
        }
        true
    }

    /// Bytes beside the slots themselves.
    pub fn heap(&self) -> Option<(usize, usize)> {
        match self {
            Slots::Few(_) => None,
            Slots::Many(slots) => Some((slots.len(), slots.capacity())),
        }
    }
}

impl FromIterator<i64> for Slots {
    fn from_iter<I: IntoIterator<Item = i64>>(slots: I) -> Self {
        Slots::from_vec(slots.into_iter().collect())
    }
}

#[inline]
fn trimmed(slots: &[i64]) -> &[i64] {
    let end = slots.iter().rposition(|slot| *slot != 0).map_or(0, |last| last + 1);
    &slots[..end]
}
