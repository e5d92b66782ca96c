//! A device as the protocol wants it: one position for each stream, and no patience with a server that skips.

use bus::Offer;
use std::collections::{BTreeMap, BTreeSet};
use wire::{
    AppId, ConnId, Decoded, DeviceId, Epoch, Frame, Limits, Position, Positions, Push, STREAM_ALL,
    STREAM_INBOX, Seq, StreamId, Subscription, SubscriptionStatus, decode,
};

/// What a device says after its login.
#[derive(Clone, Debug)]
pub enum Said {
    /// An acknowledgement; without positions it answers a Sync.
    Ack(Vec<Position>),
    /// A wish to be a member of a topic, or no longer one.
    Topic(&'static str, bool),
}

/// A message that reached the device's app, or reached the device again.
#[derive(Debug)]
pub struct Got {
    pub epoch: Epoch,
    pub stream: StreamId,
    pub seq: Seq,
    pub payload: Vec<u8>,
    /// At or below the device's position: dropped, as the protocol wants.
    pub again: bool,
}

/// A device.
pub struct Device {
    pub id: DeviceId,
    pub app: AppId,
    pub epoch: Epoch,
    pub positions: BTreeMap<StreamId, Seq>,
    names: BTreeMap<String, StreamId>,
    /// Where the server said on this connection that the device stands; `None` once a Sync has said that what was
    /// on the way from an earlier dispatcher may come again.
    told: Option<BTreeMap<StreamId, Seq>>,
    /// Streams whose position the server has yet to hear of.
    pub unacknowledged: BTreeSet<StreamId>,
    /// The connection that the device believes in.
    pub at: Option<(usize, ConnId)>,
    /// The Welcome came.
    pub welcomed: bool,
    pub revoked: bool,
    /// A Sync began another epoch: it has to ask for its topics again, by their names, which none here does.
    pub must_ask: bool,
    pub gaps: u64,
    pub syncs: u64,
}

impl Device {
    pub fn new(id: DeviceId, app: AppId) -> Self {
        Self {
            id,
            app,
            epoch: Epoch(0),
            positions: start(),
            names: BTreeMap::new(),
            told: None,
            unacknowledged: BTreeSet::new(),
            at: None,
            welcomed: false,
            revoked: false,
            must_ask: false,
            gaps: 0,
            syncs: 0,
        }
    }

    /// Whether it knows how a topic of its is called.
    pub fn has_name(&self, stream: StreamId) -> bool {
        self.names.values().any(|named| *named == stream)
    }

    /// Where it stands, as a Hello or a full Ack says it.
    pub fn standing(&self) -> Vec<Position> {
        self.positions.iter().map(|(stream, seq)| Position { stream: *stream, seq: *seq }).collect()
    }

    /// Takes bytes of its connection; says what arrived and what has to be answered.
    pub fn read(&mut self, mut bytes: &[u8], got: &mut Vec<Got>) -> Vec<Said> {
        let mut said = Vec::new();
        while !bytes.is_empty() {
            let decoded = decode(bytes, Limits::FROM_SERVER).expect("frames of the dispatcher are sound");
            let Decoded::Frame(frame, used) = decoded else { panic!("a record holds whole frames") };
            bytes = &bytes[used..];
            match frame {
                Frame::Welcome(w) => {
                    self.welcomed = true;
                    self.must_ask &= w.epoch == self.epoch;
                    self.told = Some(w.positions.iter().map(|p| (p.stream, p.seq)).collect());
                    self.stand(w.epoch, w.positions);
                }
                Frame::Sync(s) => {
                    self.must_ask |= s.epoch != self.epoch;
                    self.told = None;
                    self.stand(s.epoch, s.positions);
                    self.syncs += 1;
                    said.push(Said::Ack(Vec::new()));
                }
                Frame::Gap { stream, seq } => {
                    self.gaps += 1;
                    self.move_to(stream, seq);
                }
                Frame::Subscription(s) => self.subscription(s),
                Frame::Push(push) => self.push(push, got),
                other => panic!("a device is not sent {other:?}"),
            }
            assert!(self.welcomed, "the Welcome comes first");
        }
        said
    }

    fn push(&mut self, push: Push<'_>, got: &mut Vec<Got>) {
        let Push { stream, seq, payload } = push;
        let mut again = false;
        if seq > 0 {
            let Some(position) = self.positions.get_mut(&stream) else {
                panic!("a push of stream {stream}, which {} does not know", self.id)
            };
            assert!(seq <= *position + 1, "a hole in stream {stream}: {seq} after {position}");
            let told = self.told.as_ref().and_then(|told| told.get(&stream)).copied().unwrap_or(0);
            assert!(seq > told, "number {seq} of stream {stream} came, after it was told {told}");
            again = seq <= *position;
            *position = seq.max(*position);
            self.unacknowledged.insert(stream);
        }
        got.push(Got { epoch: self.epoch, stream, seq, payload: payload.to_vec(), again });
    }

    fn subscription(&mut self, s: Subscription<'_>) {
        match s.status {
            SubscriptionStatus::Member => {
                self.names.insert(s.topic.to_owned(), s.stream);
                if let (Some(told), false) = (&mut self.told, self.positions.contains_key(&s.stream)) {
                    told.insert(s.stream, s.seq);
                }
                self.move_to(s.stream, s.seq);
            }
            SubscriptionStatus::NotMember => {
                if let Some(stream) = self.names.remove(s.topic) {
                    self.positions.remove(&stream);
                    if let Some(told) = &mut self.told {
                        told.remove(&stream);
                    }
                    self.unacknowledged.remove(&stream);
                }
            }
            other => panic!("no subscription of the simulation is refused, but one was: {other:?}"),
        }
    }

    fn move_to(&mut self, stream: StreamId, seq: Seq) {
        let position = self.positions.entry(stream).or_insert(seq);
        *position = seq.max(*position);
    }

    /// What a Welcome or a Sync says; only another epoch makes it forget where it stood.
    fn stand(&mut self, epoch: Epoch, positions: Positions<'_>) {
        if epoch == self.epoch {
            return positions.iter().for_each(|p| self.move_to(p.stream, p.seq));
        }
        self.epoch = epoch;
        self.positions = start();
        self.names.clear();
        self.unacknowledged.clear();
        self.positions.extend(positions.iter().map(|p| (p.stream, p.seq)));
    }
}

fn start() -> BTreeMap<StreamId, Seq> {
    BTreeMap::from([(STREAM_INBOX, 0), (STREAM_ALL, 0)])
}

/// What a model worker says of itself.
pub fn offer(worker: usize) -> Offer {
    Offer { worker: worker as u16, pid: 0, connections_max: 1000 }
}
