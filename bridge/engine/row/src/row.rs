//! The row type: order-preserving words, few of them inline, more on the heap.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use dbsp::utils::{IsNone, SupportsRoaring};
use rkyv::ser::{ScratchSpace, Serializer};
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::{Archive, Deserialize, Fallible, Serialize};
use size_of::{Context, SizeOf};
use smallvec::SmallVec;

/// A row with up to `N` words inline, more of them on the heap, where copies share them. Rows are
/// compared word by word, as numbers; a row that is a prefix of another is the smaller one.
#[derive(Clone)]
pub struct WordRow<const N: usize>(Words<N>);

#[derive(Clone)]
enum Words<const N: usize> {
    /// Unused words are zero, so that words are compared first and lengths only when they are equal.
    Inline(Length, [u64; N]),
    Shared(Arc<[u64]>),
}

/// How many words are inline; as an enumeration it leaves room for the tag of [`Words`] beside it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Length {
    L0,
    L1,
    L2,
    L3,
    L4,
    L5,
    L6,
    L7,
    L8,
}

impl Length {
    const ALL: [Length; 9] =
        [Length::L0, Length::L1, Length::L2, Length::L3, Length::L4, Length::L5, Length::L6, Length::L7, Length::L8];
}

/// The row type of all circuits. ADR 0002 has the figures behind the number of inline words.
pub type Row = WordRow<4>;

impl<const N: usize> WordRow<N> {
    /// The row without columns: the key of a global aggregate.
    pub fn empty() -> Self {
        WordRow(Words::Inline(Length::L0, [0; N]))
    }

    /// A row of the given words.
    #[inline]
    pub fn from_words(words: &[u64]) -> Self {
        const { assert!(N < Length::ALL.len(), "there is a length for every number of inline words") };
        WordRow(if words.len() <= N {
            let mut inline = [0; N];
            inline[..words.len()].copy_from_slice(words);
            Words::Inline(Length::ALL[words.len()], inline)
        } else {
            Words::Shared(Arc::from(words))
        })
    }

    /// The words of several rows, end to end. A codec made by [`RowCodec::concat`](crate::RowCodec::concat)
    /// reads them.
    pub fn concat(rows: &[&[u64]]) -> Self {
        let mut words = SmallVec::<[u64; 32]>::new();
        rows.iter().for_each(|row| words.extend_from_slice(row));
        Self::from_words(&words)
    }

    /// The words.
    #[inline]
    pub fn as_words(&self) -> &[u64] {
        match &self.0 {
            Words::Inline(length, words) => &words[..*length as usize],
            Words::Shared(words) => words,
        }
    }
}

#[inline]
fn compare(left: &[u64], right: &[u64]) -> Ordering {
    for (l, r) in left.iter().zip(right) {
        if l != r {
            return if l < r { Ordering::Less } else { Ordering::Greater };
        }
    }
    left.len().cmp(&right.len())
}

impl<const N: usize> Default for WordRow<N> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<const N: usize> fmt::Debug for WordRow<N> {
    /// The number of words only: row values never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({} words)", self.as_words().len())
    }
}

impl<const N: usize> PartialEq for WordRow<N> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Words::Inline(left, a), Words::Inline(right, b)) => left == right && a == b,
            (Words::Shared(a), Words::Shared(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        }
    }
}

impl<const N: usize> Eq for WordRow<N> {}

impl<const N: usize> Ord for WordRow<N> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Words::Inline(left, a), Words::Inline(right, b)) => compare(a, b).then(left.cmp(right)),
            _ => compare(self.as_words(), other.as_words()),
        }
    }
}

impl<const N: usize> PartialOrd for WordRow<N> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<const N: usize> Hash for WordRow<N> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        u64::hash_slice(self.as_words(), state);
    }
}

impl<const N: usize> SizeOf for WordRow<N> {
    fn size_of_children(&self, context: &mut Context) {
        // Copies share their words; each counts its part of them, so that the sum is right.
        if let Words::Shared(words) = &self.0 {
            let bytes = size_of_val(&words[..]) + 2 * size_of::<usize>();
            context.add(bytes / Arc::strong_count(words)).add_distinct_allocation();
        }
    }
}

impl<const N: usize> IsNone for WordRow<N> {
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

impl<const N: usize> SupportsRoaring for WordRow<N> {}

/// A row as it lies in a batch file: a relative pointer to its words. Ordered as live rows are.
#[repr(transparent)]
pub struct ArchivedRow(ArchivedVec<u64>);

impl ArchivedRow {
    /// The words.
    #[inline]
    pub fn as_words(&self) -> &[u64] {
        self.0.as_slice()
    }
}

impl fmt::Debug for ArchivedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArchivedRow({} words)", self.as_words().len())
    }
}

impl PartialEq for ArchivedRow {
    fn eq(&self, other: &Self) -> bool {
        self.as_words() == other.as_words()
    }
}

impl Eq for ArchivedRow {}

impl Ord for ArchivedRow {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.as_words(), other.as_words())
    }
}

impl PartialOrd for ArchivedRow {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<const N: usize> PartialEq<WordRow<N>> for ArchivedRow {
    fn eq(&self, other: &WordRow<N>) -> bool {
        self.as_words() == other.as_words()
    }
}

impl<const N: usize> PartialOrd<WordRow<N>> for ArchivedRow {
    fn partial_cmp(&self, other: &WordRow<N>) -> Option<Ordering> {
        Some(compare(self.as_words(), other.as_words()))
    }
}

impl<const N: usize> Archive for WordRow<N> {
    type Archived = ArchivedRow;
    type Resolver = VecResolver;

    unsafe fn resolve(&self, pos: usize, resolver: VecResolver, out: *mut ArchivedRow) {
        // SAFETY: `ArchivedRow` is transparent over the vector that the caller's place was
        // resolved for.
        unsafe { ArchivedVec::resolve_from_slice(self.as_words(), pos, resolver, out.cast::<ArchivedVec<u64>>()) }
    }
}

impl<S: Serializer + ScratchSpace + ?Sized, const N: usize> Serialize<S> for WordRow<N> {
    fn serialize(&self, serializer: &mut S) -> Result<VecResolver, S::Error> {
        ArchivedVec::<u64>::serialize_from_slice(self.as_words(), serializer)
    }
}

impl<D: Fallible + ?Sized, const N: usize> Deserialize<WordRow<N>, D> for ArchivedRow {
    fn deserialize(&self, _: &mut D) -> Result<WordRow<N>, D::Error> {
        Ok(WordRow::from_words(self.as_words()))
    }
}
