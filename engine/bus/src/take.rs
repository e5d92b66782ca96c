//! Taking records from a ring: a bounded number, each judged, all given back at once.

use crate::BusError;
use shmring::{Consumer, RingError};
use std::ops::ControlFlow;
use thiserror::Error;

/// What came through a ring was nonsense; the link has to go.
#[derive(Debug, Error)]
pub enum TakeError {
    /// The ring itself is damaged.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A record is none of ours.
    #[error(transparent)]
    Record(#[from] BusError),
}

/// Gives up to `records_max` records to `each`, which may break off after one of them, then gives their
/// memory back to the producer.
///
/// # Errors
/// [`TakeError`], the record that caused it included in what was taken.
pub fn take(
    ring: &mut Consumer,
    records_max: usize,
    mut each: impl FnMut(u16, &[u8]) -> Result<ControlFlow<()>, BusError>,
) -> Result<(), TakeError> {
    let mut take_all = || {
        for _ in 0..records_max {
            let Some(record) = ring.peek()? else { break };
            let flow = each(record.kind, record.bytes);
            ring.advance();
            if flow?.is_break() {
                break;
            }
        }
        Ok(())
    };
    let result = take_all();
    ring.release();
    result
}
