//! A phone in one cache line.

/// Nobody, in the lists.
pub const NOBODY: u32 = u32::MAX;

/// Where a phone is in its connection's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum State {
    /// It has no connection and wants none.
    #[default]
    Away,
    /// It comes back when `rto_due` is over.
    Waiting,
    /// It stands in line for a connection.
    InLine,
    /// Its SYN is under way.
    SynSent,
    /// Established; no Welcome yet.
    Greeting,
    /// Logged in.
    Attached,
    /// Told to go, or has sent its FIN: it waits for the server's.
    Leaving,
}

impl State {
    /// Whether there is a connection on the server's side.
    pub fn is_established(self) -> bool {
        matches!(self, Self::Greeting | Self::Attached | Self::Leaving)
    }
}

/// What of the phone's is not acknowledged yet. It is made again from the block when it is sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Sent {
    /// Nothing.
    #[default]
    Nothing,
    /// The SYN.
    Syn,
    /// The Hello, with `sent_all` and `sent_inbox` as its positions.
    Hello,
    /// An Ack of `sent_all` and `sent_inbox`.
    Ack,
    /// A Ping.
    Ping,
    /// The answer to a Sync: an Ack of nothing.
    Synced,
    /// The FIN.
    Fin,
}

/// A phone. Times are milliseconds of the queue's clock.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct Tcb {
    /// The first byte that the server has not acknowledged.
    pub snd_una: u32,
    /// The next byte to send.
    pub snd_nxt: u32,
    /// The next byte expected.
    pub rcv_nxt: u32,
    /// When what is under way is sent again; when a phone that waits comes back.
    pub rto_due: u32,
    /// When an acknowledgement of messages leaves at the latest; in [`State::Greeting`], when it gives up.
    pub ack_due: u32,
    /// When the next Ping leaves, or its Pong is missed; before the Welcome, when the connection was begun.
    pub beat_due: u32,
    /// Neighbours in a list of the wheel.
    pub next: u32,
    /// See `next`.
    pub previous: u32,
    /// The list, as its tick plus one; 0: none.
    pub armed: u32,
    /// Position in the stream to all.
    pub all_seq: u32,
    /// Position in the phone's own stream.
    pub inbox_seq: u32,
    /// What the last Hello or Ack said.
    pub sent_all: u32,
    /// See `sent_all`.
    pub sent_inbox: u32,
    /// When a packet last passed, either way: the NAT's view.
    pub active: u32,
    /// See [`State`].
    pub state: State,
    /// See [`Sent`].
    pub sent: Sent,
    /// Times it was sent again; between connections, attempts that failed.
    pub tries: u8,
    /// Which of its ports it has.
    pub life: u8,
    /// Messages that are not acknowledged yet.
    pub unacked: u8,
    /// [`ACK_OWED`] and those after it.
    pub flags: u8,
    /// Answers to Syncs that are owed.
    pub syncs: u8,
}

const _: () = assert!(size_of::<Tcb>() == 64, "one cache line a connection");

/// An acknowledgement of messages is owed.
pub const ACK_OWED: u8 = 1;
/// A Ping is owed.
pub const PING_OWED: u8 = 2;
/// A Ping was sent and its Pong has not come.
pub const PONG_AWAITED: u8 = 4;
/// Half a frame lies aside.
pub const PARTIAL: u8 = 8;
/// The phone does not read: its window is zero.
pub const FROZEN: u8 = 16;
/// The path of its earlier lives is dead: nobody answers there.
pub const SILENT: u8 = 32;
/// It knows positions of the present epoch.
pub const HAS_POSITIONS: u8 = 64;
/// The TCP below has to be told what arrived.
pub const TCP_ACK_OWED: u8 = 128;

impl Tcb {
    /// The next port.
    pub fn next_life(&mut self) {
        self.life = (self.life + 1) % super::address::LIVES;
    }

    /// Whether all these flags are set.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Sets flags.
    pub fn set(&mut self, flags: u8) {
        self.flags |= flags;
    }

    /// Clears flags.
    pub fn clear(&mut self, flags: u8) {
        self.flags &= !flags;
    }
}
