//! A slow and plain executor of plans, row by row, so that whole views can be compared with
//! DuckDB without the circuit.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::DataType;
use datafusion_common::{DFSchema, NullEquality, ScalarValue};
use datafusion_expr::{Expr, LogicalPlan};
use tidegate_engine_sql::{AggregateKind, Relation, Stretch, aggregate_call};

/// The rows of a plan over tables and views by name.
pub fn run(plan: &LogicalPlan, inputs: &BTreeMap<String, RecordBatch>) -> RecordBatch {
    let (stretch, below) = Stretch::compile(plan).unwrap();
    let rows = match below {
        LogicalPlan::TableScan(scan) => inputs[&Relation::of(scan.source.as_ref()).unwrap().input.to_string()].clone(),
        LogicalPlan::EmptyRelation(_) => {
            let options = RecordBatchOptions::new().with_row_count(Some(1));
            RecordBatch::try_new_with_options(stretch.input().clone(), vec![], &options).unwrap()
        }
        LogicalPlan::Union(union) => {
            let parts: Vec<RecordBatch> = union.inputs.iter().map(|input| run(input, inputs)).collect();
            let parts =
                parts.iter().map(|p| RecordBatch::try_new(stretch.input().clone(), p.columns().to_vec()).unwrap());
            concat_batches(stretch.input(), &parts.collect::<Vec<_>>()).unwrap()
        }
        LogicalPlan::Distinct(distinct) => {
            let rows = run(distinct.input(), inputs);
            let mut seen = BTreeMap::new();
            (0..rows.num_rows()).for_each(|i| {
                seen.entry(key(rows.columns(), i)).or_insert(i as u64);
            });
            let kept: Vec<u64> = seen.into_values().collect();
            take_record_batch(&rows, &UInt64Array::from(kept)).unwrap()
        }
        LogicalPlan::Join(join) => {
            let (left, right) = (run(&join.left, inputs), run(&join.right, inputs));
            let keys = |exprs: Vec<Expr>, schema: &DFSchema, rows: &RecordBatch| {
                Stretch::projection(&exprs, schema).unwrap().apply_rows(rows).unwrap()
            };
            let left_keys = keys(join.on.iter().map(|(l, _)| l.clone()).collect(), join.left.schema(), &left);
            let right_keys = keys(join.on.iter().map(|(_, r)| r.clone()).collect(), join.right.schema(), &right);
            let nulls_meet = join.null_equality == NullEquality::NullEqualsNull;
            let (mut ls, mut rs) = (Vec::new(), Vec::new());
            for l in 0..left.num_rows() {
                for r in 0..right.num_rows() {
                    let null = left_keys.columns().iter().any(|c| c.is_null(l));
                    if (!null || nulls_meet) && key(left_keys.columns(), l) == key(right_keys.columns(), r) {
                        ls.push(l as u64);
                        rs.push(r as u64);
                    }
                }
            }
            let (l, r) = (
                take_record_batch(&left, &UInt64Array::from(ls)).unwrap(),
                take_record_batch(&right, &UInt64Array::from(rs)).unwrap(),
            );
            let columns = l.columns().iter().chain(r.columns()).cloned().collect();
            let joined = batch(&stretch, columns);
            match &join.filter {
                Some(filter) => Stretch::predicate(filter, &join.schema).unwrap().apply_rows(&joined).unwrap(),
                None => joined,
            }
        }
        LogicalPlan::Aggregate(node) => {
            let rows = run(&node.input, inputs);
            let compute =
                |exprs: &[Expr]| Stretch::projection(exprs, node.input.schema()).unwrap().apply_rows(&rows).unwrap();
            let groups = compute(&node.group_expr);
            let mut members: BTreeMap<String, Vec<usize>> = BTreeMap::new();
            for i in 0..rows.num_rows() {
                members.entry(key(groups.columns(), i)).or_default().push(i);
            }
            if node.group_expr.is_empty() {
                members.entry(key(&[], 0)).or_default();
            }
            let mut columns: Vec<ArrayRef> = (0..groups.num_columns())
                .map(|c| {
                    let firsts: Vec<u64> = members.values().map(|m| m[0] as u64).collect();
                    arrow::compute::take(groups.column(c), &UInt64Array::from(firsts), None).unwrap()
                })
                .collect();
            for expr in &node.aggr_expr {
                let call = aggregate_call(expr).unwrap();
                let argument = call.argument.map(|a| compute(std::slice::from_ref(a)).column(0).clone());
                let filter = call.filter.map(|f| compute(std::slice::from_ref(f)).column(0).clone());
                let values = members.values().map(|members| {
                    let mut members: Vec<usize> = members.clone();
                    if let Some(filter) = &filter {
                        members.retain(|i| {
                            ScalarValue::try_from_array(filter, *i).unwrap() == ScalarValue::Boolean(Some(true))
                        });
                    }
                    let Some(argument) = &argument else { return ScalarValue::Int64(Some(members.len() as i64)) };
                    let mut values: Vec<ScalarValue> = members
                        .iter()
                        .map(|i| ScalarValue::try_from_array(argument, *i).unwrap())
                        .filter(|v| !v.is_null())
                        .collect();
                    if call.distinct {
                        values.sort_by(|a, b| a.partial_cmp(b).unwrap());
                        values.dedup();
                    }
                    fold(call.kind, values, call.return_type)
                });
                columns.push(
                    ScalarValue::iter_to_array(values.collect::<Vec<_>>())
                        .unwrap_or_else(|_| arrow::array::new_empty_array(call.return_type)),
                );
            }
            batch(&stretch, columns)
        }
        other => panic!("a node that was not validated: {}", other.display()),
    };
    stretch.apply_rows(&rows).unwrap()
}

