//! ROLLUP, CUBE and GROUPING SETS, each written as the sets that it stands for.

use datafusion_sql::sqlparser::ast::{Expr, Value};

use super::expression::{prepare, refuse};
use crate::error::Refusal;
use crate::names::Names;

/// The most expressions of a CUBE, which has 2 to that power sets.
const CUBE_MAX: usize = 6;

/// Rewrites an expression of GROUP BY in place.
pub(super) fn prepare_group(expr: &mut Expr, names: &Names) -> Result<(), Refusal> {
    let lists = match expr {
        Expr::Rollup(lists) | Expr::Cube(lists) | Expr::GroupingSets(lists) => lists,
        _ => return prepare(expr, names),
    };
    for part in lists.iter_mut().flatten() {
        if matches!(part, Expr::Value(value) if matches!(value.value, Value::Number(..))) {
            return Err(refuse(&format!("the position {part} in a grouping set"), "name the column"));
        }
        prepare(part, names)?;
    }
    let lists = std::mem::take(lists);
    let joined = |chosen: &dyn Fn(usize) -> bool| -> Vec<Expr> {
        let lists = lists.iter().enumerate().filter(|(index, _)| chosen(*index));
        lists.flat_map(|(_, list)| list.iter().cloned()).collect()
    };
    let sets: Vec<Vec<Expr>> = match expr {
        Expr::Rollup(_) => (0..=lists.len()).rev().map(|length| joined(&|index| index < length)).collect(),
        Expr::Cube(_) if lists.len() > CUBE_MAX => {
            return Err(refuse(&format!("CUBE of more than {CUBE_MAX} expressions"), "write the sets that you need"));
        }
        Expr::Cube(_) => (0..1usize << lists.len()).map(|mask| joined(&|index| mask >> index & 1 == 0)).collect(),
        _ => lists,
    };
    *expr = Expr::GroupingSets(sets);
    Ok(())
}
