//! PIVOT and UNPIVOT in FROM, each written as the subquery that it stands for: PIVOT as aggregates with a filter for
//! each value, UNPIVOT as the columns side by side in VALUES.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType as SqlType, ExcludeSelectItem, Expr, ExprWithAlias, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, NullInclusion, ObjectName, PivotValueSource, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, TableWithJoins, UnaryOperator,
    Value, WildcardAdditionalOptions,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::expression::{self, refuse, string};
use super::query::located;
use super::sight::Columns;
use super::unnest;
use crate::error::Refusal;
use crate::names::Names;
use crate::pivot_word::GROUPS;
use crate::walk;

/// What the unpivoted columns are qualified by, which nothing else is.
const UNPIVOTED: &str = "#unpivoted";

/// What a subquery without an alias is called.
const SUBQUERY: &str = "#pivoted";

/// The subquery that a PIVOT or UNPIVOT of a table with these columns stands for; other tables of FROM are left alone.
pub(super) fn prepare(table: &mut TableFactor, columns: Columns, span: Span, names: &Names) -> Result<(), Refusal> {
    let (query, alias) = match table {
        TableFactor::Unpivot { .. } => unpivot(table, columns, names).map_err(|refusal| located(span, refusal))?,
        TableFactor::Pivot { .. } => pivot(table, columns).map_err(|refusal| located(span, refusal))?,
        _ => return Ok(()),
    };
    *table = TableFactor::Derived { lateral: false, subquery: Box::new(query), alias, sample: None };
    Ok(())
}

/// What the columns are of: its alias, which is given to it if it has none, and their names.
struct Source {
    alias: Ident,
    columns: Vec<(String, Option<DataType>)>,
}

impl Source {
    fn of(table: &mut TableFactor, columns: Columns, what: &str) -> Result<Source, Refusal> {
        let way_out = "make it a view of its own, and read that";
        let (own, alias) = match table {
            TableFactor::Table { name, alias, args: None, .. } => (crate::parse::parts(name).pop(), alias),
            TableFactor::Derived { alias, .. } => (None, alias),
            _ => return Err(refuse(&format!("{what} of anything but a table, a view or a subquery"), way_out)),
        };
        let alias = alias.get_or_insert_with(|| TableAlias {
            explicit: true,
            name: Ident::with_quote('"', own.unwrap_or_else(|| SUBQUERY.to_owned())),
            columns: Vec::new(),
        });
        let columns = columns
            .ok_or_else(|| refuse(&format!("{what} of a query whose columns are not known here"), way_out))?
            .into_iter()
            .map(|column| column.shown.map(|name| (name, column.data_type)))
            .collect::<Option<_>>()
            .ok_or_else(|| Refusal::new(format!("{what} needs a name for every column: give each one with AS")))?;
        Ok(Source { alias: alias.name.clone(), columns })
    }

