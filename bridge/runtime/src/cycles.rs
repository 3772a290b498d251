//! Views that read what a sink writes of them: through a lake or a database that is source and target at once, a
//! view can come to depend on itself, and would feed itself for ever.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::{TableName, ViewName};

/// Tables of a source that a sink of the same pipeline writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBack {
    /// The sink.
    pub sink: String,
    /// The views it takes; `None`: all.
    pub views: Option<Vec<ViewName>>,
    /// The source that shows them, as tables of the same names.
    pub source: String,
    /// The schema in which it does.
    pub schema: String,
}

/// The table in which targets keep what they hold.
const EPOCHS: &str = "_tidegate_epochs";

impl ReadBack {
    /// Whether this is the sink's table of that name.
    fn has(&self, table: &TableName, name: &str) -> bool {
        let same = str::eq_ignore_ascii_case;
        table.source == self.source && same(&table.schema, &self.schema) && same(&table.table, name)
    }

    /// Whether a table of a source is what the sink makes of a view.
    fn shows(&self, table: &TableName, view: &ViewName) -> bool {
        self.has(table, view.as_str()) && self.views.as_ref().is_none_or(|views| views.contains(view))
    }
}

/// What a view reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reads {
    pub views: Vec<ViewName>,
    pub tables: Vec<TableName>,
}

/// The views that depend on themselves through a target, each with the fault. Views that read each other by name
/// alone are the planner's.
pub(crate) fn cycles(reads: &BTreeMap<ViewName, Reads>, read_backs: &[ReadBack]) -> Vec<(ViewName, String)> {
    let mut faults = Vec::new();
    for (view, of_view) in reads {
        for (table, back) in of_view.tables.iter().flat_map(|table| read_backs.iter().map(move |back| (table, back))) {
            let written = reads.keys().find(|written| back.shows(table, written));
            let what = match written.filter(|written| depends(reads, read_backs, written, view)) {
                Some(written) if written == view => "makes of this view".to_owned(),
                Some(written) => format!("makes of view {written}, which needs this one"),
                None if back.has(table, EPOCHS) => "writes at every commit".to_owned(),
                None => continue,
            };
            let fault = format!(
                "view {view}: it reads {table}, which sink {} {what}, so that it feeds itself for ever; read another \
                 table, or let the sink write elsewhere",
                back.sink
            );
            faults.push((view.clone(), fault));
        }
    }
    faults
}

/// Whether `view` is `on`, or reads it in any way.
fn depends(reads: &BTreeMap<ViewName, Reads>, read_backs: &[ReadBack], view: &ViewName, on: &ViewName) -> bool {
    let mut open = vec![view];
    let mut seen = BTreeSet::new();
    while let Some(view) = open.pop() {
        if view == on {
            return true;
        }
        let Some(of_view) = reads.get(view).filter(|_| seen.insert(view)) else { continue };
        open.extend(&of_view.views);
        for table in &of_view.tables {
            open.extend(reads.keys().filter(|written| read_backs.iter().any(|back| back.shows(table, written))));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(views: &[(&str, &[&str], &[&str])]) -> BTreeMap<ViewName, Reads> {
        let table = |name: &&str| TableName::new("lake", "main", *name);
        let of_view = |(name, views, tables): &(&str, &[&str], &[&str])| {
            let views = views.iter().map(|view| ViewName::new(*view)).collect();
            (ViewName::new(*name), Reads { views, tables: tables.iter().map(table).collect() })
        };
        views.iter().map(of_view).collect()
    }

    fn found(views: &[(&str, &[&str], &[&str])], taken: Option<&[&str]>) -> Vec<String> {
        let taken = taken.map(|views| views.iter().map(|view| ViewName::new(*view)).collect());
        let back =
            ReadBack { sink: "out".to_owned(), views: taken, source: "lake".to_owned(), schema: "MAIN".to_owned() };
        cycles(&reads(views), &[back]).into_iter().map(|(view, _)| view.0).collect()
    }

    #[test]
    fn a_view_must_not_need_what_is_made_of_it() {
        assert_eq!(found(&[("a", &[], &["A"])], None), ["a"]);
        assert_eq!(found(&[("a", &[], &["t", "c"]), ("b", &["a"], &[]), ("c", &["b"], &[])], None), ["a"]);
        assert_eq!(found(&[("a", &[], &["b"]), ("b", &[], &["a"])], None), ["a", "b"]);
        assert_eq!(found(&[("e", &[], &["_tidegate_epochs"])], None), ["e"]);
    }

    #[test]
    fn reading_back_what_needs_nothing_of_it_is_no_cycle() {
        assert!(found(&[("a", &[], &["t"]), ("b", &[], &["a"])], None).is_empty());
        assert!(found(&[("a", &[], &["b"]), ("b", &[], &["a"])], Some(&["b"])).is_empty(), "a is not written there");
        assert!(cycles(&reads(&[("a", &[], &["a"])]), &[]).is_empty());
    }

    #[test]
    fn the_fault_names_view_table_and_sink() {
        let back = ReadBack { sink: "out".into(), views: None, source: "lake".into(), schema: "main".into() };
        let faults = cycles(&reads(&[("a", &[], &["a"])]), &[back]);
        assert!(
            faults[0].1.starts_with("view a: it reads lake.main.a, which sink out makes of this view, so"),
            "{faults:?}"
        );
    }
}
