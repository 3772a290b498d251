//! Values of one type in another, as DuckDB casts them. Where Arrow's result is certain to be the same, Arrow does it;
//! everything else goes through a DuckDB in memory.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, PrimitiveArray, RecordBatch, new_null_array};
use arrow::compute::{cast_with_options, concat};
use arrow::datatypes::{
    DataType, Field, Float64Type, Schema, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampSecondType,
};
use tidegate_core::schema::{duckdb_type, with_duckdb_type};
use tidegate_duck::{Duck, DuckError, Flow, Options, carrier_type};

use super::leaf::{FileType, STRICT};

/// The greatest number of 38 digits is just below; doubles beyond have more.
const HUGEINT_END: f64 = 1e38;

/// The DuckDB that casts what Arrow does not, opened when it is first needed.
#[derive(Default)]
pub(super) struct Caster(Mutex<Option<Duck>>);

/// DuckDB's name of a column's type.
pub(super) fn type_name(field: &Field) -> String {
    duckdb_type(field).map_or_else(|| carrier_type(field.data_type()), str::to_owned)
}

/// Why a cast fails.
pub(super) enum CastFault {
    /// A value does not fit.
    Value,
    /// DuckDB says why.
    Duck(DuckError),
}

impl Caster {
    /// `array`, which is of type `from`, as `to`.
    pub(super) fn cast(&self, array: &ArrayRef, from: &FileType, to: &Field) -> Result<ArrayRef, CastFault> {
        let target = type_name(to);
        if from.arrow == DataType::Null {
            return Ok(new_null_array(to.data_type(), array.len()));
        }
        if is_same(from, &target, to.data_type()) {
            return Ok(array.clone());
        }
        if is_exact(&from.arrow, to.data_type(), &target) {
            return cast_with_options(array, to.data_type(), &STRICT).map_err(|_| CastFault::Value);
        }
        if let Some(whole) = in_whole_units(array, to.data_type(), &target) {
            return Ok(whole);
        }
        self.by_duckdb(array, &from.duckdb, to).map_err(CastFault::Duck)
    }

    /// A text as a value of a column's type.
    pub(super) fn parse(&self, text: ArrayRef, to: &Field) -> Result<ArrayRef, CastFault> {
        if type_name(to).eq_ignore_ascii_case("VARCHAR") {
            return Ok(text);
        }
        self.by_duckdb(&text, "VARCHAR", to).map_err(CastFault::Duck)
    }

    fn by_duckdb(&self, array: &ArrayRef, from: &str, to: &Field) -> Result<ArrayRef, DuckError> {
        let mut duck = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let duck = match &mut *duck {
            Some(duck) => duck,
            // With one thread the rows keep their order.
            none => none.insert(Duck::open_in_memory_with(&Options { threads: Some(1), ..Options::default() })?),
        };
        let mismatch = |message: String| DuckError::Mismatch { message };
        let column = Field::new("v", array.data_type().clone(), true);
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![column])), vec![array.clone()]);
        let batch = batch.map_err(|error| mismatch(error.to_string()))?;
        duck.execute(&format!("CREATE OR REPLACE TABLE uncast (v {from})"))?;
        duck.append(&["uncast"], [batch])?;
        let target = type_name(to);
        let schema = with_duckdb_type(Field::new("v", to.data_type().clone(), true), &target);
        let schema = Arc::new(Schema::new(vec![schema]));
        let mut parts = Vec::new();
        let result = duck.stream(&[format!("CAST(v AS {target})")], "uncast", "", &schema, |batch| {
            parts.extend(batch.columns().first().cloned());
            Ok::<_, DuckError>(Flow::Continue)
        });
        duck.execute("DROP TABLE uncast")?;
        result?;
        if parts.is_empty() {
            return Ok(new_null_array(to.data_type(), array.len()));
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        let whole = concat(&parts).map_err(|error| mismatch(error.to_string()))?;
        if whole.len() == array.len() { Ok(whole) } else { Err(mismatch("rows were lost in a cast".to_owned())) }
    }
}

/// Whether every value already is what DuckDB's cast makes of it.
fn is_same(from: &FileType, target: &str, data_type: &DataType) -> bool {
    let target = target.to_ascii_uppercase();
    from.arrow == *data_type
        && match from.duckdb.as_str() {
            // Files hold it in UTC.
            "TIME WITH TIME ZONE" => target == "TIME",
            // Their text is the value.
            "JSON" | "UUID" => target == from.duckdb || target == "VARCHAR",
            "VARCHAR" => target == "VARCHAR",
            _ => true,
        }
}

/// Whether Arrow's cast gives what DuckDB's gives, or refuses what DuckDB's refuses.
fn is_exact(from: &DataType, to: &DataType, target: &str) -> bool {
    match (from, to) {
        (from, to) if from.is_integer() && to.is_integer() => true,
        (from, DataType::Decimal128(38, 0)) if from.is_integer() => target.eq_ignore_ascii_case("HUGEINT"),
        (from, DataType::Float32 | DataType::Float64) if from.is_integer() => true,
        (DataType::Float32, DataType::Float64) => true,
        (DataType::Decimal128(p, s), DataType::Decimal128(to_p, to_s)) => {
            to_s >= s && i16::from(*to_p) - i16::from(*to_s) >= i16::from(*p) - i16::from(*s)
        }
        _ => false,
    }
}

/// A finer unit in a coarser one, where no value is in between: nothing is rounded then.
fn in_whole_units(array: &ArrayRef, to: &DataType, target: &str) -> Option<ArrayRef> {
    if let (Some(doubles), true) = (array.as_primitive_opt::<Float64Type>(), target.eq_ignore_ascii_case("HUGEINT")) {
        let is_whole = |double: f64| double.fract() == 0.0 && double.abs() < HUGEINT_END;
        if !doubles.iter().flatten().all(is_whole) {
            return None;
        }
        // A double below 2^127 without a fraction is an integer exactly.
        let integers: Decimal128Array = doubles.unary(|double| double as i128);
        return Some(Arc::new(integers.with_precision_and_scale(38, 0).ok()?));
    }
    let stamps = array.as_primitive_opt::<TimestampMicrosecondType>().filter(|stamps| stamps.timezone().is_none())?;
    let unit = match to {
        DataType::Timestamp(TimeUnit::Second, None) => 1_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, None) => 1000,
        _ => return None,
    };
    let is_infinite = |micros: i64| micros == i64::MAX || micros == -i64::MAX;
    if !stamps.iter().flatten().all(|micros| is_infinite(micros) || micros % unit == 0) {
        return None;
    }
    let coarser = |micros: i64| if is_infinite(micros) { micros } else { micros / unit };
    Some(if unit == 1000 {
        let millis: PrimitiveArray<TimestampMillisecondType> = stamps.unary(coarser);
        Arc::new(millis)
    } else {
        let seconds: PrimitiveArray<TimestampSecondType> = stamps.unary(coarser);
        Arc::new(seconds)
    })
}
