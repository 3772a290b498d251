//! What all branches of an OR say: `(a AND b) OR (a AND c)` is `a AND (b OR c)`, with NULLs too.

use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{BinaryExpr, Expr, Operator};

/// A condition as several with AND between them, so that an equality in each branch of an OR makes the key of a join.
pub(super) fn parted(condition: Expr) -> Vec<Expr> {
    let branches: Vec<Vec<Expr>> = branches(&condition).into_iter().map(split_conjunction_owned).collect();
    let Some((first, others)) = branches.split_first().filter(|(_, others)| !others.is_empty()) else {
        return vec![condition];
    };
    let mut common: Vec<Expr> = Vec::new();
    for part in first {
        if others.iter().all(|branch| branch.contains(part)) && !common.contains(part) {
            common.push(part.clone());
        }
    }
    if common.is_empty() {
        return vec![condition];
    }
    let rest = |branch: &Vec<Expr>| {
        let rest = branch.iter().filter(|part| !common.contains(part)).cloned();
        rest.reduce(Expr::and)
    };
    // A branch that says nothing else makes the OR true where the common part is.
    let rests: Option<Vec<Expr>> = branches.iter().map(rest).collect();
    common.extend(rests.and_then(|rests| rests.into_iter().reduce(Expr::or)));
    common
}

fn branches(condition: &Expr) -> Vec<Expr> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            branches(left).into_iter().chain(branches(right)).collect()
        }
        other => vec![other.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field};
    use datafusion_common::Column;
    use datafusion_expr::{col, lit};
    use std::sync::Arc;

    fn outer() -> Expr {
        let field = Arc::new(Field::new("x", DataType::Int64, true));
        Expr::OuterReferenceColumn(field, Column::new_unqualified("x"))
    }

    #[test]
    fn the_common_part_of_an_or_stands_alone() {
        let same = col("a").eq(outer());
        let (b, c) = (col("b").eq(lit(1)), col("c").eq(lit(2)));
        let either = same.clone().and(b.clone()).or(c.clone().and(same.clone()));
        assert_eq!(parted(either), [same.clone(), b.clone().or(c.clone())]);
        assert_eq!(parted(same.clone().and(b.clone()).or(same.clone())), std::slice::from_ref(&same));
        let apart = same.or(b.clone());
        assert_eq!(parted(apart.clone()), [apart]);
        let absorbed = b.clone().and(c).or(b.clone());
        assert_eq!(parted(absorbed), [b]);
    }
}
