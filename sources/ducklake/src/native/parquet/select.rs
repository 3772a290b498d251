//! Which rows of which row groups are read.

use std::borrow::Cow;
use std::ops::Range;

use parquet::arrow::arrow_reader::RowSelection;

use super::file::Group;
use super::{DataFile, FileError, Wanted};

/// A row group of which something may be wanted.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) group: Group,
    pub(super) rows: Rows,
}

/// Rows of a row group, counted from its first.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rows {
    All,
    /// Ascending.
    Some(Vec<usize>),
}

impl Rows {
    /// How many of a group's rows.
    pub(super) fn count(&self, group: &Group) -> usize {
        match self {
            Rows::All => group.rows,
            Rows::Some(rows) => rows.len(),
        }
    }

    /// Their positions in the file.
    pub(super) fn positions(&self, group: &Group) -> Vec<u64> {
        match self {
            Rows::All => (group.first..).take(group.rows).collect(),
            Rows::Some(rows) => rows.iter().map(|row| group.first + *row as u64).collect(),
        }
    }

    /// What the decoder skips; `None` where it skips nothing.
    pub(super) fn selection(&self, group: &Group) -> Option<RowSelection> {
        let Rows::Some(rows) = self else { return None };
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for row in rows {
            match ranges.last_mut() {
                Some(range) if range.end == *row => range.end += 1,
                _ => ranges.push(*row..row + 1),
            }
        }
        Some(RowSelection::from_consecutive_ranges(ranges.into_iter(), group.rows))
    }
}

/// The row groups that may hold wanted rows. Which rows have a wanted snapshot is known when their snapshots are read.
pub(super) fn choose(file: &DataFile, wanted: &Wanted) -> Result<Vec<Chosen>, FileError> {
    let groups = file.groups().iter().filter(|group| group.rows > 0);
    Ok(match wanted {
        Wanted::All => groups.map(|group| Chosen { group: *group, rows: Rows::All }).collect(),
        Wanted::Snapshots { after, to } => {
            if !file.has_snapshot_ids() {
                return Err(file.contradiction("its rows have no snapshots of their own, which the catalog presumes"));
            }
            let overlaps = |group: &&Group| group.snapshots.is_none_or(|(min, max)| max > *after && min <= *to);
            groups.filter(overlaps).map(|group| Chosen { group: *group, rows: Rows::All }).collect()
        }
        Wanted::Positions(positions) => {
            let positions = ascending(positions);
            if let Some(last) = positions.last().filter(|last| **last >= file.rows()) {
                return Err(file.contradiction(format!("it has {} rows, and row {last} is asked for", file.rows())));
            }
            let rows = |group: &Group| {
                let end = group.first + group.rows as u64;
                let from = positions.partition_point(|position| *position < group.first);
                let within = positions.iter().skip(from).take_while(|position| **position < end);
                within.map(|position| (position - group.first) as usize).collect::<Vec<_>>()
            };
            let chosen = groups.map(|group| Chosen { group: *group, rows: Rows::Some(rows(group)) });
            chosen.filter(|chosen| chosen.rows.count(&chosen.group) > 0).collect()
        }
    })
}

/// Each position once, in order.
fn ascending(positions: &[u64]) -> Cow<'_, [u64]> {
    if positions.is_sorted_by(|one, next| one < next) {
        return Cow::Borrowed(positions);
    }
    let mut positions = positions.to_vec();
    positions.sort_unstable();
    positions.dedup();
    Cow::Owned(positions)
}
