//! The Z-order curve: rows that are near one another in several columns lie near one another in the files, so that
//! the bounds of files are narrow in all of them.

use arrow::array::{BinaryArray, RecordBatch};

use crate::columns::Equality;
use crate::error::DeltaSinkError;
use crate::shape::{Addresser, Shape};

/// Leading bytes of a value, in the order of its column, that count for its place.
const BYTES: usize = 16;

/// A curve through some columns.
#[derive(Debug)]
pub(crate) struct Curve {
    columns: Vec<Addresser>,
}

impl Curve {
    pub(crate) fn new(shape: &Shape, names: &[String]) -> Result<Curve, DeltaSinkError> {
        let unsupported = |fact: String| DeltaSinkError::unsupported(&shape.view.name, fact);
        let column = |name: &String| {
            let fields = shape.view.schema.fields();
            let column = fields.iter().position(|field| field.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
                let way_out = "give such views a sink of their own";
                unsupported(format!("z_order names column {name}, which it does not have: {way_out}"))
            })?;
            Addresser::new(shape, vec![column], Equality::Grouped).map_err(unsupported)
        };
        Ok(Curve { columns: names.iter().map(column).collect::<Result<Vec<_>, _>>()? })
    }

    /// The place of each row: the bits of its values taken in turn, the most significant first. Bits that are the
    /// same in all rows do not change the order.
    pub(crate) fn places(&self, rows: &RecordBatch) -> Result<BinaryArray, String> {
        let values = self.columns.iter().map(|column| column.of_rows(rows)).collect::<Result<Vec<_>, _>>()?;
        let place = |row: usize| {
            let mut place = vec![0u8; BYTES * values.len()];
            for (column, values) in values.iter().enumerate() {
                for (at, byte) in values.get(row).iter().take(BYTES).enumerate() {
                    for bit in (0..8).filter(|bit| byte & (0x80 >> bit) != 0) {
                        let target = (at * 8 + bit) * self.columns.len() + column;
                        place[target / 8] |= 0x80 >> (target % 8);
                    }
                }
            }
            place
        };
        Ok(BinaryArray::from_iter_values((0..rows.num_rows()).map(place)))
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::{RowIdentity, ViewInfo, schema::columns};

    use super::*;
    use crate::schema::Mapping;

    #[test]
    fn near_in_both_columns_is_near_on_the_curve() {
        let schema = columns([("x", "INTEGER", true), ("y", "INTEGER", true)]).unwrap();
        let view = ViewInfo::new("v".into(), schema.clone(), RowIdentity::WholeRow);
        let shape = Shape::new(&view, &[], Mapping::None).unwrap();
        let points: Vec<(i32, i32)> = (0..4).flat_map(|x| (0..4).map(move |y| (x, y))).collect();
        let values: Vec<_> = points.iter().map(|(x, y)| format!("({x}, {y})")).collect();
        let rows = shape.store(&tidegate_testkit::rows::batch(&schema, &values.join(", "))).unwrap();
        let places = Curve::new(&shape, &["X".to_owned(), "y".to_owned()]).unwrap().places(&rows).unwrap();
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by_key(|row| places.value(*row));
        // The four quarters one after the other, and in each of them its four points.
        let quarters: Vec<_> = order
            .chunks(4)
            .map(|quarter| {
                let mut corners: Vec<_> = quarter.iter().map(|row| (points[*row].0 / 2, points[*row].1 / 2)).collect();
                corners.dedup();
                corners
            })
            .collect();
        assert_eq!(quarters, [[(0, 0)], [(0, 1)], [(1, 0)], [(1, 1)]]);
    }
}
