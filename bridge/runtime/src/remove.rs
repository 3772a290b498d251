//! `remove`: takes away what sinks hold of views that they get no more.

use tidegate_core::{ConnectorError, Removal, ViewName};

use crate::Connectors;
use crate::patience::Patience;

/// What became of a view in a sink.
#[derive(Debug)]
pub struct Removed {
    /// The sink.
    pub sink: String,
    /// The view.
    pub view: ViewName,
    /// How it ended.
    pub ended: Result<Removal, ConnectorError>,
}

/// Takes views away from sinks, in their order; one that fails keeps none of the others back. The caller sees to it that
/// nobody writes the views there. What a reader or a commit of others holds is waited for.
pub async fn remove(connectors: &mut Connectors, wanted: &[(String, ViewName)]) -> Vec<Removed> {
    let mut removed = Vec::with_capacity(wanted.len());
    for slot in &mut connectors.sinks {
        let name = slot.sink.name().to_owned();
        for (_, view) in wanted.iter().filter(|(sink, _)| *sink == name) {
            let patience = Patience::with_all();
            let ended = patience.wait_for(async || slot.sink.remove(view).await).await;
            removed.push(Removed { sink: name.clone(), view: view.clone(), ended });
        }
    }
    removed
}
