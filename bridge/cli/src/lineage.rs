//! Column lineage: from which columns of tables and views each column of a view is computed. Rows
//! that only choose (filters, join conditions, groups of another column) are not in it.

use std::collections::BTreeSet;
use std::fmt;

use datafusion_expr::{Expr, LogicalPlan};
use tidegate_engine_sql::{Input, Relation};

/// A column of a table or of another view, written `source.schema.table.column` or `view.column`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    pub input: Input,
    pub column: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.input, self.column)
    }
}

/// Columns of inputs.
pub type Origins = BTreeSet<Origin>;

/// The origins of each column of a plan.
pub fn lineage(plan: &LogicalPlan) -> Vec<Origins> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let Some(relation) = Relation::of(scan.source.as_ref()) else { return Vec::new() };
            let positions = scan.projection.clone().unwrap_or_else(|| (0..relation.declared.fields().len()).collect());
            let column = |position: usize| Origin {
                input: relation.input.clone(),
                column: relation.declared.field(position).name().clone(),
            };
            positions.into_iter().map(|position| Origins::from([column(position)])).collect()
        }
        LogicalPlan::Projection(node) => of_expressions(&node.expr, &node.input),
        LogicalPlan::Aggregate(node) => {
            let expressions: Vec<Expr> = node.group_expr.iter().chain(&node.aggr_expr).cloned().collect();
            of_expressions(&expressions, &node.input)
        }
        LogicalPlan::Join(node) => [lineage(&node.left), lineage(&node.right)].concat(),
        LogicalPlan::Union(node) => {
            let branches = node.inputs.iter().map(|input| lineage(input));
            let merge = |all: Vec<Origins>, branch: Vec<Origins>| {
                all.into_iter().zip(branch).map(|(one, other)| one.union(&other).cloned().collect()).collect()
            };
            branches.reduce(merge).unwrap_or_default()
        }
        // Filters, DISTINCT and aliases keep the columns of their input; a query without FROM has none.
        other => other.inputs().first().map_or_else(Vec::new, |input| lineage(input)),
    }
}

fn of_expressions(expressions: &[Expr], input: &LogicalPlan) -> Vec<Origins> {
    let origins = lineage(input);
    let schema = input.schema();
    let of = |expression: &Expr| {
        let positions = expression.column_refs().into_iter().filter_map(|column| schema.maybe_index_of_column(column));
        positions.filter_map(|position| origins.get(position)).flatten().cloned().collect()
    };
    expressions.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use tidegate_core::schema::columns;
    use tidegate_core::{RowIdentity, TableName, TableSchema, ViewName};
    use tidegate_duck::DuckBinder;
    use tidegate_engine::{Program, ViewDef};

    use super::{Origins, lineage};

    fn table(name: &str, of: &[(&str, &str, bool)]) -> TableSchema {
        TableSchema {
            name: TableName::new("lake", "main", name),
            incarnation: 1,
            columns: columns(of.iter().copied()).unwrap(),
            identity: RowIdentity::WholeRow,
            integral: tidegate_core::Integral::Source,
        }
    }

    fn origins(sql: &str) -> Vec<String> {
        let tables = vec![
            table("Orders", &[("Id", "INTEGER", true), ("customer", "INTEGER", true), ("amount", "INTEGER", true)]),
            table("customers", &[("id", "INTEGER", true), ("region", "VARCHAR", true)]),
        ];
        let view = ViewDef { name: ViewName::new("v"), sql: sql.to_owned(), key: None };
        let program = Program::plan(tables, vec![view], &DuckBinder).unwrap();
        let joined = |origins: Origins| origins.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        lineage(&program.views()[0].plan).into_iter().map(joined).collect()
    }

    #[test]
    fn columns_are_followed_through_joins_and_groups() {
        let found = origins(
            "SELECT c.region, count(*), sum(o.amount + o.id) FROM lake.orders o JOIN lake.customers c \
             ON c.id = o.customer WHERE o.customer > 0 GROUP BY c.region",
        );
        assert_eq!(found, ["lake.main.customers.region", "", "lake.main.Orders.Id lake.main.Orders.amount"]);
    }

    #[test]
    fn branches_of_a_union_are_merged() {
        let found = origins("SELECT id FROM lake.orders UNION ALL SELECT id + 1 FROM lake.customers");
        assert_eq!(found, ["lake.main.Orders.Id lake.main.customers.id"]);
    }
}
