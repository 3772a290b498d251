//! Takes away what the file holds of a view that is gone: table, history and epochs, in one transaction.

use tidegate_core::{Removal, ViewName, failpoint};
use tidegate_duck::history::{STANDINGS, TIMES};
use tidegate_duck::{Access, Duck};

use crate::error::DuckdbSinkError;
use crate::files::Files;
use crate::history::names::Names;
use crate::mart::{EPOCHS, Mart};

/// What the file says that it holds of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    /// Epochs, and with them the table or SQL view of its name.
    epochs: bool,
    /// A history.
    history: bool,
}

/// Removes a view from the working file, and from the copy that readers open.
pub(crate) fn remove(files: &Files, view: &ViewName) -> Result<Removal, DuckdbSinkError> {
    let held = files.held();
    if !held.exists() {
        return Ok(Removal::Nothing);
    }
    let _turn = files.turn()?;
    let duck = Duck::open_in_memory().map_err(|error| DuckdbSinkError::duck(&held, error))?;
    let found = {
        let mut mart = Mart::attach(&duck, &held, &held, Access::ReadOnly, None)?;
        look(&mut mart, view)?
    };
    if found.is_some() {
        files.settle(&duck)?;
        transact(&duck, files, view)?;
        failpoint::hit("remove.duckdb.committed");
    }
    // Readers get, too, what a call that was stopped before left out.
    files.publish()?;
    Ok(if found.is_some() { Removal::Removed } else { Removal::Nothing })
}

fn transact(duck: &Duck, files: &Files, view: &ViewName) -> Result<(), DuckdbSinkError> {
    let file = files.working();
    let mut mart = Mart::attach(duck, &file, &file, Access::ReadWrite, None)?;
    // Others may have been there since.
    let Some(held) = look(&mut mart, view)? else { return mart.detach() };
    mart.execute("BEGIN")?;
    if held.epochs {
        drop_present(&mart, view)?;
    }
    if held.history {
        drop_history(&mart, view)?;
    }
    if mart.has(EPOCHS) {
        mart.forget_epochs(view)?;
    }
    failpoint::hit("remove.duckdb.before_commit");
    mart.commit()?;
    mart.detach()
}

/// What the file holds of a view; `None` where that is nothing. What has its name and is not ours is an error.
fn look(mart: &mut Mart<'_>, view: &ViewName) -> Result<Option<Held>, DuckdbSinkError> {
    let epochs = mart.has(EPOCHS) && mart.knows(view)?;
    let history = mart.history_of(view)?.is_some();
    if epochs || history {
        return Ok(Some(Held { epochs, history }));
    }
    if mart.has(view.as_str()) || mart.has_view(view)? {
        let (file, view) = (mart.file.display().to_string(), view.clone());
        return Err(DuckdbSinkError::NotOurs { file, view });
    }
    Ok(None)
}

fn drop_present(mart: &Mart<'_>, view: &ViewName) -> Result<(), DuckdbSinkError> {
    let kind = match (mart.has(view.as_str()), mart.is_shown(view)) {
        (true, _) => "TABLE",
        (false, true) => "VIEW",
        // Somebody has dropped it.
        (false, false) => return Ok(()),
    };
    mart.execute(&format!("DROP {kind} {}", mart.table(view.as_str())))
}

/// Drops all versions, those that were put aside under other columns too, and what readers use to see them.
fn drop_history(mart: &Mart<'_>, view: &ViewName) -> Result<(), DuckdbSinkError> {
    let names = Names::of(view);
    let [history, as_of, as_of_time] = [&names.history, &names.as_of, &names.as_of_time].map(|name| mart.table(name));
    mart.execute(&format!(
        "DROP VIEW IF EXISTS {history}; DROP MACRO TABLE IF EXISTS {as_of}; DROP MACRO TABLE IF EXISTS {as_of_time}"
    ))?;
    let mut tables: Vec<String> = names.tables().into_iter().filter(|name| mart.has(name)).map(str::to_owned).collect();
    for name in mart.known.tables.iter().filter(|name| Names::is_until(view, name)) {
        // A view of the pipeline may be called that.
        if !mart.knows(&ViewName::new(name.clone()))? {
            tables.push(name.clone());
        }
    }
    for name in tables {
        mart.execute(&format!("DROP TABLE {}", mart.table(&name)))?;
    }
    let (standings, name) = (mart.table(STANDINGS), view.as_str());
    let forget = format!("DELETE FROM {standings} WHERE lower(view) = lower(?)");
    mart.with(|connection| connection.execute(&forget, [name]))?;
    if mart.has(TIMES) && mart.counts(&format!("SELECT count(*)::UBIGINT FROM {standings}"), 1)?[0] == 0 {
        mart.execute(&format!("DELETE FROM {}", mart.table(TIMES)))?;
    }
    Ok(())
}
