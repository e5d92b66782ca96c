//! What was promised against what arrived. It trusts neither the node's numbers nor the client's judgement: a
//! message is known by the tag in its payload.
//!
//! ```text
//!  senders' books: Push ... ──┐
//!                             ├──▶ judge ──▶ Verdict: lost, duplicated, reordered, reused, ...
//!  phones' books: Heard ... ──┘
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use wire::{STREAM_INBOX, Seq, StreamId};

use super::push::{Promise, Push, Tag};

/// Examples kept of each fault.
const EXAMPLES_MAX: usize = 5;

/// A number of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Of which incarnation.
    pub epoch: u64,
    /// Of which stream.
    pub stream: StreamId,
    /// Its sequence number.
    pub seq: Seq,
}

/// What one phone has seen.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// What its session took for new, in its order. No tag: damaged.
    pub taken: Vec<(Place, Option<Tag>)>,
    /// What was on the wire at each place, also where the session dropped it, and whatever else was there.
    pub seen: BTreeMap<Place, Option<Tag>>,
    /// Places at which something else had been before.
    pub reused: Vec<Place>,
    /// Times it was told of another epoch.
    pub epoch_changes: u64,
    /// Times it was sent back behind what it has.
    pub rewound: u64,
    /// Numbers that were missing without a Gap.
    pub holes: u64,
    /// Numbers that a Gap took away.
    pub gaps: u64,
    /// Messages its session dropped, as they came again.
    pub suppressed: u64,
    /// Times it was told to stay away for good, or spoken to in a way the protocol forbids.
    pub affronts: Vec<String>,
}

impl Heard {
    /// Enters what came over the wire, before anybody judges it.
    pub fn see(&mut self, place: Place, tag: Option<Tag>) {
        if self.seen.insert(place, tag).is_some_and(|before| before != tag) {
            self.reused.push(place);
        }
    }
}

/// What the books say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Deliveries that accepted messages owe.
    pub accepted: u64,
    /// Of those, delivered.
    pub delivered: u64,
    /// Deliveries of messages that may be replaced, recalled or over.
    pub delivered_beside: u64,
    /// Faults by name; none that did not happen.
    pub faults: BTreeMap<&'static str, u64>,
    /// Some of each.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Enters one more.
    pub fn fault(&mut self, name: &'static str, example: impl FnOnce() -> String) {
        let count = self.faults.entry(name).or_default();
        *count += 1;
        if *count <= EXAMPLES_MAX as u64 {
            self.examples.push(format!("{name}: {}", example()));
        }
    }

    /// How often this fault happened.
    pub fn count(&self, name: &str) -> u64 {
        self.faults.get(name).copied().unwrap_or(0)
    }
}

/// Holds the senders' books against the phones'.
pub fn judge(pushes: &[Push], phones: &[Heard]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut by_tag: HashMap<Tag, Vec<&Push>> = HashMap::with_capacity(pushes.len());
    for push in pushes {
        by_tag.entry(push.tag).or_default().push(push);
    }
    let mut shared = HashMap::new();
    let mut streams = HashMap::new();
    let mut got: HashSet<(u16, Tag)> = HashSet::new();
    for (phone, heard) in (0..).zip(phones) {
        for (place, tag) in &heard.taken {
            let Some((tag, push)) = tag.and_then(|tag| Some((tag, addressed(by_tag.get(&tag)?, phone))))
            else {
                verdict.fault("corrupted", || format!("phone {phone} at {place:?}"));
                continue;
            };
            let is_right = push.is_some_and(|push| {
                push.audience.is_on(place.stream) && is_own_stream(&mut streams, push, *place)
            });
            if !is_right {
                verdict.fault("misdelivered", || format!("{tag:?} to phone {phone} at {place:?}"));
            } else if !got.insert((phone, tag)) {
                verdict.fault("duplicated", || format!("{tag:?} to phone {phone}, again at {place:?}"));
            } else if push.is_some_and(|push| push.promise == Promise::Once) {
                verdict.delivered += 1;
            } else {
                verdict.delivered_beside += 1;
            }
        }
        order(&mut verdict, &by_tag, phone, heard);
        numbers(&mut verdict, &mut shared, phone, heard);
    }
    owed(&mut verdict, pushes, phones.len(), &got);
    verdict
}

