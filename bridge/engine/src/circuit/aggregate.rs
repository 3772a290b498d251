//! From an aggregate node to a group: which calls share a part, which numbers are summed, and what the
//! group's row is made of.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_expr::{Aggregate, Expr, ExprSchemable, lit, when};
use tidegate_engine_row::{KeyMode, Row, RowCodec};
use tidegate_engine_sql::{AggregateCall, AggregateKind, RecomputedCall, aggregate_call, recomputed_call};

use super::compile::{Compiler, Origin, Relation, non_null, nullable};
use super::group::{Extreme, GroupOutputs, GroupPlan, Output, Part, Slot, SlotEncoder, Slots, Width};
use super::key::KeyShape;
use super::pipe::{Decoder, Encoder, KeyedEncoder, ValueEncoder};
use super::plan::{Edge, OperatorKind};
use super::recompute::{Call, OrderKey, Recompute};
use crate::EngineError;

impl Compiler<'_> {
    pub fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Origin, EngineError> {
        let input = self.relation(&aggregate.input)?;
        let mut builder = GroupBuilder {
            compiler: self,
            input: &input,
            groups: &aggregate.group_expr,
            linear: Arguments::default(),
            linear_slots: vec![Slot::Rows],
            parts: vec![PartDraft::Linear],
            recomputed: Arguments::default(),
            calls: Vec::new(),
        };
        let outputs = aggregate.aggr_expr.iter().map(|expr| builder.output(expr)).collect::<Result<Vec<_>, _>>()?;
        builder.finish(outputs, aggregate)
    }
}

/// Distinct argument expressions of a part.
#[derive(Default)]
struct Arguments(Vec<Expr>);

impl Arguments {
    fn index(&mut self, expr: Expr) -> usize {
        self.0.iter().position(|known| *known == expr).unwrap_or_else(|| {
            self.0.push(expr);
            self.0.len() - 1
        })
    }
}

enum PartDraft {
    Linear,
    Distinct { argument: Expr, slots: Slots },
    Extreme { argument: Expr, which: Extreme },
    Recompute,
}

struct GroupBuilder<'a, 'b> {
    compiler: &'a mut Compiler<'b>,
    input: &'a Relation,
    groups: &'a [Expr],
    linear: Arguments,
    linear_slots: Vec<Slot>,
    parts: Vec<PartDraft>,
    /// Columns of the recomputed part.
    recomputed: Arguments,
    calls: Vec<Call>,
}

impl GroupBuilder<'_, '_> {
    fn output(&mut self, expr: &Expr) -> Result<Output, EngineError> {
        if let Some(call) = recomputed_call(expr) {
            return Ok(self.recompute(&call));
        }
        let call = aggregate_call(expr);
        let AggregateCall { kind, argument, distinct, filter, .. } =
            call.ok_or_else(|| self.compiler.unsupported(format!("aggregate expression {expr}")))?;
        let argument = match (argument, filter) {
            (None, None) => return Ok(Output::Count { part: 0, slot: 0 }),
            (None, Some(filter)) => self.filtered(lit(1i64), filter)?,
            (Some(argument), None) => argument.clone(),
            (Some(argument), Some(filter)) => self.filtered(argument.clone(), filter)?,
        };
        let data_type = argument.get_type(self.input.schema.as_ref());
        let data_type = data_type.map_err(|error| self.compiler.unsupported(error.strip_backtrace()))?;
        match (kind, distinct) {
            (AggregateKind::Min, _) => Ok(self.extreme(argument, data_type, Extreme::Min)),
            (AggregateKind::Max, _) => Ok(self.extreme(argument, data_type, Extreme::Max)),
            (AggregateKind::Count, false) => Ok(Output::Count { part: 0, slot: self.count_slot(argument) }),
            (AggregateKind::Count, true) => {
                let part = self.distinct(argument, Slots::new(vec![Slot::Rows]));
                Ok(Output::Count { part, slot: 0 })
            }
            (AggregateKind::Sum | AggregateKind::Avg, false) => {
                let count = self.count_slot(argument.clone());
                let index = self.linear.index(argument);
                let slot = self.sum_slot(&data_type, index)?;
                let slot = self.linear_slot(slot);
                Ok(sum_output(kind, &data_type, 0, slot, count))
            }
            (AggregateKind::Sum | AggregateKind::Avg, true) => {
                let slots = Slots::new(vec![Slot::Rows, self.sum_slot(&data_type, 0)?]);
                let part = self.distinct(argument, slots);
                Ok(sum_output(kind, &data_type, part, 1, 0))
            }
        }
    }

