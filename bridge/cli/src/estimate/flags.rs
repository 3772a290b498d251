//! What the command was told, by names that have to be those of the pipeline, over what the sources know.

use std::collections::BTreeMap;

use tidegate_core::near::did_you_mean;
use tidegate_core::{TableName, TableStatistics};
use tidegate_engine::Program;
use tidegate_runtime::KnownTables;

use super::facts::{Facts, Origin, TableFacts};
use crate::failure::Failure;

/// The flags as they are written: `NAME=N`.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    pub rows: Vec<String>,
    pub changes: Vec<String>,
    pub commits: Vec<String>,
    pub groups: Vec<String>,
    pub filter: Vec<String>,
}

/// Puts together what is known of a program's tables; every fault of the flags, and every table whose rows nobody knows, is told
/// at once.
pub fn facts(program: &Program, known: &KnownTables, flags: &Flags) -> Result<Facts, Failure> {
    let names = Names::of(program);
    let mut faults = Vec::new();
    let mut read = |flag: &str, texts: &[String], kinds: &[Kind], unit: Unit| {
        let mut said: BTreeMap<Name, f64> = BTreeMap::new();
        for text in texts {
            match names.read(flag, text, kinds, unit) {
                Ok((name, number)) => drop(said.insert(name, number)),
                Err(fault) => faults.push(fault),
            }
        }
        said
    };
    let rows = read("rows", &flags.rows, &[Kind::Table, Kind::View], Unit::Number);
    let changes = read("changes", &flags.changes, &[Kind::Table], Unit::PerDay);
    let commits = read("commits", &flags.commits, &[Kind::Source], Unit::PerDay);
    let groups = read("groups", &flags.groups, &[Kind::View], Unit::Number);
    let filter = read("filter", &flags.filter, &[Kind::View], Unit::Share);

    let mut facts = Facts { commits: known.commits_per_day.clone(), ..Facts::default() };
    for table in program.tables() {
        let nothing = TableStatistics::default();
        let statistics = known.tables.get(&table.name).unwrap_or(&nothing);
        let name = Name::Table(table.name.clone());
        let rows = match (rows.get(&name), statistics.rows) {
            (Some(rows), _) => (*rows, Origin::Given),
            (None, Some(rows)) => (rows as f64, Origin::Source),
            (None, None) => {
                let table = &table.name;
                faults.push(format!(
                    "table {table}: its source does not know how many rows it has: run ANALYZE there, or say it with \
                     --rows {table}=N"
                ));
                continue;
            }
        };
        let changes = match (changes.get(&name), statistics.changes_per_day) {
            (Some(changes), _) => (Some(*changes), Origin::Given),
            (None, Some(changes)) => (Some(changes), Origin::Source),
            (None, None) => (None, Origin::Unknown),
        };
        facts.tables.insert(table.name.clone(), TableFacts::new(table, statistics, rows, changes));
    }
    for view in program.views() {
        let name = Name::View(view.info.name.to_string());
        let said = facts.said.entry(view.info.name.to_string()).or_default();
        said.rows = rows.get(&name).copied();
        said.groups = groups.get(&name).copied();
        said.filter = filter.get(&name).copied();
    }
    for (name, commits) in commits {
        if let Name::Source(source) = name {
            facts.commits.insert(source, commits);
        }
    }
    if faults.is_empty() { Ok(facts) } else { Err(Failure::several(tidegate_core::ErrorKind::Reconfigure, faults)) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Table,
    View,
    Source,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Table => "table",
            Kind::View => "view",
            Kind::Source => "source",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Table(TableName),
    View(String),
    Source(String),
}

/// What stands behind the `=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Number,
    PerDay,
    Share,
}

impl Unit {
    fn example(self) -> &'static str {
        match self {
            Unit::Number => "NAME=1000000",
            Unit::PerDay => "NAME=50000/day",
            Unit::Share => "NAME=0.1",
        }
    }

    /// The number; thousands may be apart by `_`.
    fn read(self, text: &str) -> Option<f64> {
        let plain = text.replace('_', "");
        let number = match self {
            Unit::PerDay => plain.strip_suffix("/day")?,
            Unit::Number | Unit::Share => &plain,
        };
        let number: f64 = number.trim().parse().ok()?;
        let most = if self == Unit::Share { 1.0 } else { 1e15 };
        (0.0..=most).contains(&number).then_some(number)
    }
}

/// The names that flags may have, as people write them.
struct Names(Vec<(Kind, Vec<String>, Name)>);

impl Names {
    fn of(program: &Program) -> Names {
        let mut names: Vec<(Kind, Vec<String>, Name)> = Vec::new();
        for table in program.tables() {
            let TableName { source, schema, table } = table.name.clone();
            let mut written = vec![format!("{source}.{schema}.{table}")];
            if schema.eq_ignore_ascii_case("main") || schema.eq_ignore_ascii_case("public") {
                written.insert(0, format!("{source}.{table}"));
            }
            names.push((Kind::Table, written, Name::Table(TableName::new(source.clone(), schema, table))));
            let is_source = |(.., name): &(Kind, Vec<String>, Name)| *name == Name::Source(source.clone());
            if !names.iter().any(is_source) {
                names.push((Kind::Source, vec![source.clone()], Name::Source(source)));
            }
        }
        let views = program.views().iter().map(|view| view.info.name.to_string());
        names.extend(views.map(|view| (Kind::View, vec![view.clone()], Name::View(view))));
        Names(names)
    }

    fn read(&self, flag: &str, text: &str, kinds: &[Kind], unit: Unit) -> Result<(Name, f64), String> {
        let (written, number) = text
            .rsplit_once('=')
            .and_then(|(written, number)| Some((written.trim(), unit.read(number)?)))
            .ok_or_else(|| format!("--{flag} {text}: write --{flag} {}", unit.example()))?;
        let of_kinds = || self.0.iter().filter(|(kind, ..)| kinds.contains(kind));
        let is_written = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case(written));
        match of_kinds().find(|(_, names, _)| is_written(names)) {
            Some((.., name)) => Ok((name.clone(), number)),
            None => {
                let words: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
                let near = did_you_mean(written, of_kinds().flat_map(|(_, names, _)| names).map(String::as_str));
                Err(format!("--{flag} {text}: the pipeline reads no {} `{written}`{near}", words.join(" or ")))
            }
        }
    }
}
