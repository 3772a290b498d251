//! Rows in batch files: what is read is what was written, in the same order.

use rand::Rng;
use rkyv::ser::Serializer;
use rkyv::ser::serializers::AllocSerializer;
use rkyv::{Deserialize, Infallible, archived_root};
use tidegate_engine_row::Row;

use crate::for_each_seed;

#[test]
fn archived_rows_compare_as_live_rows() {
    for_each_seed(20, |rng| {
        let rows: Vec<Row> = (0..40)
            .map(|_| {
                let words: Vec<u64> = (0..rng.random_range(0..9)).map(|_| rng.random_range(0..3) << 62).collect();
                Row::from_words(&words)
            })
            .collect();
        let files: Vec<_> = rows
            .iter()
            .map(|row| {
                let mut serializer = AllocSerializer::<256>::default();
                serializer.serialize_value(row).unwrap();
                serializer.into_serializer().into_inner()
            })
            .collect();
        // SAFETY: the bytes were just written as rows.
        let archived: Vec<_> = files.iter().map(|file| unsafe { archived_root::<Row>(file) }).collect();
        for (row, left) in rows.iter().zip(&archived) {
            let back: Row = Deserialize::<Row, _>::deserialize(*left, &mut Infallible).unwrap();
            assert_eq!(&back, row);
            for (other, right) in rows.iter().zip(&archived) {
                assert_eq!(left.cmp(right), row.cmp(other));
                assert_eq!(*left == *right, row == other);
                assert_eq!(left.partial_cmp(&other), Some(row.cmp(other)));
            }
        }
    });
}
