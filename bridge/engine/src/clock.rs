//! The time of the epoch, as views read it: a relation with one row, which a new epoch replaces.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use tidegate_core::{Micros, ZSet};
use tidegate_engine_sql::{Input, Relation};

use crate::EngineError;
use crate::circuit::batch;
use crate::node::Node;

/// What the engine knows of time, which it is told.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    /// The time that the circuits hold.
    pub present: Option<Micros>,
    /// The time of the coming epoch, if it is another one.
    pub coming: Option<Micros>,
}

impl Clock {
    /// The clock of a saved engine.
    pub fn at(present: Option<Micros>) -> Self {
        Clock { present, coming: None }
    }

    /// Lets the coming time be the present one, and tells those of `nodes` that read it.
    pub fn strike<'a>(&mut self, nodes: impl Iterator<Item = &'a mut Node>, part_rows: u64) -> Result<(), EngineError> {
        let Some(coming) = self.coming.take().filter(|coming| self.present != Some(*coming)) else { return Ok(()) };
        let change = change(self.present, coming)?;
        for node in nodes.filter(|node| node.reads(&Input::Clock)) {
            node.feed(&Input::Clock, &change, part_rows)?;
        }
        self.present = Some(coming);
        Ok(())
    }

    /// The present time for a circuit that is loaded.
    pub fn load(self) -> Result<ZSet, EngineError> {
        let fact = "a view reads the time of the epoch, which nobody has set";
        change(None, self.present.ok_or(EngineError::Misuse(fact))?)
    }
}

/// The change from one time to another one.
fn change(from: Option<Micros>, to: Micros) -> Result<ZSet, EngineError> {
    let rows = from.map(|from| (from, -1)).into_iter().chain([(to, 1)]);
    let (times, weights): (Vec<i64>, Vec<i64>) = rows.map(|(time, weight)| (time.0, weight)).unzip();
    let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"));
    let rows = batch(&Relation::clock().declared, vec![column], weights.len())?;
    Ok(ZSet::new(rows, Int64Array::from(weights)))
}