/// The message of this content that is for this phone.
fn addressed<'a>(pushes: &[&'a Push], phone: u16) -> Option<&'a Push> {
    pushes.iter().find(|push| push.audience.has(phone)).copied()
}

/// Whether the topic has come under this number before, or under none.
fn is_own_stream(streams: &mut HashMap<(u64, Option<usize>), StreamId>, push: &Push, place: Place) -> bool {
    let topic = match push.audience {
        super::push::Audience::Topic(topic, _) => Some(topic),
        _ => return true,
    };
    *streams.entry((place.epoch, topic)).or_insert(place.stream) == place.stream
}

/// Within a stream numbers rise, and so do the messages of one sender.
fn order(verdict: &mut Verdict, by_tag: &HashMap<Tag, Vec<&Push>>, phone: u16, heard: &Heard) {
    let mut last_seq: BTreeMap<(u64, StreamId), Seq> = BTreeMap::new();
    let mut last_tag: BTreeMap<(StreamId, u16), Tag> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (place, tag) in &heard.taken {
        let last = last_seq.entry((place.epoch, place.stream)).or_default();
        if place.seq != 0 && place.seq <= *last {
            verdict.fault("reordered", || format!("phone {phone}: {place:?} behind {last}"));
        }
        *last = place.seq.max(*last);
        let Some(tag) = tag.filter(|tag| taken.insert(*tag)) else { continue };
        let push = by_tag.get(&tag).and_then(|pushes| addressed(pushes, phone));
        if !push.is_some_and(|push| push.is_ordered) {
            continue;
        }
        let last = last_tag.entry((place.stream, tag.sender())).or_insert(tag);
        if tag < *last {
            verdict.fault("reordered", || format!("phone {phone}: {tag:?} behind {last:?} at {place:?}"));
        }
        *last = tag.max(*last);
    }
}

/// A number has one message for good, in a stream of many for all of them.
fn numbers(verdict: &mut Verdict, shared: &mut HashMap<Place, Option<Tag>>, phone: u16, heard: &Heard) {
    for place in &heard.reused {
        verdict.fault("reused", || format!("phone {phone} finds another message at {place:?}"));
    }
    for (place, tag) in heard.seen.iter().filter(|(place, tag)| place.stream != STREAM_INBOX && tag.is_some())
    {
        let first = *shared.entry(*place).or_insert(*tag);
        if first != *tag {
            verdict
                .fault("reused", || format!("phone {phone} has {tag:?} at {place:?}, another one {first:?}"));
        }
    }
    for _ in 0..heard.epoch_changes {
        verdict.fault("epoch_changes", || format!("phone {phone}"));
    }
    for _ in 0..heard.rewound {
        verdict.fault("rewound", || format!("phone {phone}"));
    }
    for affront in &heard.affronts {
        verdict.fault("affronts", || format!("phone {phone}: {affront}"));
    }
}

/// What accepted messages owe.
fn owed(verdict: &mut Verdict, pushes: &[Push], phones: usize, got: &HashSet<(u16, Tag)>) {
    let mut ids = HashSet::new();
    for push in pushes.iter().filter(|push| push.promise == Promise::Once) {
        verdict.accepted += push.audience.count(phones) as u64;
        if !ids.insert(&push.id) {
            verdict.fault("ids_reused", || format!("{} is the id of {:?} too", push.id, push.tag));
        }
        for phone in (0..phones as u16).filter(|phone| push.audience.has(*phone)) {
            if !got.contains(&(phone, push.tag)) {
                verdict.fault("lost", || format!("{:?}, id {}, to phone {phone}", push.tag, push.id));
            }
        }
    }
}

#[cfg(test)]
mod tests;
