//! Common table expressions that nothing reads. They decide nothing, and the tables they read are not
//! those of the view: a program that records what its views read could not be planned again with them.

use std::ops::ControlFlow;

use crate::walk;
use datafusion_sql::sqlparser::ast::{Cte, Query, Visit};

/// Takes them out of a query.
pub(super) fn take_out(query: &mut Query) {
    let Some(mut with) = query.with.take() else { return };
    let mut kept: Vec<Cte> = Vec::new();
    // From the last: what only an unread one reads is unread, too.
    while let Some(cte) = with.cte_tables.pop() {
        let name = &cte.alias.name.value;
        let later = kept.iter().any(|later| reads(&later.query, name));
        let earlier = with.recursive && with.cte_tables.iter().any(|earlier| reads(&earlier.query, name));
        if later || earlier || reads(&*query, name) {
            kept.push(cte);
        }
    }
    if !kept.is_empty() {
        kept.reverse();
        with.cte_tables = kept;
        query.with = Some(with);
    }
}

/// Whether a name stands alone in a FROM. That it may be another's there only keeps more.
fn reads<V: Visit>(node: &V, name: &str) -> bool {
    let found = walk::relations(node, |relation| match crate::parse::parts(relation).as_slice() {
        [part] if part.eq_ignore_ascii_case(name) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}