    fn recompute(&mut self, call: &RecomputedCall) -> Output {
        let known = self.parts.iter().position(|part| matches!(part, PartDraft::Recompute));
        let part = known.unwrap_or_else(|| {
            self.parts.push(PartDraft::Recompute);
            self.parts.len() - 1
        });
        let mut column = |expr: &Expr| self.recomputed.index(expr.clone());
        let order = |sort: &datafusion_expr::SortExpr, column: &mut dyn FnMut(&Expr) -> usize| OrderKey {
            column: column(&sort.expr),
            descending: !sort.asc,
            nulls_first: sort.nulls_first,
        };
        self.calls.push(Call {
            function: call.function.clone(),
            name: call.name.to_owned(),
            arguments: call.arguments.iter().map(&mut column).collect(),
            distinct: call.distinct,
            order: call.order_by.iter().map(|sort| order(sort, &mut column)).collect(),
            filter: call.filter.map(&mut column),
            return_type: call.return_type.clone(),
        });
        Output::Recomputed { part, call: self.calls.len() - 1, data_type: call.return_type.clone() }
    }

    fn filtered(&self, argument: Expr, filter: &Expr) -> Result<Expr, EngineError> {
        let case = when(filter.clone(), argument).end();
        case.map_err(|error| self.compiler.unsupported(error.strip_backtrace()))
    }

    fn linear_slot(&mut self, slot: Slot) -> usize {
        self.linear_slots.iter().position(|known| *known == slot).unwrap_or_else(|| {
            self.linear_slots.push(slot);
            self.linear_slots.len() - 1
        })
    }

    fn count_slot(&mut self, argument: Expr) -> usize {
        let argument = self.linear.index(argument);
        self.linear_slot(Slot::Count { argument })
    }

    fn sum_slot(&self, data_type: &DataType, argument: usize) -> Result<Slot, EngineError> {
        match data_type {
            DataType::Decimal128(precision, _) if *precision > 18 => Ok(Slot::Wide { argument }),
            DataType::UInt64 => Ok(Slot::Wide { argument }),
            DataType::Decimal128(_, _) => Ok(Slot::Narrow { argument }),
            data_type if data_type.is_integer() => Ok(Slot::Narrow { argument }),
            data_type if data_type.is_floating() => Ok(Slot::Float { argument }),
            other => Err(self.compiler.unsupported(format!("a sum of {other}"))),
        }
    }

    fn distinct(&mut self, argument: Expr, slots: Slots) -> usize {
        self.parts.push(PartDraft::Distinct { argument, slots });
        self.parts.len() - 1
    }

    fn extreme(&mut self, argument: Expr, data_type: DataType, which: Extreme) -> Output {
        let known = self.parts.iter().position(
            |part| matches!(part, PartDraft::Extreme { argument: a, which: w } if *a == argument && *w == which),
        );
        let part = known.unwrap_or_else(|| {
            self.parts.push(PartDraft::Extreme { argument, which });
            self.parts.len() - 1
        });
        Output::Extreme { part, data_type }
    }

    /// The edge of one part: group columns as key, then the part's arguments.
    fn part_edge(
        &mut self,
        arguments: &[Expr],
        value: impl FnOnce(&[FieldRef]) -> Result<ValueEncoder, EngineError>,
        required: bool,
    ) -> Result<(Edge, RowCodec), EngineError> {
        let exprs: Vec<Expr> = self.groups.iter().chain(arguments).cloned().collect();
        let (stretch, projected) = self.compiler.project(self.input, &exprs)?;
        let (key_fields, value_fields) = projected.split_at(self.groups.len());
        let key = RowCodec::new(key_fields, KeyMode::Canonical)?;
        let encoder = Encoder::Keyed(KeyedEncoder {
            keys: key_fields.len(),
            key: key.clone(),
            value: value(value_fields)?,
            required: if required { (key_fields.len()..projected.len()).collect() } else { Vec::new() },
        });
        Ok((self.compiler.edge(self.input, stretch, encoder), key))
    }

