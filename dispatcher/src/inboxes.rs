//! The incoming halves of all links, and which of them have to be looked at.
//!
//! ```text
//!            its bell rings ──▶ awake ◀── a new link
//!                                 │ nothing is left in its ring, and it says so there (`prepare_sleep`)
//!                                 ▼
//!                              asleep: no turn looks at it
//! ```
//!
//! A link that sleeps has told its worker to ring; it stays asleep until the bell does. So a turn costs what
//! its busy links cost, however many others there are.

use crate::config::EMPTY_TURNS_MAX;
use crate::linkset::LinkSet;
use bus::Guard;
use shmring::Consumer;

/// The incoming half of a link, which the event loop reads.
pub struct Inbox {
    /// The ring from the worker.
    pub rx: Consumer,
    /// What the event loop watches.
    pub guard: Guard,
    /// Turns since the ring had anything.
    empty_turns: u32,
}

impl Inbox {
    /// The reading end of a link that was just made.
    pub fn new(rx: Consumer, guard: Guard) -> Self {
        Self { rx, guard, empty_turns: 0 }
    }
}

/// All of them, by link number.
#[derive(Default)]
pub struct Inboxes {
    slots: Vec<Option<Inbox>>,
    awake: LinkSet,
}

impl Inboxes {
    /// A new link, awake.
    pub fn add(&mut self, number: u16, inbox: Inbox) {
        let at = usize::from(number);
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, || None);
        }
        self.slots[at] = Some(inbox);
        self.awake.insert(number);
    }

    /// Drops a link's descriptors, which takes them out of epoll, and tells the worker if it lives.
    pub fn drop_link(&mut self, number: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(number)) {
            *slot = None;
        }
        self.awake.remove(number);
    }

    /// The link with this number.
    pub fn get(&mut self, number: u16) -> Option<&mut Inbox> {
        self.slots.get_mut(usize::from(number))?.as_mut()
    }

    /// A bell rang: the link is awake. One that rang late finds it so, or finds nothing.
    pub fn rung(&mut self, number: u16) {
        let Some(inbox) = self.get(number) else { return };
        inbox.rx.wake();
        inbox.empty_turns = 0;
        self.awake.insert(number);
    }

    /// The links to look at in this turn, into `round`.
    pub fn awake(&self, round: &mut Vec<u16>) {
        round.clear();
        round.extend(self.awake.iter());
    }

    /// Notes whether a link gave anything in this turn; true when more is there.
    pub fn looked_at(&mut self, number: u16, was_empty: bool) -> bool {
        let Some(inbox) = self.get(number) else { return false };
        inbox.empty_turns = if was_empty { inbox.empty_turns.saturating_add(1) } else { 0 };
        inbox.rx.backlog_bytes() > 0
    }

    /// Puts links with an empty ring to sleep: all of them where the hub is about to block, else those that have
    /// been empty for a while. What `is_paused` picks is neither put to sleep nor waited for. True when the hub
    /// may block: whatever comes rings.
    pub fn sleep(&mut self, will_block: bool, is_paused: impl Fn(u16) -> bool) -> bool {
        let (slots, mut may_block) = (&mut self.slots, true);
        self.awake.retain(|number| {
            let Some(inbox) = &mut slots[usize::from(number)] else { return false };
            if is_paused(number) {
                return true;
            }
            if !will_block && inbox.empty_turns < EMPTY_TURNS_MAX {
                return true;
            }
            // A poisoned ring is not empty: the turn will see it and drop the link.
            let sleeps = inbox.rx.prepare_sleep().unwrap_or(false);
            may_block &= sleeps;
            !sleeps
        });
        may_block
    }
}
