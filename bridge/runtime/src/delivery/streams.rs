//! The streams that a commit carries.

use arrow::array::Int64Array;
use futures::StreamExt;
use tidegate_core::{
    BatchStream, ChangeType, ConnectorError, DeltaBatch, EpochBatch, EpochHeader, ErrorKind, ZSet, chain,
};

use crate::RuntimeError;
use crate::pending::Changes;

/// An error of ours on its way through a sink.
pub(crate) fn as_connector_error(error: RuntimeError) -> ConnectorError {
    ConnectorError::new(error.kind(), chain(&error))
}

/// The changes of a view, up to and including an epoch.
pub(crate) fn changes_stream(changes: Changes) -> BatchStream {
    let batches = changes.map(|change| match change {
        Ok((header, batch)) => Ok(EpochBatch { header, batch }),
        Err(error) => Err(as_connector_error(error)),
    });
    futures::stream::iter(batches).boxed()
}

/// The whole content of a view, as inserts of an epoch.
pub(crate) fn rows_stream<E>(rows: Box<dyn Iterator<Item = Result<ZSet, E>> + Send>, header: EpochHeader) -> BatchStream
where
    E: std::error::Error + 'static,
{
    let batches = rows.map(move |chunk| match chunk {
        Ok(zset) => Ok(EpochBatch { header: header.clone(), batch: inserts(zset) }),
        Err(error) => {
            Err(ConnectorError::new(ErrorKind::Bug, format!("the view state cannot be read: {}", chain(&error))))
        }
    });
    futures::stream::iter(batches).boxed()
}

fn inserts(zset: ZSet) -> DeltaBatch {
    let (rows, weights) = zset.into_parts();
    let entries = rows.num_rows();
    DeltaBatch {
        rows,
        weights,
        change: vec![ChangeType::Insert; entries],
        copies_before: Int64Array::from(vec![0; entries]),
    }
}
