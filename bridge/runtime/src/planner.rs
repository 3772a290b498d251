//! From views to a program: which tables they read, at which positions, and what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::near::did_you_mean;
use tidegate_core::{
    Binder, ConnectorError, ErrorKind, Finding, Frontier, Snapshots, Source, SourceId, TableName, TableSchema, ViewName,
};
use tidegate_engine::{Program, ViewDef, table_references, with_virtual_columns};

use crate::cycles::{Reads, cycles};
use crate::{PipelineConfig, RuntimeError, findings};

/// What planning found.
#[derive(Debug)]
pub struct Planned {
    /// The program, when there is no fault.
    pub program: Option<Program>,
    /// The program of the views that are sound and read only sound ones; the same, then.
    pub sound: Option<Program>,
    /// Where each source that is used was looked at.
    pub frontier: Frontier,
    /// Every fault of a view.
    pub faults: BTreeMap<ViewName, Vec<String>>,
    /// Sources that could not be asked, or that cannot be read as they are.
    pub unreachable: Vec<(SourceId, ConnectorError)>,
    /// What each source that is used says of itself.
    pub findings: BTreeMap<SourceId, Vec<Finding>>,
}

impl Planned {
    /// The program and the frontier, or all faults as one error.
    pub fn into_result(self) -> Result<(Program, Frontier), RuntimeError> {
        findings::warn(&self.findings);
        if let Some((source_id, error)) = self.unreachable.into_iter().next() {
            return Err(RuntimeError::Source { source_id, error });
        }
        match self.program {
            Some(program) => Ok((program, self.frontier)),
            None => Err(RuntimeError::Plan(self.faults.into_values().flatten().collect())),
        }
    }

    /// All faults, one line each.
    pub fn fault_lines(&self) -> Vec<String> {
        self.faults.values().flatten().cloned().collect()
    }
}

/// Plans the views over the tables as they are at `at`; sources that `at` does not name, or that know
/// their present only, are looked at where they stand. Reads only.
pub async fn plan(
    sources: &mut [&mut Box<dyn Source>],
    config: &PipelineConfig,
    binder: &dyn Binder,
    at: &Frontier,
) -> Planned {
    let views = &config.views[..];
    let mut planned = Planned {
        program: None,
        sound: None,
        frontier: Frontier::new(),
        faults: BTreeMap::new(),
        unreachable: Vec::new(),
        findings: BTreeMap::new(),
    };
    check_names(views, &mut planned);
    let references = references(views);
    let mut catalog = Catalog::default();
    for source in sources.iter_mut() {
        let name = source.id().name.clone();
        let used = references.values().flatten().any(|parts| parts.len() > 1 && parts[0].eq_ignore_ascii_case(&name));
        catalog.sources.push(name);
        if used {
            look_at(source, at, &mut catalog, &mut planned).await;
        }
    }
    let mut wanted = BTreeSet::new();
    let mut reads: BTreeMap<ViewName, Reads> = BTreeMap::new();
    for view in views {
        let of_view = reads.entry(view.name.clone()).or_default();
        for parts in references.get(&view.name).into_iter().flatten() {
            match catalog.resolve(parts, views) {
                Ok(Some(table)) => {
                    of_view.tables.push(table.clone());
                    wanted.insert(table);
                }
                Ok(None) => {
                    let named =
                        |other: &&ViewDef| matches!(&parts[..], [name] if other.name.0.eq_ignore_ascii_case(name));
                    of_view.views.extend(views.iter().find(named).map(|other| other.name.clone()));
                }
                Err(fact) => planned.fault(&view.name, format!("view {}: {fact}", view.name)),
            }
        }
    }
    for (view, fault) in cycles(&reads, &config.read_backs) {
        planned.fault(&view, fault);
    }
    let tables = schemas(sources, wanted, views, &mut planned).await;
    loop {
        let sound = without_faults(views, &references, &planned);
        let all = sound.len() == views.len();
        match Program::plan(tables.clone(), sound, binder) {
            Ok(program) => {
                planned.program = (all && planned.unreachable.is_empty()).then(|| program.clone());
                planned.sound = Some(program);
                return planned;
            }
            Err(errors) => {
                let before = planned.faults.len();
                errors.into_iter().for_each(|error| planned.fault(&error.view.clone(), error.to_string()));
                if planned.faults.len() == before {
                    return planned;
                }
            }
        }
    }
}

