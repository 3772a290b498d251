//! `tidegate resnapshot`: copies tables again, whatever the engine holds of them; downstream sees only
//! real differences.

use std::path::Path;
use std::sync::Arc;

use tidegate_core::TableName;
use tidegate_core::near::did_you_mean;
use tidegate_runtime::Pipeline;

use crate::assembly::{assemble, located};
use crate::ending;
use crate::failure::Failure;
use crate::output::{self, Json};
use crate::progress::Display;

/// Copies `SOURCE`, `SOURCE.TABLE` or `SOURCE.SCHEMA.TABLE` again.
pub async fn resnapshot(path: &Path, wanted: &str, json: bool) -> Result<(), Failure> {
    let assembly = assemble(path)?;
    let mut parts = wanted.split('.');
    let asked = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let ids = || assembly.connectors.sources.iter().map(|slot| slot.source.id());
    let Some(source) = ids().find(|id| id.name.eq_ignore_ascii_case(asked)).cloned() else {
        let near = did_you_mean(asked, ids().map(|id| id.name.as_str()));
        return Err(Failure::usage(format!("there is no source `{asked}`{near}")));
    };
    let default = if source.kind == "postgres" { "public" } else { "main" };
    let table = match rest[..] {
        [] => None,
        [table] => Some(TableName::new(&source.name, default, table)),
        [schema, table] => Some(TableName::new(&source.name, schema, table)),
        _ => {
            return Err(Failure::usage(format!(
                "`{wanted}` is neither SOURCE nor SOURCE.TABLE nor SOURCE.SCHEMA.TABLE"
            )));
        }
    };
    let state_dir = assembly.config.state_dir.clone();
    let views = assembly.views;
    let failed = |error| located(error, &views);
    let observer = Arc::new(Display::default());
    let mut pipeline = Pipeline::open(assembly.config, assembly.connectors, observer).await.map_err(failed)?;
    let summary = pipeline.resnapshot(&source.name, table.as_ref()).await.map_err(failed)?;
    ending::forget(&state_dir);
    let summary = output::value(&summary)?;
    if json {
        output::json(&summary);
        return Ok(());
    }
    output::line(format!("{wanted} was copied again in epoch {}", summary.number("epoch")));
    output::view_rows(&summary, "rows that differed");
    Ok(())
}
