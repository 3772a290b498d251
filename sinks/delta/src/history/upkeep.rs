//! What maintenance does to a history besides what it does to every table: versions that ended long ago go.

use serde_json::json;
use tidegate_core::ViewInfo;

use super::change;
use super::cut::trim;
use super::turn::since_of;
use crate::commit::Scene;
use crate::error::DeltaSinkError;
use crate::layout::FileNames;
use crate::rewrite::Setting;
use crate::shape::Shape;
use crate::store::TableStore;
use crate::table::Table;

/// Removes the versions that ended longer ago than they are to be kept; answers how many went. `None` as the table when
/// somebody else has changed it meanwhile.
pub(crate) async fn forget(
    scene: Scene<'_>,
    store: &TableStore,
    shape: &Shape,
    view: &ViewInfo,
    mut table: Table,
) -> Result<(Option<Table>, u64), DeltaSinkError> {
    let retention = view.history.and_then(|history| history.retention);
    let (Some(retention), Some(committed), Some(standing)) = (retention, table.committed, table.standing) else {
        return Ok((Some(table), 0));
    };
    table.index(shape);
    let names = FileNames::merged(&scene.attempt());
    let setting = Setting { store, shape, target: scene.config.target_file_size, names: &names };
    let (written, last) = trim(setting, &table.files, standing.time.before(retention), retention).await?;
    let Some(last) = last else { return Ok((Some(table), 0)) };
    let went = written.growth.unsigned_abs();
    let since = Some(last).filter(|(epoch, _)| since_of(&table).is_none_or(|since| since < *epoch));
    let info = json!({ "forgotten": went, "up_to_epoch": last.0 });
    let table = change(scene, store, shape, table, written, (committed, standing), since, ("DELETE", info)).await?;
    Ok((table, went))
}
