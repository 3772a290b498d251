//! The rows of a table, streamed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tidegate_core::{ConnectorError, ViewInfo, ZSet};
use tidegate_duck::{Access, DuckError, Flow};
use tokio::sync::mpsc;

use crate::columns::columns;
use crate::config::Place;
use crate::error::{DucklakeSinkError, connector_error};
use crate::lake::{Inserts, Lake};
use crate::stage::Stage;

/// Batches read ahead of the receiver.
const READ_AHEAD: usize = 2;

/// Streams the view's table from a thread that keeps the lake attached until the stream ends or is
/// dropped.
pub(crate) fn rows(
    sink: String,
    place: Arc<Place>,
    spill: PathBuf,
    view: ViewInfo,
) -> BoxStream<'static, Result<ZSet, ConnectorError>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send(&place, &spill, &view, &sender) {
            // A receiver that is gone does not want to know.
            let _ = sender.blocking_send(Err(connector_error(&sink, error)));
        }
    });
    stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }).boxed()
}

fn send(
    place: &Place,
    spill: &Path,
    view: &ViewInfo,
    sender: &mpsc::Sender<Result<ZSet, ConnectorError>>,
) -> Result<(), DucklakeSinkError> {
    let duck_error = |error| DucklakeSinkError::duck(&place.shown, "reading", error);
    let stage = Stage::open(place, spill)?;
    let duck = &stage.duck;
    let Some(lake) = Lake::attach(duck, place, Access::ReadOnly, Inserts::AsUsual)? else { return Ok(()) };
    if lake.survey()?.relation(view.name.as_str()).is_none() {
        return Ok(());
    }
    let columns = columns(&place.shown, view)?;
    let table = lake.table(view.name.as_str());
    let found = duck.describe_columns(&format!("FROM {table}")).map_err(duck_error)?;
    for field in view.schema.fields() {
        if !found.iter().any(|(name, ..)| name == field.name()) {
            return Err(DucklakeSinkError::Altered {
                lake: place.shown.clone(),
                view: view.name.clone(),
                difference: format!("column {} is missing", field.name()),
            });
        }
    }
    let expressions: Vec<_> = columns.iter().map(|column| column.read("t")).collect();
    duck.stream(&expressions, &format!("{table} t"), "", &view.schema, |batch| {
        let gone = sender.blocking_send(Ok(ZSet::uniform(batch, 1))).is_err();
        Ok::<_, DuckError>(if gone { Flow::Stop } else { Flow::Continue })
    })
    .map_err(duck_error)?;
    drop(lake);
    stage.close();
    Ok(())
}