impl Planned {
    fn fault(&mut self, view: &ViewName, fault: String) {
        self.faults.entry(view.clone()).or_default().push(fault);
    }
}

fn check_names(views: &[ViewDef], planned: &mut Planned) {
    for (index, view) in views.iter().enumerate() {
        if let Some(twin) = views[..index].iter().find(|other| other.name.0.eq_ignore_ascii_case(&view.name.0)) {
            let fault = format!(
                "view {}: its name differs from that of view {} by case alone, and names match case-insensitively; \
                 rename one of them",
                view.name, twin.name
            );
            planned.fault(&view.name, fault);
        }
    }
}

/// The names in the FROM clauses of each view. SQL that does not parse has none here: the planner
/// says what is wrong with it, and where.
fn references(views: &[ViewDef]) -> BTreeMap<ViewName, Vec<Vec<String>>> {
    views.iter().map(|view| (view.name.clone(), table_references(&view.sql).unwrap_or_default())).collect()
}

async fn look_at(source: &mut Box<dyn Source>, at: &Frontier, catalog: &mut Catalog, planned: &mut Planned) {
    let id = source.id().clone();
    let looked = async {
        let position = match at.get(&id) {
            Some(position) if source.snapshots() == Snapshots::AnyPosition => *position,
            _ => source.head().await?,
        };
        let tables = source.list(Some(&position)).await?;
        Ok((position, tables))
    };
    match looked.await {
        Ok((position, tables)) => {
            planned.frontier.set(id, position);
            catalog.tables.extend(tables);
        }
        Err(error) => {
            catalog.unreachable.insert(id.name.to_lowercase());
            planned.unreachable.push((id, error));
        }
    }
}

async fn schemas(
    sources: &mut [&mut Box<dyn Source>],
    wanted: BTreeSet<TableName>,
    views: &[ViewDef],
    planned: &mut Planned,
) -> Vec<TableSchema> {
    let mut schemas = Vec::new();
    for source in sources {
        let id = source.id().clone();
        let of_source: Vec<TableName> = wanted.iter().filter(|table| table.source == id.name).cloned().collect();
        let Some(position) = planned.frontier.get(&id).copied() else { continue };
        if of_source.is_empty() {
            continue;
        }
        let looked = async {
            let found = source.tables(&of_source, Some(&position)).await?;
            let findings = source.check(&found).await?;
            let offered = BTreeMap::from([(id.name.clone(), source.virtual_columns())]);
            let found = with_virtual_columns(found, &offered, views)
                .map_err(|error| ConnectorError::new(ErrorKind::Bug, format!("source {id}: {error}")))?;
            Ok((found, findings))
        };
        match looked.await {
            Ok((found, findings)) => {
                planned.unreachable.extend(findings::faults(&id, &findings).map(|error| (id.clone(), error)));
                planned.findings.insert(id, findings);
                schemas.extend(found);
            }
            Err(error) => planned.unreachable.push((id, error)),
        }
    }
    schemas
}

