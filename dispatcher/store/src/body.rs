//! Message bodies, counted once however many streams refer to them.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::{Rc, Weak};

#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    /// Entries kept by a store that refer to it.
    kept: Cell<u32>,
    /// The number under which it is kept by itself; 0 is none.
    shared: Cell<u64>,
}

/// Bodies are equal by their bytes, whoever keeps them.
impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Held {}

/// A message body. Cloning shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(Rc<Held>);

/// A body that may be gone.
#[derive(Clone, Debug)]
pub struct WeakBody(Weak<Held>);

impl WeakBody {
    /// The body, if anybody still has it.
    pub fn get(&self) -> Option<Body> {
        self.0.upgrade().map(Body)
    }
}

impl Body {
    /// A body that is kept by itself under this number.
    pub(crate) fn numbered(bytes: Vec<u8>, number: u64) -> Self {
        Self(Rc::new(Held { bytes, kept: Cell::new(0), shared: Cell::new(number) }))
    }

    /// The number under which it is kept by itself, if it is.
    pub(crate) fn shared(&self) -> Option<u64> {
        Some(self.0.shared.get()).filter(|number| *number != 0)
    }

    /// Keeps it by itself from now on.
    pub(crate) fn share(&self, number: u64) {
        self.0.shared.set(number);
    }

    /// A reference that does not keep it.
    pub(crate) fn weak(&self) -> WeakBody {
        WeakBody(Rc::downgrade(&self.0))
    }

    /// Entries that keep it.
    pub(crate) fn kept(&self) -> u32 {
        self.0.kept.get()
    }

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
        Self::numbered(bytes, 0)
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_equal_by_their_bytes() {
        let (one, other) = (Body::from(vec![1]), Body::from(vec![1]));
        one.keep();
        one.share(7);
        assert_eq!(one, other);
        assert_ne!(one, Body::from(vec![2]));
    }
}
