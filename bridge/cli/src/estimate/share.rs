//! What share of the rows a condition keeps, by rules of thumb where nothing better is known.

use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{BinaryExpr, Expr, Operator};

/// Of an equality with a column of which nothing is known, and of patterns.
const EQUAL: f64 = 0.1;
/// Of any other condition.
const OTHER: f64 = 1.0 / 3.0;

/// The share of a condition; `distinct` knows how many different values a column has.
pub fn share(condition: &Expr, distinct: &dyn Fn(&Expr) -> Option<f64>) -> f64 {
    split_conjunction(condition).into_iter().map(|part| of_one(part, distinct)).product::<f64>().clamp(0.0, 1.0)
}

fn of_one(condition: &Expr, distinct: &dyn Fn(&Expr) -> Option<f64>) -> f64 {
    let equal = |one: &Expr, other: &Expr| {
        let values = [one, other].into_iter().filter_map(distinct).reduce(f64::max);
        values.map_or(EQUAL, |values| 1.0 / values.max(1.0))
    };
    match condition {
        Expr::Alias(alias) => of_one(&alias.expr, distinct),
        Expr::Literal(value, _) if value.to_string() == "true" => 1.0,
        Expr::Literal(..) => 0.0,
        Expr::Not(inner) => 1.0 - share(inner, distinct),
        Expr::IsNotNull(_) => 1.0 - EQUAL,
        Expr::IsNull(_) | Expr::Like(_) => EQUAL,
        Expr::InList(list) => {
            let kept = list.list.iter().map(|value| equal(&list.expr, value)).sum::<f64>().min(1.0);
            if list.negated { 1.0 - kept } else { kept }
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::Eq | Operator::IsNotDistinctFrom => equal(left, right),
            Operator::NotEq | Operator::IsDistinctFrom => 1.0 - equal(left, right),
            Operator::Or => {
                let (one, other) = (share(left, distinct), share(right, distinct));
                one + other - one * other
            }
            _ => OTHER,
        },
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use datafusion_expr::{col, lit};

    use super::*;

    #[test]
    fn conditions_keep_shares() {
        let known = |expr: &Expr| (*expr == col("status")).then_some(4.0);
        let of = |condition: Expr| share(&condition, &known);
        assert_eq!(of(col("status").eq(lit("paid"))), 0.25);
        assert_eq!(of(col("status").not_eq(lit("paid"))), 0.75);
        assert_eq!(of(col("other").eq(lit(1))), EQUAL);
        assert_eq!(of(col("other").gt(lit(1)).and(col("status").eq(lit("paid")))), OTHER * 0.25);
        assert_eq!(of(col("status").eq(lit("paid")).or(col("status").eq(lit("sent")))), 0.4375);
        assert_eq!(of(col("status").in_list(vec![lit("paid"), lit("sent")], false)), 0.5);
        assert_eq!(of(lit(true)), 1.0);
    }
}
