//! The rows of a table, streamed.

use std::path::{Path, PathBuf};

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tidegate_core::{ConnectorError, ViewInfo, ZSet};
use tidegate_duck::{Access, Duck, DuckError, Flow, quote_ident};
use tokio::sync::{OwnedMutexGuard, mpsc};

use crate::error::{DuckdbSinkError, connector_error};
use crate::mart::Mart;

/// Batches read ahead of the receiver.
const READ_AHEAD: usize = 2;

/// Streams the view's table from a thread that holds the file until the stream ends or is dropped.
pub(crate) fn rows(
    sink: String,
    file: PathBuf,
    view: ViewInfo,
    guard: OwnedMutexGuard<()>,
) -> BoxStream<'static, Result<ZSet, ConnectorError>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        let _guard = guard;
        if let Err(error) = send(&file, &view, &sender) {
            // A receiver that is gone does not want to know.
            let _ = sender.blocking_send(Err(connector_error(&sink, error)));
        }
    });
    stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }).boxed()
}

fn send(
    file: &Path,
    view: &ViewInfo,
    sender: &mpsc::Sender<Result<ZSet, ConnectorError>>,
) -> Result<(), DuckdbSinkError> {
    if !file.exists() {
        return Ok(());
    }
    let duck_error = |error| DuckdbSinkError::duck(file, error);
    let duck = Duck::open_in_memory().map_err(duck_error)?;
    let mart = Mart::attach(&duck, file, file, Access::ReadOnly, None)?;
    let table = mart.table(view.name.as_str());
    if !mart.holds(&view.name) {
        return Ok(());
    }
    let found = mart.columns(&table)?;
    let columns: Vec<_> = view.schema.fields().iter().map(|field| quote_ident(field.name())).collect();
    if let Some(missing) = view.schema.fields().iter().find(|f| !found.iter().any(|(n, _)| n == f.name())) {
        return Err(DuckdbSinkError::Altered {
            file: file.display().to_string(),
            view: view.name.clone(),
            difference: format!("column {} is missing", missing.name()),
        });
    }
    duck.stream(&columns, &table, "", &view.schema, |batch| {
        let gone = sender.blocking_send(Ok(ZSet::uniform(batch, 1))).is_err();
        Ok::<_, DuckError>(if gone { Flow::Stop } else { Flow::Continue })
    })
    .map_err(duck_error)
}