    fn finish(mut self, outputs: Vec<Output>, aggregate: &Aggregate) -> Result<Origin, EngineError> {
        let linear_slots = Slots::new(std::mem::take(&mut self.linear_slots));
        let arguments = std::mem::take(&mut self.linear).0;
        let (mut parts, mut slots) = (Vec::new(), Vec::new());
        let mut of_none = Row::empty();
        let mut keys = None;
        for draft in std::mem::take(&mut self.parts) {
            let (part, part_slots) = match draft {
                PartDraft::Linear => {
                    let encoder = SlotEncoder { slots: linear_slots.clone() };
                    let (input, key) = self.part_edge(&arguments, |_| Ok(ValueEncoder::Slots(encoder)), false)?;
                    keys = Some(key);
                    (Part::Linear { input, slots: linear_slots.clone() }, linear_slots.clone())
                }
                PartDraft::Distinct { argument, slots } => {
                    let counts_only = slots.are_rows();
                    let for_value = slots.clone();
                    let value = |fields: &[FieldRef]| {
                        Ok(if counts_only {
                            ValueEncoder::Row(RowCodec::new(&non_null(fields), KeyMode::Canonical)?)
                        } else {
                            ValueEncoder::Slots(SlotEncoder { slots: for_value })
                        })
                    };
                    let (input, _) = self.part_edge(&[argument], value, true)?;
                    (Part::Distinct { input, slots: slots.clone() }, slots)
                }
                PartDraft::Extreme { argument, which } => {
                    let value =
                        |fields: &[FieldRef]| Ok(ValueEncoder::Row(RowCodec::new(&non_null(fields), KeyMode::Exact)?));
                    let (input, _) = self.part_edge(&[argument], value, true)?;
                    (Part::Extreme { input, which }, Slots::new(Vec::new()))
                }
                PartDraft::Recompute => {
                    let arguments = std::mem::take(&mut self.recomputed).0;
                    let mut codec = None;
                    let value = |fields: &[FieldRef]| {
                        Ok(ValueEncoder::Row(codec.insert(RowCodec::new(fields, KeyMode::Exact)?).clone()))
                    };
                    let (input, _) = self.part_edge(&arguments, value, false)?;
                    let codec = codec.expect("the edge asks for the encoder of its values");
                    let calls = std::mem::take(&mut self.calls);
                    let part = Arc::new(Recompute::new(self.compiler.view.clone(), codec, calls)?);
                    of_none = part.empty().clone();
                    (Part::Recompute { input, part }, Slots::new(Vec::new()))
                }
            };
            parts.push(part);
            slots.push(part_slots);
        }
        let schema = nullable(aggregate.schema.inner());
        let keys = keys.expect("part 0 is linear");
        let aggregates = &schema.fields()[self.groups.len()..];
        let fields: Vec<FieldRef> = outputs.iter().zip(aggregates).map(|(output, field)| output.field(field)).collect();
        if let Some((found, planned)) =
            fields.iter().zip(aggregates).find(|(found, planned)| found.data_type() != planned.data_type())
        {
            let construct = format!("{} of type {} as {}", planned.name(), found.data_type(), planned.data_type());
            return Err(self.compiler.unsupported(construct));
        }
        let values = RowCodec::new(&fields, KeyMode::Exact)?;
        let key = KeyShape::of(&keys);
        let decoder = Decoder {
            codec: RowCodec::concat(&[keys.clone(), values.clone()]),
            key_width: keys.fixed_words().unwrap_or(0),
            keyed: Some((keys, values.clone())),
            columns: (0..schema.fields().len()).collect(),
            schema,
        };
        let outputs = Arc::new(GroupOutputs { slots, of_none, outputs, codec: values });
        let kind = OperatorKind::Group(GroupPlan { parts, seeded: self.groups.is_empty(), key, outputs });
        Ok(self.compiler.operator(kind, decoder))
    }
}

fn sum_output(kind: AggregateKind, data_type: &DataType, part: usize, slot: usize, count: usize) -> Output {
    let scale = match data_type {
        DataType::Decimal128(_, scale) => scale.unsigned_abs(),
        _ => 0,
    };
    let width = match data_type {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Width::Narrow,
        DataType::Decimal128(precision, _) if *precision <= 4 => Width::Narrow,
        _ => Width::Wide,
    };
    match (kind == AggregateKind::Sum, data_type.is_floating()) {
        (true, false) => Output::Sum { part, slot, count, scale },
        (true, true) => Output::FloatSum { part, slot, count },
        (false, false) => Output::Average { part, slot, count, scale, width },
        (false, true) => Output::FloatAverage { part, slot, count },
    }
}
