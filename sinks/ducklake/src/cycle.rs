//! Views that would feed themselves: a lake may be source and target of one pipeline, but what a view
//! writes there must not come back to it.

use tidegate_core::ViewName;
use tidegate_duck::lake::LakeIdentity;

use crate::epochs::EPOCHS;

/// A table of a lake.
#[derive(Debug, Clone)]
pub struct LakeTable {
    /// Which lake.
    pub lake: LakeIdentity,
    /// The table's schema.
    pub schema: String,
    /// Its name.
    pub table: String,
}

/// What a view of a pipeline reads, and where it is written.
#[derive(Debug, Clone)]
pub struct ViewLinks {
    /// The view.
    pub view: ViewName,
    /// The views that it reads by their own names.
    pub views: Vec<ViewName>,
    /// The tables of lakes that it reads.
    pub reads: Vec<LakeTable>,
    /// Its tables in lakes, one a sink.
    pub writes: Vec<LakeTable>,
}

impl LakeTable {
    fn is_in_schema_of(&self, other: &LakeTable) -> bool {
        self.lake == other.lake && self.schema.eq_ignore_ascii_case(&other.schema)
    }

    fn is(&self, other: &LakeTable) -> bool {
        self.is_in_schema_of(other) && self.table.eq_ignore_ascii_case(&other.table)
    }
}

/// The first view, of those in their order, that feeds itself: it and the views on the way back to it, each
/// of which reads what the next one writes. A view that reads the table of epochs in a schema that the
/// pipeline writes feeds itself alone, whatever it says: every commit changes that table.
pub fn view_that_feeds_itself(links: &[ViewLinks]) -> Option<Vec<ViewName>> {
    links.iter().enumerate().find_map(|(start, view)| {
        let epochs = |read: &LakeTable| {
            read.table.eq_ignore_ascii_case(EPOCHS)
                && links.iter().flat_map(|other| &other.writes).any(|written| written.is_in_schema_of(read))
        };
        if view.reads.iter().any(epochs) {
            return Some(vec![view.view.clone()]);
        }
        way_back(links, start).map(|way| way.into_iter().map(|index| links[index].view.clone()).collect())
    })
}

/// The views from `start` on, each reading the next, of which the last reads `start`.
fn way_back(links: &[ViewLinks], start: usize) -> Option<Vec<usize>> {
    let mut came_from: Vec<Option<usize>> = vec![None; links.len()];
    let mut pending = vec![start];
    while let Some(index) = pending.pop() {
        for next in (0..links.len()).filter(|next| reads(&links[index], &links[*next])) {
            if next == start {
                let mut way = vec![index];
                while let Some(previous) = came_from[way[way.len() - 1]] {
                    way.push(previous);
                }
                way.reverse();
                return Some(way);
            }
            if came_from[next].is_none() {
                came_from[next] = Some(index);
                pending.push(next);
            }
        }
    }
    None
}

fn reads(view: &ViewLinks, other: &ViewLinks) -> bool {
    let by_name = view.views.iter().any(|name| name.as_str().eq_ignore_ascii_case(other.view.as_str()));
    by_name || view.reads.iter().any(|read| other.writes.iter().any(|written| written.is(read)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tidegate_duck::lake::LakeCatalog;

    use super::*;

    fn table(lake: &str, name: &str) -> LakeTable {
        let lake = LakeCatalog::parse(&format!("ducklake:/{lake}"), Path::new("/")).unwrap().identity(None);
        LakeTable { lake, schema: "main".to_owned(), table: name.to_owned() }
    }

    /// A view that is written to lake `a`.
    fn view(name: &str, views: &[&str], reads: &[LakeTable]) -> ViewLinks {
        ViewLinks {
            view: ViewName::new(name),
            views: views.iter().map(|name| ViewName::new(*name)).collect(),
            reads: reads.to_vec(),
            writes: vec![table("a", name)],
        }
    }

    fn found(links: &[ViewLinks]) -> Option<Vec<String>> {
        view_that_feeds_itself(links).map(|way| way.iter().map(|view| view.as_str().to_owned()).collect())
    }

    #[test]
    fn a_view_may_read_what_another_one_writes() {
        let links = [
            view("first", &[], &[table("a", "orders")]),
            view("second", &["first"], &[table("a", "First"), table("b", "second")]),
            view("third", &["second", "first"], &[]),
        ];
        assert_eq!(found(&links), None);
    }

    #[test]
    fn what_comes_back_is_found_with_its_way() {
        assert_eq!(found(&[view("v", &[], &[table("a", "V")])]).unwrap(), ["v"]);
        let links = [
            view("outside", &["one"], &[]),
            view("one", &["two"], &[]),
            view("two", &[], &[table("a", "three"), table("a", "orders")]),
            view("three", &[], &[table("a", "one")]),
        ];
        assert_eq!(found(&links).unwrap(), ["one", "two", "three"]);
    }

    #[test]
    fn the_table_of_epochs_changes_with_every_commit() {
        let mut reader = view("reader", &[], &[table("a", "_tidegate_Epochs")]);
        reader.writes.clear();
        assert_eq!(found(&[view("v", &[], &[]), reader.clone()]).unwrap(), ["reader"]);
        assert_eq!(found(&[reader]), None, "nobody of this pipeline writes there");
    }
}
