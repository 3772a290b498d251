//! Frames of windows: what their bounds count, and the values between which a RANGE lies.

use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::expr::Sort;
use datafusion_expr::{Expr, WindowFrame, WindowFrameBound, WindowFrameUnits};

use super::bind::bind_settled;
use super::bound::Bound;
use super::coercion::unify;
use super::compare::canonical;
use super::function;
use super::window::{Frame, FrameBound, FrameUnits};
use crate::error::Refusal;

/// The frame, and its key, start and end where these are values.
pub(super) fn frame(frame: &WindowFrame, order_by: &[Sort], schema: &DFSchema) -> Result<(Frame, Vec<Expr>), Refusal> {
    let units = match frame.units {
        WindowFrameUnits::Rows => FrameUnits::Rows,
        WindowFrameUnits::Range => FrameUnits::Range,
        WindowFrameUnits::Groups => FrameUnits::Groups,
    };
    if units != FrameUnits::Range {
        let side = |side: &WindowFrameBound| match side {
            WindowFrameBound::CurrentRow => Ok(FrameBound::CurrentRow),
            WindowFrameBound::Preceding(offset) => counted(offset, FrameBound::Preceding),
            WindowFrameBound::Following(offset) => counted(offset, FrameBound::Following),
        };
        return Ok((Frame { units, start: side(&frame.start_bound)?, end: side(&frame.end_bound)? }, Vec::new()));
    }
    let mut values = RangeValues { order_by, schema, key: None, offsets: Vec::new() };
    let (start, end) = (values.side(&frame.start_bound)?, values.side(&frame.end_bound)?);
    let frame = Frame { units, start, end };
    let Some(key) = values.key else { return Ok((frame, Vec::new())) };
    // Both bounds and the key meet in one type.
    let mut all = vec![key];
    all.extend(values.offsets);
    let (exprs, data_type) = unify(all)?;
    Ok((frame, exprs.into_iter().map(|expr| canonical(expr, &data_type)).collect()))
}

fn counted(offset: &ScalarValue, make: fn(u64) -> FrameBound) -> Result<FrameBound, Refusal> {
    match offset {
        ScalarValue::UInt64(Some(count)) => Ok(make(*count)),
        offset if offset.is_null() => Ok(FrameBound::Unbounded),
        _ => Err(Refusal::new("a frame bound is a whole number: write it so")),
    }
}

struct RangeValues<'a> {
    order_by: &'a [Sort],
    schema: &'a DFSchema,
    key: Option<Bound>,
    offsets: Vec<Bound>,
}

impl RangeValues<'_> {
    fn side(&mut self, side: &WindowFrameBound) -> Result<FrameBound, Refusal> {
        let (offset, precedes) = match side {
            WindowFrameBound::CurrentRow => return Ok(FrameBound::CurrentRow),
            WindowFrameBound::Preceding(offset) => (offset, true),
            WindowFrameBound::Following(offset) => (offset, false),
        };
        if offset.is_null() {
            return Ok(FrameBound::Unbounded);
        }
        let [sort] = self.order_by else {
            return Err(Refusal::new("RANGE with an offset needs exactly one ORDER BY key: order by one column"));
        };
        let key = bind_settled(&sort.expr, self.schema)?;
        if matches!(key.expr, Expr::Literal(..)) {
            return Err(Refusal::new(
                "RANGE with an offset needs an ORDER BY key that is no constant: order by a column",
            ));
        }
        let operation = if precedes == sort.asc { "#subtract" } else { "#add" };
        let value = function::bind(operation, vec![key.clone(), range_offset(offset)?])?;
        self.key = Some(key);
        self.offsets.push(value);
        Ok(FrameBound::Value)
    }
}

/// An offset as the syntax wrote it: a whole number, or months, days and microseconds.
fn range_offset(offset: &ScalarValue) -> Result<Bound, Refusal> {
    let text = match offset {
        ScalarValue::Utf8(Some(text)) => text.as_str(),
        _ => return Err(Refusal::new("a RANGE bound is a whole number or an INTERVAL: write it so")),
    };
    if let Ok(number) = text.parse::<i128>() {
        return Ok(Bound::integer(number));
    }
    let parts: Vec<Bound> = text.split(':').map(|part| Bound::text(part.to_owned())).collect();
    function::bind("#interval", parts)
}
