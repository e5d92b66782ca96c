//! Reading and writing the fields of a record.

use thiserror::Error;
use wire::ConnId;

/// A record that the other side should never have sent; the link that carried it is dropped.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum BusError {
    /// A kind that this build does not know.
    #[error("bus record kind {0} is unknown; worker and dispatcher must be of the same build")]
    UnknownKind(u16),
    /// A record shorter than its fixed part.
    #[error("bus record kind {0} ends too early")]
    Truncated(u16),
    /// A field with a forbidden value.
    #[error("bus record kind {kind}: {field} has a forbidden value")]
    Field {
        /// The record's kind.
        kind: u16,
        /// The field.
        field: &'static str,
    },
}

/// Reads fields from the front of a record.
pub(crate) struct Reader<'a> {
    pub kind: u16,
    pub rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], BusError> {
        let (front, rest) = self.rest.split_first_chunk().ok_or(BusError::Truncated(self.kind))?;
        self.rest = rest;
        Ok(*front)
    }

    pub fn u16(&mut self) -> Result<u16, BusError> {
        Ok(u16::from_le_bytes(self.take()?))
    }

    pub fn u32(&mut self) -> Result<u32, BusError> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    pub fn u64(&mut self) -> Result<u64, BusError> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    pub fn conn(&mut self) -> Result<ConnId, BusError> {
        Ok(ConnId::from_u64(self.u64()?))
    }

    pub fn text(&self, field: &'static str) -> Result<&'a str, BusError> {
        core::str::from_utf8(self.rest).map_err(|_| self.bad(field))
    }

    pub const fn bad(&self, field: &'static str) -> BusError {
        BusError::Field { kind: self.kind, field }
    }
}

/// Collects the fixed part of a record on the stack.
pub(crate) struct Fixed<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Fixed<N> {
    pub const fn new() -> Self {
        Self { bytes: [0; N], at: 0 }
    }

    pub fn put(mut self, field: &[u8]) -> Self {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
        self
    }

    pub fn u16(self, value: u16) -> Self {
        self.put(&value.to_le_bytes())
    }

    pub fn u32(self, value: u32) -> Self {
        self.put(&value.to_le_bytes())
    }

    pub fn u64(self, value: u64) -> Self {
        self.put(&value.to_le_bytes())
    }

    pub fn conn(self, conn: ConnId) -> Self {
        self.u64(conn.to_u64())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.at]
    }
}
