//! PIVOT and UNPIVOT in FROM, each written as the subquery that it stands for: PIVOT as aggregates with a filter for
//! each value, UNPIVOT as the columns side by side in VALUES.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, ExprWithAlias, GroupByExpr, Ident, NullInclusion, ObjectName,
    PivotValueSource, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Spanned, TableAlias,
    TableFactor, TableWithJoins, UnaryOperator, Value, WildcardAdditionalOptions, visit_expressions,
};
use datafusion_sql::sqlparser::tokenizer::Span;
use tidegate_core::schema::duckdb_type;

use super::expression::{self, refuse, string};
use super::query::located;
use super::unnest;
use crate::error::Refusal;
use crate::names::Names;

/// What the unpivoted columns are qualified by, which nothing else is.
const UNPIVOTED: &str = "#unpivoted";

/// The subquery that a PIVOT or UNPIVOT stands for; other tables of FROM are left alone.
pub(super) fn prepare(table: &mut TableFactor, span: Span, names: &Names) -> Result<(), Refusal> {
    let (query, alias) = match table {
        TableFactor::Unpivot { .. } => unpivot(table, names).map_err(|refusal| located(span, refusal))?,
        TableFactor::Pivot { .. } => pivot(table, names).map_err(|refusal| located(span, refusal))?,
        _ => return Ok(()),
    };
    *table = TableFactor::Derived { lateral: false, subquery: Box::new(query), alias, sample: None };
    Ok(())
}

/// A table or view, with an alias, and its columns as they are declared.
fn source(table: &mut TableFactor, names: &Names, what: &str) -> Result<(Ident, SchemaRef), Refusal> {
    let way_out = "make it a view of its own, and read that";
    let TableFactor::Table { name, alias, args: None, .. } = table else {
        return Err(refuse(&format!("{what} of anything but a table or a view"), way_out));
    };
    let parts = crate::parse::parts(name);
    if parts.len() == 1 && names.ctes.iter().any(|(cte, _)| cte.eq_ignore_ascii_case(&parts[0])) {
        return Err(refuse(&format!("{what} of a common table expression"), way_out));
    }
    let declared = names.resolve(&parts, name.span())?.declared.clone();
    let own = parts.into_iter().next_back().unwrap_or_default();
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::with_quote('"', own),
        columns: Vec::new(),
    });
    if !alias.columns.is_empty() {
        return Err(refuse(&format!("{what} of a table with names for its columns"), "use the names that it has"));
    }
    Ok((alias.name.clone(), declared))
}

/// The name of a column of the table, in lower case, and its place.
fn column(expr: &Expr, alias: &Ident, declared: &SchemaRef, what: &str) -> Result<usize, Refusal> {
    let name = match expr {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [table, name] if table.value.eq_ignore_ascii_case(&alias.value) => name,
            _ => return Err(refuse(&format!("{what} of {expr}"), "name a column of the table")),
        },
        _ => return Err(refuse(&format!("{what} of {expr}"), "name a column of the table")),
    };
    let fields = declared.fields();
    fields.iter().position(|field| field.name().eq_ignore_ascii_case(&name.value)).ok_or_else(|| {
        let known = fields.iter().map(|field| field.name().as_str());
        Refusal::new(format!("there is no column {}{}", name.value, crate::names::did_you_mean(&name.value, known)))
    })
}

/// A query to fill in.
fn template() -> Result<(Query, Box<Select>), Refusal> {
    let query = crate::parse::parse("SELECT * FROM t")?;
    match query.body.as_ref() {
        SetExpr::Select(select) => Ok((query.clone(), select.clone())),
        _ => Err(Refusal::new("a SELECT is none")),
    }
}

fn filled(mut query: Query, select: Box<Select>) -> Query {
    query.body = Box::new(SetExpr::Select(select));
    query
}

/// `SELECT t.* EXCLUDE (a, b), u.name, u.value FROM t, (VALUES ('a', a), ('b', b)) AS u(name, value)`, without the
/// NULLs unless they are included.
fn unpivot(table: &mut TableFactor, names: &Names) -> Result<(Query, Option<TableAlias>), Refusal> {
    let TableFactor::Unpivot { table, value, name, columns, null_inclusion, alias } = table else {
        return Err(refuse("such a table", "read it plainly"));
    };
    let Expr::Identifier(value) = value else {
        return Err(refuse("UNPIVOT into several columns", "write UNPIVOT (value FOR name IN (a, b))"));
    };
    if alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
        return Err(refuse("UNPIVOT under new names of columns", "name them in a select list"));
    }
    let (qualifier, declared) = source(table, names, "UNPIVOT")?;
    let (mut labels, mut values, mut gone) = (Vec::new(), Vec::new(), BTreeSet::new());
    for ExprWithAlias { expr, alias } in columns {
        let place = column(expr, &qualifier, &declared, "UNPIVOT")?;
        let own = declared.field(place).name();
        if !gone.insert(own.clone()) {
            return Err(Refusal::new(format!("{own} is unpivoted twice: name it once")));
        }
        labels.push(string(alias.as_ref().map_or(own, |alias| &alias.value).clone()));
        let mut value = Expr::CompoundIdentifier(vec![qualifier.clone(), Ident::with_quote('"', own)]);
        expression::prepare(&mut value, names)?;
        values.push(value);
    }
    let excluded = gone.iter().map(|name| Ident::with_quote('"', name)).collect();
    let options = WildcardAdditionalOptions {
        opt_exclude: Some(ExcludeSelectItem::Multiple(excluded)),
        ..WildcardAdditionalOptions::default()
    };
    let rest = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(vec![qualifier]));
    let own = |name: &Ident| Expr::CompoundIdentifier(vec![Ident::with_quote('"', UNPIVOTED), name.clone()]);
    let (query, mut select) = template()?;
    select.projection.clear();
    if gone.len() < declared.fields().len() {
        select.projection.push(SelectItem::QualifiedWildcard(rest, options));
    }
    select.projection.push(SelectItem::UnnamedExpr(own(name)));
    select.projection.push(SelectItem::UnnamedExpr(own(value)));
    let lists = unnest::rows(UNPIVOTED, vec![labels, values], vec![name.clone(), value.clone()]);
    let relations = [table.as_ref().clone(), lists];
    select.from = relations.map(|relation| TableWithJoins { relation, joins: Vec::new() }).to_vec();
    if !matches!(null_inclusion, Some(NullInclusion::IncludeNulls)) {
        select.selection = Some(Expr::IsNotNull(Box::new(own(value))));
    }
    Ok((filled(query, select), alias.take()))
}

