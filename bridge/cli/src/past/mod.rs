//! The past of views: a moment becomes an epoch by the time map, and a mart that keeps histories answers for it.

mod instant;
pub mod mart;
pub mod moment;
mod opening;
mod output;
pub mod query;
pub mod rewrite;

use std::path::Path;
use std::time::Duration;

use tidegate_core::near::did_you_mean;
use tidegate_core::{Epoch, ErrorKind};
use tidegate_runtime::{Moment, TimeMap, TimeMapEntry, Unresolved};

use crate::assembly::{Assembly, assemble};
use crate::failure::Failure;
use crate::file::{Mart, View, sql};

pub use mart::OpenMart;
pub use opening::{Opening, Sought};
pub use output::{Answer, Format, Rows};

/// How often the time map is looked at again, when the process that writes it is just at work.
const LOOKS: u32 = 3;

/// A pipeline whose past is asked for.
pub struct Past {
    pub assembly: Assembly,
    map: TimeMap,
}

impl Past {
    /// Reads the pipeline file and the time map; a process that runs the pipeline is not disturbed.
    pub fn open(path: &Path) -> Result<Past, Failure> {
        let assembly = assemble(path)?;
        let map = TimeMap::look(&assembly.config.state_dir)?;
        if map.last().is_none() {
            let dir = assembly.config.state_dir.display();
            let message = format!("there is no epoch in {dir} yet: `tidegate run {}` makes the first", path.display());
            return Err(Failure::new(ErrorKind::Retry, message));
        }
        Ok(Past { assembly, map })
    }

    /// The epoch of a moment.
    pub fn resolve(&mut self, moment: &Moment) -> Result<TimeMapEntry, Failure> {
        let mut looks = 1;
        loop {
            let error = match self.map.resolve(moment) {
                Ok(entry) => return Ok(entry),
                Err(error) => error,
            };
            let kind = match &error {
                Unresolved::Failed(error) if error.kind() == ErrorKind::Retry && looks < LOOKS => {
                    std::thread::sleep(Duration::from_millis(50));
                    self.map = TimeMap::look(&self.assembly.config.state_dir)?;
                    looks += 1;
                    continue;
                }
                Unresolved::Failed(error) => error.kind(),
                Unresolved::Empty | Unresolved::Coming { .. } => ErrorKind::Retry,
                Unresolved::TooEarly { .. } | Unresolved::OtherSource { .. } => ErrorKind::Reconfigure,
            };
            return Err(Failure::caused(kind, &error));
        }
    }

    /// The entry of an epoch, where it is still kept.
    pub fn entry(&self, epoch: Epoch) -> Result<Option<TimeMapEntry>, Failure> {
        Ok(self.map.entry(epoch)?)
    }

    /// The view of that name, or of that tracked table.
    pub fn view(&self, name: &str) -> Result<&View, Failure> {
        self.view_called(&sql::name_parts(name).unwrap_or_else(|| vec![name.to_owned()]))
    }

    /// The same by the parts of the name.
    pub fn view_called(&self, parts: &[String]) -> Result<&View, Failure> {
        let views = &self.assembly.views;
        let found = views.iter().find(|view| match (parts, &view.tracked) {
            ([name], _) => view.def.name.as_str().to_lowercase() == name.to_lowercase(),
            (parts, Some(tracked)) => tracked.is_called(parts),
            _ => false,
        });
        found.ok_or_else(|| {
            let name = parts.join(".");
            let tables = views.iter().filter_map(|view| view.tracked.as_ref()).map(|tracked| tracked.table.as_str());
            let near = did_you_mean(&name, views.iter().map(|view| view.def.name.as_str()).chain(tables));
            let way_out = match near.is_empty() && parts.len() > 1 {
                true => {
                    format!(": `tidegate track PIPELINE {name} --key COLUMN` keeps the rows of a table from then on")
                }
                false => near,
            };
            Failure::usage(format!("there is no view and no tracked table `{name}`{way_out}"))
        })
    }

    /// The mart that is asked: the one that is named, or the first that holds all of these views.
    pub fn mart(&self, sink: Option<&str>, views: &[&View]) -> Result<&Mart, Failure> {
        let marts = &self.assembly.marts;
        let holds = |mart: &&Mart| !views.iter().any(|view| lacks(mart, view));
        if let Some(name) = sink {
            let mart = marts.iter().find(|mart| mart.sink == name);
            let mart = mart.ok_or_else(|| {
                let near = did_you_mean(name, marts.iter().map(|mart| mart.sink.as_str()));
                Failure::usage(format!("there is no sink `{name}` of type duckdb{near}"))
            })?;
            return match views.iter().find(|view| lacks(mart, view)) {
                Some(view) => Err(Failure::usage(format!("the sink `{name}` does not take `{}`", view.def.name))),
                None => Ok(mart),
            };
        }
        marts.iter().find(holds).ok_or_else(|| {
            let names = views.iter().map(|view| format!("`{}`", view.def.name)).collect::<Vec<_>>().join(" and ");
            let of = if names.is_empty() { String::new() } else { format!(" that takes {names}") };
            Failure::usage(format!(
                "there is no sink of type duckdb{of}, and the answers come from one: add it, or its `views`"
            ))
        })
    }
}

fn lacks(mart: &Mart, view: &View) -> bool {
    mart.views.as_ref().is_some_and(|taken| !taken.contains(&view.def.name))
}