/// The views that have no fault yet and read no view that has one: what is wrong with those comes
/// to light now, the others only repeat what is known.
fn without_faults(
    views: &[ViewDef],
    references: &BTreeMap<ViewName, Vec<Vec<String>>>,
    planned: &Planned,
) -> Vec<ViewDef> {
    let unreachable: BTreeSet<String> = planned.unreachable.iter().map(|(id, _)| id.name.to_lowercase()).collect();
    let mut left_out: BTreeSet<String> = planned.faults.keys().map(|view| view.0.to_lowercase()).collect();
    loop {
        let before = left_out.len();
        for view in views {
            let reads_one = references.get(&view.name).into_iter().flatten().any(|parts| match &parts[..] {
                [view] => left_out.contains(&view.to_lowercase()),
                [source, ..] => unreachable.contains(&source.to_lowercase()),
                [] => false,
            });
            if reads_one {
                left_out.insert(view.name.0.to_lowercase());
            }
        }
        if left_out.len() == before {
            break;
        }
    }
    views.iter().filter(|view| !left_out.contains(&view.name.0.to_lowercase())).cloned().collect()
}

/// What the sources hold.
#[derive(Default)]
struct Catalog {
    sources: Vec<String>,
    unreachable: BTreeSet<String>,
    tables: Vec<TableName>,
}

impl Catalog {
    /// The table that a name in a FROM clause means; `None` when it is a view, or a table of a
    /// source that cannot be asked.
    fn resolve(&self, parts: &[String], views: &[ViewDef]) -> Result<Option<TableName>, String> {
        let written = parts.join(".");
        let (source, schema, table) = match parts {
            [name] => {
                if views.iter().any(|view| view.name.0.eq_ignore_ascii_case(name)) {
                    return Ok(None);
                }
                let views = views.iter().map(|view| view.name.as_str());
                let tables: Vec<String> = self.tables.iter().map(short_name).collect();
                let near = did_you_mean(name, views.clone());
                let near = match self.tables.iter().find(|table| table.table.eq_ignore_ascii_case(name)) {
                    Some(table) => format!("; did you mean {}?", short_name(table)),
                    None if near.is_empty() => did_you_mean(name, tables.iter().map(String::as_str)),
                    None => near,
                };
                return Err(format!("there is no view {name}, and tables are written source.table{near}"));
            }
            [source, table] => (source, None, table),
            [source, schema, table] => (source, Some(schema), table),
            // The planner says what is wrong with it.
            _ => return Ok(None),
        };
        if !self.sources.iter().any(|known| known.eq_ignore_ascii_case(source)) {
            let near = did_you_mean(source, self.sources.iter().map(String::as_str));
            return Err(format!("{written} names the source {source}, which the pipeline does not have{near}"));
        }
        if self.unreachable.contains(&source.to_lowercase()) {
            return Ok(None);
        }
        let of_source = || self.tables.iter().filter(|known| known.source.eq_ignore_ascii_case(source));
        let in_schema = |known: &&TableName| match schema {
            Some(schema) => known.schema.eq_ignore_ascii_case(schema),
            None => is_default(&known.schema),
        };
        let mut found = of_source().filter(in_schema).filter(|known| known.table.eq_ignore_ascii_case(table));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(Some(one.clone())),
            (Some(one), Some(other)) => Err(format!(
                "{written} may be {one} or {other}, which differ by case alone; rename one of these tables"
            )),
            (None, _) => {
                let names: Vec<String> = of_source().map(short_name).collect();
                let elsewhere = of_source().find(|known| known.table.eq_ignore_ascii_case(table)).map(short_name);
                let near = match elsewhere {
                    Some(name) => format!("; did you mean {name}?"),
                    None => did_you_mean(&short_form(source, schema, table), names.iter().map(String::as_str)),
                };
                Err(format!("there is no table {written}{near}"))
            }
        }
    }
}

/// `main` in DuckLake, `public` in PostgreSQL.
fn is_default(schema: &str) -> bool {
    schema.eq_ignore_ascii_case("main") || schema.eq_ignore_ascii_case("public")
}

/// The name as one writes it.
fn short_name(table: &TableName) -> String {
    short_form(&table.source, Some(&table.schema), &table.table)
}

fn short_form(source: &str, schema: Option<&String>, table: &str) -> String {
    match schema.filter(|schema| !is_default(schema)) {
        Some(schema) => format!("{source}.{schema}.{table}"),
        None => format!("{source}.{table}"),
    }
}
