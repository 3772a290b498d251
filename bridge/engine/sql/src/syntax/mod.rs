//! The syntax a view may have. A walk over the parsed query refuses, with its place, whatever
//! cannot be maintained, and rewrites the rest into the small language the planner below us
//! shares with DuckDB: columns, literals, AND, OR, NOT, CASE and calls of functions. Everything
//! whose types or meaning the two read differently (operators, casts, BETWEEN, LIKE, EXTRACT,
//! INTERVAL …) becomes a call named `#…`, which [`semantics`](crate::semantics) binds as DuckDB
//! would. All names become lower case.

mod aggregate_call;
mod asof;
mod by_name;
mod clock;
mod columns;
mod derived;
mod expression;
mod grouping;
mod join;
mod json_arrow;
mod lambda;
mod limit;
mod literal;
mod one_row;
mod pivot;
mod precedence;
mod quantified;
mod query;
mod recursion;
mod reference;
mod rows;
mod scope;
mod sight;
mod spread;
mod star;
mod type_name;
mod unnest;
mod unread;
mod window;
mod written;

pub(crate) use limit::take_order;
pub(crate) use query::prepare;
