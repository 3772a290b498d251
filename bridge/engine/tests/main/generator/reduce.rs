//! Makes a failing case smaller while it still fails.

use std::collections::BTreeSet;

use tidegate_engine::Shortcuts;

use super::case::{Case, Setting};
use super::changes::{After, Change};
use super::schema::{Row, Telling};

/// The smallest case that was found to fail, after at most so many attempts.
pub fn reduce(case: Case, attempts_max: usize, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let mut smallest = case;
    let mut attempts = 0;
    // Each round goes through all ways to make a case smaller, and goes on with those that were taken.
    loop {
        let helped = round(&mut smallest, &mut attempts, attempts_max, &mut fails);
        if !helped || attempts >= attempts_max {
            return smallest;
        }
    }
}

/// One round; answers whether anything helped.
fn round(
    smallest: &mut Case,
    attempts: &mut usize,
    attempts_max: usize,
    fails: &mut impl FnMut(&Case) -> bool,
) -> bool {
    let mut helped = false;
    for ways in [without_views, simpler_setting, without_epochs, smaller_sql, without_rows, without_columns] {
        // What is behind a step that helped is tried next; what was before it comes again in the next round.
        let mut place = 0;
        loop {
            let candidates = ways(smallest);
            let Some(candidate) = candidates.into_iter().nth(place) else { break };
            if *attempts >= attempts_max {
                return helped;
            }
            *attempts += 1;
            if fails(&candidate) {
                *smallest = candidate;
                helped = true;
            } else {
                place += 1;
            }
        }
    }
    helped
}

fn without_views(case: &Case) -> Vec<Case> {
    let count = case.views.len();
    if count < 2 {
        return Vec::new();
    }
    let without = |left_out: usize| {
        let mut smaller = case.clone();
        smaller.views.remove(left_out);
        smaller
    };
    (0..count).rev().map(without).collect()
}

/// One worker, nothing between the epochs, tables without keys, only tables that are read.
fn simpler_setting(case: &Case) -> Vec<Case> {
    let mut found = Vec::new();
    let mut add = |change: &dyn Fn(&mut Case)| {
        let mut smaller = case.clone();
        change(&mut smaller);
        found.push(smaller);
    };
    if case.epochs.iter().any(|epoch| epoch.after != After::Nothing) {
        add(&|case| case.epochs.iter_mut().for_each(|epoch| epoch.after = After::Nothing));
        for number in (0..case.epochs.len()).filter(|number| case.epochs[*number].after != After::Nothing) {
            add(&|case| case.epochs[number].after = After::Nothing);
        }
    }
    if case.workers > 1 {
        add(&|case| case.workers = 1);
    }
    if case.setting != Setting::default() {
        add(&|case| case.setting = Setting::default());
        add(&|case| case.setting.shortcuts = Shortcuts::default());
        add(&|case| case.setting.part_rows = None);
        add(&|case| case.setting.on_disk = false);
    }
    for position in 0..case.tables.len() {
        let truncated = case
            .epochs
            .iter()
            .flat_map(|epoch| &epoch.changes)
            .any(|(of, c)| *of == position && *c == Change::Truncate);
        if case.tables[position].telling != Telling::Lake && !truncated {
            add(&|case| case.tables[position].telling = Telling::Lake);
        }
        let name = format!("lake.{}", case.tables[position].name);
        if !case.views.iter().any(|(_, sql)| sql.text().contains(&name)) {
            add(&|case| {
                case.tables.remove(position);
                for epoch in &mut case.epochs {
                    epoch.changes.retain(|(of, _)| *of != position);
                    epoch.changes.iter_mut().filter(|(of, _)| *of > position).for_each(|(of, _)| *of -= 1);
                }
            });
        }
    }
    found
}

fn without_epochs(case: &Case) -> Vec<Case> {
    let mut found = Vec::new();
    let count = case.epochs.len();
    if count > 1 {
        // The failure may come before the end, or all rows at once make it.
        for kept in [count / 2, count - 1] {
            let mut smaller = case.clone();
            smaller.epochs.truncate(kept.max(1));
            found.push(smaller);
        }
        for number in 1..count {
            let mut smaller = case.clone();
            let changes = smaller.epochs.remove(number).changes;
            smaller.epochs[number - 1].changes.extend(changes);
            found.push(smaller);
        }
    }
    for number in 0..count {
        for position in (0..case.epochs[number].changes.len()).rev() {
            let mut smaller = case.clone();
            smaller.epochs[number].changes.remove(position);
            found.push(smaller);
        }
    }
    found
}

fn smaller_sql(case: &Case) -> Vec<Case> {
    let mut found = Vec::new();
    for (position, (_, sql)) in case.views.iter().enumerate() {
        for sql in sql.smaller() {
            let mut smaller = case.clone();
            smaller.views[position].1 = sql;
            found.push(smaller);
        }
    }
    found
}

/// Fewer rows in a change, and an update as what it comes to.
fn without_rows(case: &Case) -> Vec<Case> {
    let mut found = Vec::new();
    for (number, epoch) in case.epochs.iter().enumerate() {
        for (position, (_, change)) in epoch.changes.iter().enumerate() {
            for change in smaller_changes(change) {
                let mut smaller = case.clone();
                smaller.epochs[number].changes[position].1 = change;
                found.push(smaller);
            }
        }
    }
    found
}

fn smaller_changes(change: &Change) -> Vec<Change> {
    let without = |rows: &[Row], left_out: usize| {
        let kept = rows.iter().enumerate().filter(|(position, _)| *position != left_out);
        kept.map(|(_, row)| row.clone()).collect::<Vec<_>>()
    };
    match change {
        Change::Insert(rows) if rows.len() > 1 => {
            (0..rows.len()).map(|left_out| Change::Insert(without(rows, left_out))).collect()
        }
        Change::Delete(rows) if rows.len() > 1 => {
            (0..rows.len()).map(|left_out| Change::Delete(without(rows, left_out))).collect()
        }
        Change::Update(old, new) => vec![Change::Delete(vec![old.clone()]), Change::Insert(vec![new.clone()])],
        Change::Insert(_) | Change::Delete(_) | Change::Truncate => Vec::new(),
    }
}

/// Tables without the columns that no view names.
fn without_columns(case: &Case) -> Vec<Case> {
    let mut text = String::new();
    case.views.iter().for_each(|(_, sql)| text.push_str(&sql.text()));
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let mut found = Vec::new();
    for (position, table) in case.tables.iter().enumerate() {
        let key = if let Telling::Keyed(key) = table.telling { key } else { 0 };
        for column in (key..table.columns.len()).rev() {
            if words.contains(table.columns[column].name.as_str()) || table.columns.len() == 1 {
                continue;
            }
            let mut smaller = case.clone();
            smaller.tables[position].columns.remove(column);
            for epoch in &mut smaller.epochs {
                for (_, change) in epoch.changes.iter_mut().filter(|(of, _)| *of == position) {
                    match change {
                        Change::Insert(rows) | Change::Delete(rows) => {
                            rows.iter_mut().for_each(|row| drop(row.remove(column)));
                        }
                        Change::Update(old, new) => [old, new].into_iter().for_each(|row| drop(row.remove(column))),
                        Change::Truncate => {}
                    }
                }
            }
            found.push(smaller);
        }
    }
    found
}