/// `SELECT a, b, sum(x) FILTER (WHERE c = 'v') AS v … FROM t GROUP BY a, b`, by the columns that nothing else names.
fn pivot(table: &mut TableFactor, names: &Names) -> Result<(Query, Option<TableAlias>), Refusal> {
    let TableFactor::Pivot { table, aggregate_functions, value_column, value_source, default_on_null, alias } = table
    else {
        return Err(refuse("such a table", "read it plainly"));
    };
    let PivotValueSource::List(values) = value_source else {
        return Err(refuse("PIVOT without a list of values", "write the values: FOR column IN ('a', 'b')"));
    };
    let ([by], None) = (value_column.as_slice(), default_on_null) else {
        return Err(refuse("PIVOT by several columns or with DEFAULT", "write aggregates with FILTER"));
    };
    let (qualifier, declared) = source(table, names, "PIVOT")?;
    let place = column(by, &qualifier, &declared, "PIVOT")?;
    let mut used: BTreeSet<String> = BTreeSet::from([declared.field(place).name().to_ascii_lowercase()]);
    for call in aggregate_functions.iter() {
        let _ = visit_expressions(&call.expr, |expr| {
            let name = match expr {
                Expr::Identifier(name) => Some(name),
                Expr::CompoundIdentifier(parts) => parts.last(),
                _ => None,
            };
            used.extend(name.map(|name| name.value.to_ascii_lowercase()));
            ControlFlow::<()>::Continue(())
        });
    }
    let groups = declared.fields().iter().filter(|field| !used.contains(&field.name().to_ascii_lowercase()));
    let groups: Vec<Expr> = groups
        .map(|field| Expr::CompoundIdentifier(vec![qualifier.clone(), Ident::with_quote('"', field.name())]))
        .collect();
    let (query, mut select) = template()?;
    select.projection = groups.iter().cloned().map(SelectItem::UnnamedExpr).collect();
    let alone = aggregate_functions.len() == 1;
    for ExprWithAlias { expr: value, alias: name } in values {
        let text = written(value, declared.field(place))?;
        let name = name.as_ref().map_or(&text, |name| &name.value);
        for ExprWithAlias { expr: call, alias: suffix } in aggregate_functions.iter() {
            let name = match suffix {
                Some(suffix) => format!("{name}_{}", suffix.value),
                None if alone => name.clone(),
                None => {
                    return Err(refuse("PIVOT with several aggregates of which one has no name", "name it with AS"));
                }
            };
            let Expr::Function(mut function) = call.clone() else {
                return Err(refuse(&format!("PIVOT with {call}"), "write one aggregate, and compute outside"));
            };
            if function.filter.is_some() || function.over.is_some() {
                return Err(refuse(&format!("PIVOT with {call}"), "write aggregates with FILTER instead of PIVOT"));
            }
            function.filter = Some(Box::new(Expr::BinaryOp {
                left: Box::new(by.clone()),
                op: BinaryOperator::Eq,
                right: Box::new(value.clone()),
            }));
            let alias = Ident::with_quote('"', name);
            select.projection.push(SelectItem::ExprWithAlias { expr: Expr::Function(function), alias });
        }
    }
    select.group_by = GroupByExpr::Expressions(groups, Vec::new());
    select.from = vec![TableWithJoins { relation: table.as_ref().clone(), joins: Vec::new() }];
    Ok((filled(query, select), alias.take()))
}

/// The text of a value to pivot by, which is how DuckDB compares it: as a literal of the column's own type.
fn written(value: &Expr, column: &Field) -> Result<String, Refusal> {
    let is_text = *column.data_type() == DataType::Utf8 && duckdb_type(column).is_none_or(|name| name == "VARCHAR");
    let (sign, number) = match value {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => ("-", expr.as_ref()),
        other => ("", other),
    };
    let text = match number {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) if is_text && sign.is_empty() => Some(text.clone()),
            Value::Number(digits, _) if column.data_type().is_integer() => digits
                .parse::<u64>()
                .ok()
                .filter(|number| number.to_string() == *digits)
                .map(|_| format!("{sign}{digits}")),
            _ => None,
        },
        _ => None,
    };
    text.ok_or_else(|| {
        refuse(&format!("PIVOT for the value {value}"), "write texts for a VARCHAR, and whole numbers for an integer")
    })
}
