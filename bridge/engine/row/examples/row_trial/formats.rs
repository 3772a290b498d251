//! The formats on trial and what each does to be a row of DBSP.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;
use arrow::row::{RowConverter, SortField};
use dbsp::DBData;
use dbsp::utils::{IsNone, SupportsRoaring};
use rkyv::ser::{ScratchSpace, Serializer};
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::{Archive, Deserialize, Fallible, Serialize};
use size_of::{Context, SizeOf};
use smallvec::SmallVec;
use tidegate_engine_row::{KeyMode, RowCodec, WordRow};

/// A row format on trial.
pub trait Format: DBData + Sized {
    const NAME: &'static str;
    type Codec;
    fn codec(fields: &[FieldRef]) -> Self::Codec;
    fn encode(codec: &Self::Codec, columns: &[ArrayRef]) -> Vec<Self>;
    fn decode(codec: &Self::Codec, rows: &[Self]) -> Vec<ArrayRef>;
    fn concat(left: &Self, right: &Self) -> Self;
    /// The second column, a decimal. All shapes have two columns before any string, and a row has
    /// one bitmap word if `bitmap` is one.
    fn amount(&self, bitmap: usize) -> i128;
}

fn word_codec(fields: &[FieldRef]) -> RowCodec {
    RowCodec::new(fields, KeyMode::Exact).unwrap()
}

fn word_amount(words: &[u64], bitmap: usize) -> i128 {
    i128::from((words[bitmap + 1] ^ (1 << 63)) as i64)
}

impl<const N: usize> Format for WordRow<N> {
    const NAME: &'static str = match N {
        2 => "words, 2 inline",
        3 => "words, 3 inline",
        4 => "words, 4 inline",
        8 => "words, 8 inline",
        _ => panic!("not on trial"),
    };
    type Codec = RowCodec;

    fn codec(fields: &[FieldRef]) -> RowCodec {
        word_codec(fields)
    }

    fn encode(codec: &RowCodec, columns: &[ArrayRef]) -> Vec<Self> {
        let mut rows = Vec::with_capacity(columns[0].len());
        codec.encode_each(columns, |words| rows.push(WordRow::from_words(words))).unwrap();
        rows
    }

    fn decode(codec: &RowCodec, rows: &[Self]) -> Vec<ArrayRef> {
        codec.decode(rows).unwrap()
    }

    fn concat(left: &Self, right: &Self) -> Self {
        WordRow::concat(&[left.as_words(), right.as_words()])
    }

    fn amount(&self, bitmap: usize) -> i128 {
        word_amount(self.as_words(), bitmap)
    }
}

/// A format over a slice type: what DBSP asks of a row, apart from the codec.
macro_rules! slice_row {
    ($name:ident, $archived:ident, $element:ty, $container:ty, $heap:expr) => {
        #[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name($container);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                <$element>::hash_slice(&self.0, state);
            }
        }

        impl SizeOf for $name {
            fn size_of_children(&self, context: &mut Context) {
                let heap: fn(&$container) -> usize = $heap;
                if heap(&self.0) > 0 {
                    context.add_vectorlike(self.0.len(), heap(&self.0), size_of::<$element>());
                }
            }
        }

        impl IsNone for $name {
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

        impl SupportsRoaring for $name {}

        #[repr(transparent)]
        pub struct $archived(ArchivedVec<$element>);

        impl PartialEq for $archived {
            fn eq(&self, other: &Self) -> bool {
                self.0.as_slice() == other.0.as_slice()
            }
        }

        impl Eq for $archived {}

        impl Ord for $archived {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.as_slice().cmp(other.0.as_slice())
            }
        }

        impl PartialOrd for $archived {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Archive for $name {
            type Archived = $archived;
            type Resolver = VecResolver;
            unsafe fn resolve(&self, pos: usize, resolver: VecResolver, out: *mut $archived) {
                // SAFETY: the archived type is transparent over the vector.
                unsafe { ArchivedVec::resolve_from_slice(&self.0, pos, resolver, out.cast::<ArchivedVec<$element>>()) }
            }
        }

        impl<S: Serializer + ScratchSpace + ?Sized> Serialize<S> for $name {
            fn serialize(&self, serializer: &mut S) -> Result<VecResolver, S::Error> {
                ArchivedVec::<$element>::serialize_from_slice(&self.0, serializer)
            }
        }

        impl<D: Fallible + ?Sized> Deserialize<$name, D> for $archived {
            fn deserialize(&self, _: &mut D) -> Result<$name, D::Error> {
                Ok($name(self.0.as_slice().into()))
            }
        }
    };
}

slice_row!(BoxedRow, ArchivedBoxedRow, u64, Box<[u64]>, |words| words.len());
slice_row!(ByteRow, ArchivedByteRow, u8, SmallVec<[u8; 40]>, |bytes| if bytes.spilled() {
    bytes.capacity()
} else {
    0
});

impl Format for BoxedRow {
    const NAME: &'static str = "words, boxed";
    type Codec = RowCodec;

    fn codec(fields: &[FieldRef]) -> RowCodec {
        word_codec(fields)
    }

    fn encode(codec: &RowCodec, columns: &[ArrayRef]) -> Vec<Self> {
        let mut rows = Vec::with_capacity(columns[0].len());
        codec.encode_each(columns, |words| rows.push(BoxedRow(words.into()))).unwrap();
        rows
    }

    fn decode(codec: &RowCodec, rows: &[Self]) -> Vec<ArrayRef> {
        codec.decode_words(rows.iter().map(|row| &*row.0)).unwrap()
    }

    fn concat(left: &Self, right: &Self) -> Self {
        BoxedRow([&*left.0, &*right.0].concat().into())
    }

    fn amount(&self, bitmap: usize) -> i128 {
        word_amount(&self.0, bitmap)
    }
}

impl Format for ByteRow {
    const NAME: &'static str = "bytes, 40 inline";
    type Codec = RowConverter;

    fn codec(fields: &[FieldRef]) -> RowConverter {
        RowConverter::new(fields.iter().map(|field| SortField::new(field.data_type().clone())).collect()).unwrap()
    }

    fn encode(codec: &RowConverter, columns: &[ArrayRef]) -> Vec<Self> {
        codec.convert_columns(columns).unwrap().iter().map(|row| ByteRow(row.data().into())).collect()
    }

    fn decode(codec: &RowConverter, rows: &[Self]) -> Vec<ArrayRef> {
        let parser = codec.parser();
        codec.convert_rows(rows.iter().map(|row| parser.parse(&row.0))).unwrap()
    }

    fn concat(left: &Self, right: &Self) -> Self {
        let mut bytes = SmallVec::with_capacity(left.0.len() + right.0.len());
        bytes.extend_from_slice(&left.0);
        bytes.extend_from_slice(&right.0);
        ByteRow(bytes)
    }

    fn amount(&self, _: usize) -> i128 {
        // One validity byte and eight bytes of the first column, one validity byte.
        i128::from_be_bytes(self.0[10..26].try_into().unwrap()) ^ i128::MIN
    }
}
