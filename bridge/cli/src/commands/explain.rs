//! `tidegate explain`: how one view is maintained.

use std::path::Path;

use serde_json::{Value, json};
use tidegate_core::near::did_you_mean;
use tidegate_core::{ErrorKind, schema};
use tidegate_engine::PlannedView;

use crate::arguments::ExplainFormat;
use crate::assembly::{Assembly, assemble};
use crate::commands::check::{self, row_identity};
use crate::failure::Failure;
use crate::lineage::lineage;
use crate::output;
use crate::picture::{self, Lineage};

/// Explains a view; the pipeline has to be free of faults.
pub async fn explain(path: &Path, name: &str, format: ExplainFormat) -> Result<(), Failure> {
    let mut assembly = assemble(path)?;
    let names = || assembly.views.iter().map(|view| view.def.name.as_str());
    let Some(name) = names().find(|known| known.eq_ignore_ascii_case(name)).map(str::to_owned) else {
        return Err(Failure::usage(format!("there is no view `{name}`{}", did_you_mean(name, names()))));
    };
    let report = tidegate_runtime::check(&assembly.config, &mut assembly.connectors).await;
    let faulty = |faults| Failure::several(ErrorKind::Reconfigure, faults);
    let Some(program) = &report.program else { return Err(faulty(check::faults(&report, &assembly.views))) };
    let program = program.clone().sharing(None);
    let program = program.map_err(|errors| faulty(errors.iter().map(ToString::to_string).collect()))?;
    let view = program.views().iter().find(|view| view.info.name.0 == name);
    let Some(view) = view else { return Err(faulty(check::faults(&report, &assembly.views))) };
    match format {
        ExplainFormat::Json => output::json(&described(view, check::history(&view.info.name, &assembly))),
        ExplainFormat::Text => show(view, &assembly),
        ExplainFormat::Mermaid => output::line(picture::mermaid(&pictured(view, &reads(view))).trim_end()),
        ExplainFormat::Svg => output::line(picture::svg(&pictured(view, &reads(view))).trim_end()),
    }
    Ok(())
}

/// Name, DuckDB type and origins of each column.
fn columns(view: &PlannedView) -> impl Iterator<Item = (&str, &str, Vec<String>)> {
    let fields = view.info.schema.fields().iter();
    fields.zip(lineage(&view.plan)).map(|(field, origins)| {
        (
            field.name().as_str(),
            schema::duckdb_type(field).unwrap_or("?"),
            origins.iter().map(ToString::to_string).collect(),
        )
    })
}

fn pictured<'a>(view: &'a PlannedView, reads: &'a [String]) -> Lineage<'a> {
    Lineage { view: view.info.name.as_str(), reads, columns: columns(view).collect() }
}

fn reads(view: &PlannedView) -> Vec<String> {
    view.inputs.iter().map(ToString::to_string).collect()
}

/// A view and how it is maintained, for programs. `history` is what is kept of its past.
pub fn described(view: &PlannedView, history: Value) -> Value {
    let column = |(name, of, from)| json!({ "name": name, "type": of, "from": from });
    let columns: Vec<Value> = columns(view).map(column).collect();
    json!({
        "view": view.info.name,
        "mode": "incremental",
        "row_identity": row_identity(&view.info.identity, &view.info.schema),
        "history": history,
        "reads": reads(view),
        "columns": columns,
        "cost": view.cost().as_str(),
        "plan_id": view.plan_id.to_string(),
        "notes": view.notes,
        "plan": view.explain_json(),
        "key_check": view.check.as_ref().map(|check| check.explain_json()),
    })
}

fn show(view: &PlannedView, assembly: &Assembly) {
    let identity = check::identity_text(&view.info.identity, &view.info.schema);
    let history = check::history_text(&view.info.name, assembly).map(|kept| ("history", format!("kept {kept}")));
    let facts = [
        Some(("view", view.info.name.to_string())),
        Some(("mode", "incremental".to_owned())),
        Some(("rows by", identity)),
        history,
        Some(("reads", reads(view).join(", "))),
        Some(("an epoch costs", view.cost().to_string())),
        Some(("plan", view.plan_id.to_string())),
    ];
    output::table(&facts.into_iter().flatten().map(|(what, fact)| vec![what.to_owned(), fact]).collect::<Vec<_>>());
    let heading = ["column", "type", "from"].map(str::to_owned).to_vec();
    let lines = columns(view).map(|(name, of, from)| vec![name.to_owned(), of.to_owned(), from.join(", ")]);
    output::line("");
    output::table(&std::iter::once(heading).chain(lines).collect::<Vec<_>>());
    output::line("");
    output::line(view.explain_text().trim_end());
    for note in &view.notes {
        output::line(format!("note: {note}"));
    }
}
