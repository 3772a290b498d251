//! The syntax a view may have. A walk over the parsed query refuses, with its place, whatever
//! cannot be maintained, and rewrites the rest into the small language the planner below us
//! shares with DuckDB: columns, literals, AND, OR, NOT, CASE and calls of functions. Everything
//! whose types or meaning the two read differently (operators, casts, BETWEEN, LIKE, EXTRACT,
//! INTERVAL …) becomes a call named `#…`, which [`semantics`](crate::semantics) binds as DuckDB
//! would. All names become lower case.

mod aggregate_call;
mod asof;
mod clock;
mod expression;
mod grouping;
mod join;
mod limit;
mod literal;
mod one_row;
mod pivot;
mod precedence;
mod query;
mod recursion;
mod scope;
mod type_name;
mod unnest;
mod unread;
mod window;

pub(crate) use query::prepare;
