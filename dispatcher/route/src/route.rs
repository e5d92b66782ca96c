//! One device.

use wire::{AppId, ConnId, DeviceId, Seq};

/// Where a device is attached: which link to a worker, which connection there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The dispatcher's number of the link.
    pub link: u16,
    /// The connection in that worker.
    pub conn: ConnId,
}

const OFFLINE: u16 = u16::MAX;
const REVOKED: u16 = u16::MAX - 1;

/// What the dispatcher keeps of every device, attached or not.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    device: DeviceId,
    /// Of the present connection, or of the last; the younger of two has the higher number.
    pub session: u64,
    inbox_next: Seq,
    /// The low half of the position in the app's broadcast stream; the other half is that of its head.
    all_acked_low: u32,
    conn: ConnId,
    link: u16,
    app: AppId,
    /// How many sequence numbers of the inbox lie after the acknowledged position.
    unacked: u32,
    /// How many of those have not been sent on the present connection.
    unsent: u32,
}

const _: () = assert!(size_of::<Route>() <= 48, "a device's route must stay small");

impl Route {
    /// A device that was never seen; `all_acked` is where it starts in the broadcast stream.
    pub fn new(device: DeviceId, app: AppId, all_acked: Seq) -> Self {
        Self {
            device,
            session: 0,
            inbox_next: 1,
            all_acked_low: all_acked as u32,
            conn: ConnId::default(),
            link: OFFLINE,
            app,
            unacked: 0,
            unsent: 0,
        }
    }

    /// Who.
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// Of which app.
    pub const fn app(&self) -> AppId {
        self.app
    }

    /// Where it is attached, if it is.
    pub fn place(&self) -> Option<Place> {
        (self.link < REVOKED).then_some(Place { link: self.link, conn: self.conn })
    }

    /// Whether the device may never attach again.
    pub const fn is_revoked(&self) -> bool {
        self.link == REVOKED
    }

    /// Attaches: everything unacknowledged has yet to be sent on this connection.
    pub fn attach(&mut self, place: Place, session: u64) {
        (self.link, self.conn, self.session) = (place.link, place.conn, session);
        self.unsent = self.unacked;
    }

    /// Detaches.
    pub fn detach(&mut self) {
        self.link = OFFLINE;
        self.unsent = self.unacked;
    }

    /// Ends the device.
    pub fn revoke(&mut self) {
        self.link = REVOKED;
    }

    /// Takes the inbox's next sequence number.
    pub fn take_inbox_seq(&mut self) -> Seq {
        let seq = self.inbox_next;
        self.inbox_next += 1;
        self.unacked += 1;
        self.unsent += 1;
        seq
    }

    /// Sets the inbox to what an earlier dispatcher's store has of it.
    pub fn restore(&mut self, head: Seq, acked: Seq) {
        self.inbox_next = head + 1;
        self.unacked = (head - acked.min(head)) as u32;
        self.unsent = self.unacked;
    }

    /// Notes that the inbox's numbers up to `head` were given out before this dispatcher's time.
    pub fn raise_head(&mut self, head: Seq) {
        let more = (head + 1).saturating_sub(self.inbox_next);
        self.inbox_next += more;
        self.unacked += more as u32;
        self.unsent += more as u32;
    }

    /// Position up to which the device has acknowledged its inbox.
    pub const fn inbox_acked(&self) -> Seq {
        self.inbox_next - 1 - self.unacked as u64
    }

    /// Position up to which the inbox was sent on the present connection.
    pub const fn inbox_sent(&self) -> Seq {
        self.inbox_next - 1 - self.unsent as u64
    }

    /// The last sequence number given out.
    pub const fn inbox_head(&self) -> Seq {
        self.inbox_next - 1
    }

    /// Moves the acknowledged position forward, never back and never beyond the head; returns the range
    /// (old, new] that became acknowledged.
    pub fn ack_inbox(&mut self, seq: Seq) -> (Seq, Seq) {
        let old = self.inbox_acked();
        let new = seq.clamp(old, self.inbox_head());
        self.unacked -= (new - old) as u32;
        self.unsent = self.unsent.min(self.unacked);
        (old, new)
    }

    /// Notes that everything up to `seq` was sent.
    pub fn sent_inbox(&mut self, seq: Seq) {
        let sent = seq.clamp(self.inbox_sent(), self.inbox_head());
        self.unsent = (self.inbox_head() - sent) as u32;
    }

    /// How many more messages of the inbox may be sent now, within `window` unacknowledged ones.
    pub const fn inbox_allowance(&self, window: u32) -> u32 {
        let in_flight = self.unacked - self.unsent;
        let room = window.saturating_sub(in_flight);
        if room < self.unsent { room } else { self.unsent }
    }

    /// How many messages wait for the device's acknowledgement.
    pub const fn inbox_unacked(&self) -> u32 {
        self.unacked
    }

    /// Position in the app's broadcast stream, whose head is `head`.
    pub const fn all_acked(&self, head: Seq) -> Seq {
        head - (head as u32).wrapping_sub(self.all_acked_low) as u64
    }

    /// Moves the broadcast position forward, never back and never beyond `head`; returns the range (old, new].
    pub fn ack_all(&mut self, seq: Seq, head: Seq) -> (Seq, Seq) {
        let old = self.all_acked(head);
        let new = seq.clamp(old, head);
        self.all_acked_low = new as u32;
        (old, new)
    }
}