    /// The place of a column that is named.
    fn place(&self, expr: &Expr, what: &str) -> Result<usize, Refusal> {
        let name = match expr {
            Expr::Identifier(name) => name,
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, name] if table.value.eq_ignore_ascii_case(&self.alias.value) => name,
                _ => return Err(refuse(&format!("{what} of {expr}"), "name a column of the table")),
            },
            _ => return Err(refuse(&format!("{what} of {expr}"), "name a column of the table")),
        };
        let place = self.columns.iter().position(|(column, _)| column.eq_ignore_ascii_case(&name.value));
        place.ok_or_else(|| {
            let known = self.columns.iter().map(|(column, _)| column.as_str());
            Refusal::new(format!("there is no column {}{}", name.value, crate::names::did_you_mean(&name.value, known)))
        })
    }

    fn column(&self, name: &str) -> Expr {
        Expr::CompoundIdentifier(vec![self.alias.clone(), Ident::with_quote('"', name)])
    }
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
fn unpivot(table: &mut TableFactor, columns: Columns, names: &Names) -> Result<(Query, Option<TableAlias>), Refusal> {
    let TableFactor::Unpivot { table, value, name, columns: unpivoted, null_inclusion, alias } = table else {
        return Err(refuse("such a table", "read it plainly"));
    };
    let Expr::Identifier(value) = value else {
        return Err(refuse("UNPIVOT into several columns", "write UNPIVOT (value FOR name IN (a, b))"));
    };
    if alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
        return Err(refuse("UNPIVOT under new names of columns", "name them in a select list"));
    }
    let source = Source::of(table, columns, "UNPIVOT")?;
    let (mut labels, mut values, mut gone) = (Vec::new(), Vec::new(), BTreeSet::new());
    for ExprWithAlias { expr, alias } in unpivoted {
        let (own, _) = &source.columns[source.place(expr, "UNPIVOT")?];
        if !gone.insert(own.clone()) {
            return Err(Refusal::new(format!("{own} is unpivoted twice: name it once")));
        }
        labels.push(string(alias.as_ref().map_or(own, |alias| &alias.value).clone()));
        let mut value = source.column(own);
        expression::prepare(&mut value, names)?;
        values.push(value);
    }
    let excluded = gone.iter().map(|name| Ident::with_quote('"', name)).collect();
    let options = WildcardAdditionalOptions {
        opt_exclude: Some(ExcludeSelectItem::Multiple(excluded)),
        ..WildcardAdditionalOptions::default()
    };
    let rest = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(vec![source.alias.clone()]));
    let own = |name: &Ident| Expr::CompoundIdentifier(vec![Ident::with_quote('"', UNPIVOTED), name.clone()]);
    let (query, mut select) = template()?;
    select.projection.clear();
    if gone.len() < source.columns.len() {
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
fn pivot(table: &mut TableFactor, columns: Columns) -> Result<(Query, Option<TableAlias>), Refusal> {
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
    let source = Source::of(table, columns, "PIVOT")?;
    let (by_name, by_type) = &source.columns[source.place(by, "PIVOT")?];
    let is_whole = by_type.as_ref().is_some_and(DataType::is_integer);
    let mut used: BTreeSet<String> = BTreeSet::from([by_name.to_ascii_lowercase()]);
    for call in aggregate_functions.iter() {
        let _ = walk::expressions(&call.expr, |expr| {
            let name = match expr {
                Expr::Identifier(name) => Some(name),
                Expr::CompoundIdentifier(parts) => parts.last(),
                _ => None,
            };
            used.extend(name.map(|name| name.value.to_ascii_lowercase()));
            ControlFlow::<()>::Continue(())
        });
    }
    let groups = source.columns.iter().filter(|(name, _)| !used.contains(&name.to_ascii_lowercase()));
    let groups: Vec<Expr> = groups.map(|(name, _)| source.column(name)).collect();
    let (written_groups, calls): (Vec<_>, Vec<_>) =
        aggregate_functions.iter().partition(|call| group_columns(&call.expr).is_some());
    let groups = written_groups.first().and_then(|call| group_columns(&call.expr)).unwrap_or(groups);
    let (query, mut select) = template()?;
    select.projection = groups.iter().cloned().map(SelectItem::UnnamedExpr).collect();
    let alone = calls.len() == 1;
    for ExprWithAlias { expr: value, alias: name } in values {
        let (text, is_number) = written(value)?;
        let name = name.as_ref().map_or(&text, |name| &name.value);
        for ExprWithAlias { expr: call, alias: suffix } in &calls {
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
            // DuckDB compares the texts.
            let (left, right) = if is_whole && is_number {
                (by.clone(), value.clone())
            } else {
                (cast(by.clone()), Expr::Value(Value::SingleQuotedString(text.clone()).with_empty_span()))
            };
            let (left, right) = (Box::new(left), Box::new(right));
            function.filter = Some(Box::new(Expr::BinaryOp { left, op: BinaryOperator::Eq, right }));
            let alias = Ident::with_quote('"', name);
            select.projection.push(SelectItem::ExprWithAlias { expr: Expr::Function(function), alias });
        }
    }
    select.group_by = GroupByExpr::Expressions(groups, Vec::new());
    select.from = vec![TableWithJoins { relation: table.as_ref().clone(), joins: Vec::new() }];
    Ok((filled(query, select), alias.take()))
}

/// The columns of GROUP BY, which stand before the aggregates as one that nobody can write.
fn group_columns(call: &Expr) -> Option<Vec<Expr>> {
    let Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) = call else { return None };
    let column = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    let is_by = crate::parse::parts(name).as_slice() == [GROUPS];
    is_by.then(|| list.args.iter().filter_map(column).collect())
}

/// The text of a value to pivot by, and whether it is a whole number.
fn written(value: &Expr) -> Result<(String, bool), Refusal> {
    let (sign, literal) = match value {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => ("-", expr.as_ref()),
        other => ("", other),
    };
    let text = match literal {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) if sign.is_empty() => Some((text.clone(), false)),
            Value::Boolean(so) if sign.is_empty() => Some((so.to_string(), false)),
            Value::Number(digits, _) if digits.parse::<u64>().is_ok_and(|number| number.to_string() == *digits) => {
                Some((format!("{sign}{digits}"), true))
            }
            _ => None,
        },
        _ => None,
    };
    text.ok_or_else(|| refuse(&format!("PIVOT for the value {value}"), "write texts, true or false, or whole numbers"))
}

fn cast(expr: Expr) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type: SqlType::Varchar(None),
        format: None,
        array: false,
    }
}
