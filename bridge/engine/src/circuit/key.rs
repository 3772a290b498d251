//! Keys of streams. Most keys are one or two words (an id, nullable or not), and every lookup compares
//! many of them: such keys are kept as that and nothing else, other ones as rows.

use dbsp::utils::Tup2;
use dbsp::{DBData, OrdIndexedZSet, RootCircuit, Stream};
use tidegate_engine_row::{Row, RowCodec};

use super::leaf::{KeyedInflow, Leaf};

/// A stream of rows by key.
pub(crate) type KeyedStream<K> = Stream<RootCircuit, OrdIndexedZSet<K, Row>>;

/// Up to two words; the second one is zero where the codec has one only.
pub(crate) type Short = Tup2<u64, u64>;

const SHORT_WORDS: usize = 2;

/// How the keys of an operator are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyShape {
    Short,
    Row,
}

impl KeyShape {
    /// The shape of this codec's keys.
    pub fn of(codec: &RowCodec) -> Self {
        match codec.fixed_words() {
            Some(words) if words <= SHORT_WORDS => KeyShape::Short,
            _ => KeyShape::Row,
        }
    }
}

/// A stream with keys of either shape.
#[derive(Clone)]
pub(crate) enum Keyed {
    Short(KeyedStream<Short>),
    Row(KeyedStream<Row>),
}

/// A shape of keys.
pub(crate) trait Key: DBData {
    fn from_words(words: &[u64]) -> Self;

    /// The words, of which the codec of a short key says how many there are.
    fn with_words<R>(&self, width: usize, take: impl FnOnce(&[u64]) -> R) -> R;

    fn keyed(stream: KeyedStream<Self>) -> Keyed;

    /// # Panics
    /// When the stream has keys of another shape: they follow from the codec on both sides.
    fn stream(keyed: &Keyed) -> KeyedStream<Self>;

    fn leaf(inflow: KeyedInflow<Self>) -> Leaf;
}

impl Key for Short {
    #[inline]
    fn from_words(words: &[u64]) -> Self {
        match words {
            [] => Tup2(0, 0),
            [first] => Tup2(*first, 0),
            [first, second] => Tup2(*first, *second),
            _ => unreachable!("a short key has at most two words"),
        }
    }

    #[inline]
    fn with_words<R>(&self, width: usize, take: impl FnOnce(&[u64]) -> R) -> R {
        take(&[self.0, self.1][..width])
    }

    fn keyed(stream: KeyedStream<Self>) -> Keyed {
        Keyed::Short(stream)
    }

    fn stream(keyed: &Keyed) -> KeyedStream<Self> {
        match keyed {
            Keyed::Short(stream) => stream.clone(),
            Keyed::Row(_) => unreachable!("the keys are short"),
        }
    }

    fn leaf(inflow: KeyedInflow<Self>) -> Leaf {
        Leaf::Short(inflow)
    }
}

impl Key for Row {
    #[inline]
    fn from_words(words: &[u64]) -> Self {
        Row::from_words(words)
    }

    #[inline]
    fn with_words<R>(&self, _: usize, take: impl FnOnce(&[u64]) -> R) -> R {
        take(self.as_words())
    }

    fn keyed(stream: KeyedStream<Self>) -> Keyed {
        Keyed::Row(stream)
    }

    fn stream(keyed: &Keyed) -> KeyedStream<Self> {
        match keyed {
            Keyed::Row(stream) => stream.clone(),
            Keyed::Short(_) => unreachable!("the keys are rows"),
        }
    }

    fn leaf(inflow: KeyedInflow<Self>) -> Leaf {
        Leaf::Row(inflow)
    }
}