fn batch(stretch: &Stretch, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(stretch.input().clone(), columns).unwrap()
}

/// Equal keys have equal texts.
fn key(columns: &[ArrayRef], row: usize) -> String {
    columns.iter().map(|c| format!("{:?};", ScalarValue::try_from_array(c, row).unwrap())).collect()
}

fn fold(kind: AggregateKind, values: Vec<ScalarValue>, return_type: &DataType) -> ScalarValue {
    let null = ScalarValue::try_from(return_type).unwrap();
    let exact = |v: &ScalarValue| match v.cast_to(&DataType::Decimal128(38, 0)) {
        Ok(ScalarValue::Decimal128(Some(v), ..)) => v,
        _ => panic!("not an integer: {v:?}"),
    };
    let double = |v: &ScalarValue| match v.cast_to(&DataType::Float64).unwrap() {
        ScalarValue::Float64(Some(v)) => v,
        other => panic!("not a number: {other:?}"),
    };
    match kind {
        AggregateKind::Count => ScalarValue::Int64(Some(values.len() as i64)),
        _ if values.is_empty() => null,
        AggregateKind::Min => {
            values.into_iter().reduce(|a, b| if b.partial_cmp(&a).unwrap().is_lt() { b } else { a }).unwrap()
        }
        AggregateKind::Max => {
            values.into_iter().reduce(|a, b| if b.partial_cmp(&a).unwrap().is_gt() { b } else { a }).unwrap()
        }
        AggregateKind::Avg => ScalarValue::Float64(Some(values.iter().map(double).sum::<f64>() / values.len() as f64)),
        AggregateKind::Sum => match return_type {
            DataType::Decimal128(38, 0) => ScalarValue::Decimal128(Some(values.iter().map(exact).sum()), 38, 0),
            DataType::Decimal128(38, scale) => {
                let unscaled = values.iter().map(|v| match v {
                    ScalarValue::Decimal128(Some(v), ..) => *v,
                    other => panic!("not a decimal: {other:?}"),
                });
                ScalarValue::Decimal128(Some(unscaled.sum()), 38, *scale)
            }
            _ => ScalarValue::Float64(Some(values.iter().map(double).sum())),
        },
    }
}
