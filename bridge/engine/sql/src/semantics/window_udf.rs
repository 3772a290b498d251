//! Window functions as functions of a plan.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, internal_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDFImpl, Signature};

use super::window::{Frame, WindowKind};

/// Which arguments a bound call has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Places {
    pub(super) argument: bool,
    pub(super) default: bool,
    pub(super) filter: bool,
    pub(super) range_key: bool,
    /// How many arguments a recomputed aggregate has.
    pub(super) arguments: usize,
}

/// A function with its frame and its type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Windowed {
    pub(super) kind: WindowKind,
    pub(super) places: Places,
    pub(super) frame: Frame,
    pub(super) distinct: bool,
    pub(super) ignores_nulls: bool,
    /// Of each key of the order inside the call: whether it ascends, and whether NULLs come first.
    pub(super) inner_order: Vec<(bool, bool)>,
    pub(super) return_type: DataType,
    /// DuckDB's name of the type, where the Arrow type does not tell.
    pub(super) duckdb_type: Option<String>,
    pub(super) signature: Signature,
}

impl AggregateUDFImpl for Windowed {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.return_type.clone())
    }

    fn return_field(&self, _: &[FieldRef]) -> Result<FieldRef> {
        let field = Field::new(self.name(), self.return_type.clone(), true);
        Ok(Arc::new(match &self.duckdb_type {
            Some(duckdb_type) => tidegate_core::schema::with_duckdb_type(field, duckdb_type),
            None => field,
        }))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        internal_err!("windows are maintained by the circuit")
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        internal_err!("windows are maintained by the circuit")
    }
}
