//! Recomputed aggregates over windows: the rows of a partition, and the answer for each frame of them.

use std::rc::Rc;

use tidegate_engine_row::Row;

use super::super::frame::Value;
use super::{Group, Recompute};
use crate::EngineError;

impl Recompute {
    /// Reads the rows of a partition, copies one by one, each of them once.
    pub fn partition<'a, 'w>(
        &self,
        rows: impl IntoIterator<Item = &'a [u64]>,
        ones: &'w [i64],
    ) -> Result<Group<'w>, EngineError> {
        self.group(self.codec.decode_words(rows)?, ones)
    }

    /// The answers of a call for the frames of the rows, which are computed anew wherever the frame is another one.
    pub fn over<'a>(
        &self,
        call: usize,
        partition: &Group,
        frames: &[(usize, usize)],
    ) -> Result<Vec<Value<'a>>, EngineError> {
        let (call, codec) = &self.calls[call];
        let mut answers: Vec<Value<'a>> = Vec::with_capacity(frames.len());
        let mut last = None;
        for frame in frames {
            if let (true, Some(answer)) = (last == Some(frame), answers.last()) {
                answers.push(answer.clone());
                continue;
            }
            let rows = partition.seen(call, (frame.0..frame.1).collect());
            let answer = self.encoded(call, codec, partition, &rows)?;
            answers.push(Value::Answer(answer.map(Rc::<Row>::new)));
            last = Some(frame);
        }
        Ok(answers)
    }
}
