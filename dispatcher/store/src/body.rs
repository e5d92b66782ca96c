//! Message bodies, counted once however many streams refer to them.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;

#[derive(Debug, PartialEq, Eq)]
struct Shared {
    bytes: Vec<u8>,
    /// Entries kept by a store that refer to it.
    kept: Cell<u32>,
}

/// A message body. Cloning shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(Rc<Shared>);

impl Body {
    /// Counts an entry that keeps it; true for the first.
    pub(crate) fn keep(&self) -> bool {
        self.0.kept.replace(self.0.kept.get() + 1) == 0
    }

    /// Counts an entry that lets it go; true for the last.
    pub(crate) fn let_go(&self) -> bool {
        self.0.kept.replace(self.0.kept.get() - 1) == 1
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Rc::new(Shared { bytes, kept: Cell::new(0) }))
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}
