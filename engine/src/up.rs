//! The way to the dispatcher, and the queue in front of it.

use crate::limits;
use bus::Up;
use shmring::{Producer, RingError};
use std::collections::VecDeque;

/// A queue met its bound; the connection that would have added to it has to go.
#[derive(Debug)]
pub struct Overload;

/// Sends records; what a full ring refuses waits here, in order.
#[derive(Default)]
pub struct UpQueue {
    ring: Option<Producer>,
    waiting: VecDeque<(u16, Vec<u8>)>,
    full: u64,
}

impl UpQueue {
    /// Starts to send to a new dispatcher.
    pub fn link(&mut self, ring: Producer) {
        self.waiting.clear();
        self.ring = Some(ring);
    }

    /// Stops; what waited was for the dispatcher that is gone, and is told anew by the re-attach.
    pub fn unlink(&mut self) {
        self.waiting.clear();
        self.ring = None;
    }

    /// Sends a record that a device caused. Without a link it is dropped: a re-attach tells all there is.
    pub fn send(&mut self, record: Up<'_>) -> Result<(), Overload> {
        if self.waiting.len() >= limits::UP_WAITING_MAX {
            return Err(Overload);
        }
        self.send_anyway(record);
        Ok(())
    }

    /// Sends a record that ends something and so needs no bound: at most one a connection.
    pub fn send_anyway(&mut self, record: Up<'_>) {
        let Some(ring) = &mut self.ring else { return };
        if self.waiting.is_empty() {
            match record.push(ring) {
                Ok(()) => return,
                Err(RingError::Full) => self.full += 1,
                // The reading side of the loop meets the same error and ends the link.
                Err(_) => return,
            }
        }
        self.waiting.push_back(record.to_bytes());
    }

    /// Moves what waits into the ring as far as it goes, and shows everything to the dispatcher.
    pub fn flush(&mut self) -> Result<(), RingError> {
        let Some(ring) = &mut self.ring else { return Ok(()) };
        while let Some((kind, bytes)) = self.waiting.front() {
            match ring.push(*kind, &[bytes]) {
                Ok(()) => self.waiting.pop_front(),
                Err(RingError::Full) => break,
                Err(error) => return Err(error),
            };
        }
        ring.publish().map(|_| ())
    }

    /// Whether an overload left memory behind.
    pub fn has_surplus(&self) -> bool {
        self.waiting.is_empty() && self.waiting.capacity() > limits::UP_KEEP
    }

    /// Gives that memory back.
    pub fn give_back(&mut self) {
        if self.has_surplus() {
            self.waiting = VecDeque::new();
        }
    }

    /// Records that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Times the ring was full since the last call.
    pub fn take_full(&mut self) -> u64 {
        std::mem::take(&mut self.full)
    }
}
