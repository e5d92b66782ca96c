use super::*;
use proptest::prelude::*;
use std::collections::{HashMap as Map, HashSet};

const APP: AppId = AppId(1);

/// Serves up to `most` members and says who got which bytes, write by write.
fn serve(topics: &mut Topics, most: usize) -> Vec<(u32, Vec<u8>)> {
    let mut writes = Vec::new();
    while writes.len() < most
        && let Some(frames) = topics.begin_slice()
    {
        while writes.len() < most
            && let Some(owed) = topics.next_owed(&frames)
        {
            writes.push((owed.slot, frames[owed.start..owed.end].to_vec()));
        }
        topics.end_slice(frames);
    }
    writes
}

/// Walks to the end and collects, for each slot, the bytes it got and in how many writes.
fn walk_all(topics: &mut Topics) -> Map<u32, (Vec<u8>, usize)> {
    let mut got: Map<u32, (Vec<u8>, usize)> = Map::new();
    for (slot, bytes) in serve(topics, usize::MAX) {
        let entry = got.entry(slot).or_default();
        entry.0.extend_from_slice(&bytes);
        entry.1 += 1;
    }
    assert!(!topics.is_busy() && topics.waiting_bytes == 0, "nothing left");
    got
}

#[test]
fn what_waits_leaves_in_one_write_each() {
    let mut topics = Topics::new(10);
    let mut chains = [Memberships::NONE; 3];
    for (slot, chain) in chains.iter_mut().enumerate() {
        topics.join(APP, 1, slot as u32, chain);
    }
    for frame in [b"aa", b"bb", b"cc"] {
        topics.publish(APP, 1, frame);
    }
    let got = walk_all(&mut topics);
    assert_eq!(got.len(), 3);
    assert!(got.values().all(|(bytes, writes)| bytes == b"aabbcc" && *writes == 1), "{got:?}");
}

#[test]
fn a_frame_that_arrives_during_a_walk_rides_along() {
    let mut topics = Topics::new(10);
    let mut chains = [Memberships::NONE; 4];
    for (slot, chain) in chains.iter_mut().enumerate() {
        topics.join(APP, 1, slot as u32, chain);
    }
    topics.publish(APP, 1, b"a");
    assert_eq!(serve(&mut topics, 2), [(0, b"a".to_vec()), (1, b"a".to_vec())]);
    topics.publish(APP, 1, b"b");
    let rest = serve(&mut topics, usize::MAX);
    let expected = [(2, &b"ab"[..]), (3, b"ab"), (0, b"b"), (1, b"b")];
    assert_eq!(rest, expected.map(|(slot, bytes)| (slot, bytes.to_vec())), "six writes instead of eight");
}

#[test]
fn members_of_an_earlier_link_get_what_came_over_it_and_no_more() {
    let mut topics = Topics::new(10);
    let mut chains = [Memberships::NONE; 3];
    topics.join(APP, 1, 0, &mut chains[0]);
    topics.join(APP, 1, 1, &mut chains[1]);
    topics.publish(APP, 1, b"old");
    topics.fence();
    topics.leave_all(APP, &mut chains[1]);
    topics.join(APP, 1, 1, &mut chains[1]);
    topics.join(APP, 1, 2, &mut chains[2]);
    topics.publish(APP, 1, b"new");
    let got = walk_all(&mut topics);
    assert_eq!([0, 1, 2].map(|slot| &got[&slot].0[..]), [&b"old"[..], b"new", b"new"]);
}

#[test]
fn numbers_that_run_out_begin_anew_and_nobody_notices() {
    let mut topics = Topics::new(10);
    topics.number = u32::MAX - 2;
    let mut of = [Memberships::NONE; 4];
    topics.join(APP, 1, 0, &mut of[0]);
    topics.fence();
    topics.join(APP, 1, 1, &mut of[1]);
    topics.publish(APP, 1, b"a");
    topics.join(APP, 1, 2, &mut of[2]);
    topics.publish(APP, 1, b"b");
    topics.join(APP, 1, 3, &mut of[3]);
    topics.publish(APP, 1, b"c");
    assert!(topics.number < 10, "{} is low again", topics.number);
    topics.join(APP, 1, 0, &mut of[0]);
    topics.publish(APP, 1, b"d");
    let got = walk_all(&mut topics);
    assert_eq!([0, 1, 2, 3].map(|slot| &got[&slot].0[..]), [&b"d"[..], b"abcd", b"bcd", b"cd"]);
}

#[test]
fn topics_take_turns() {
    let mut topics = Topics::new(10);
    let mut chains = [Memberships::NONE; 3];
    for (slot, chain) in chains.iter_mut().enumerate() {
        topics.join(APP, 1, slot as u32, chain);
        topics.join(APP, 2, slot as u32, chain);
    }
    topics.publish(APP, 1, b"a");
    topics.publish(APP, 2, b"b");
    let order: Vec<Vec<u8>> = (0..6).flat_map(|_| serve(&mut topics, 1)).map(|(_, bytes)| bytes).collect();
    assert_eq!(order.concat(), b"ababab");
}

#[test]
fn a_member_gets_what_was_published_after_it_joined() {
    let mut topics = Topics::new(10);
    let mut chains = [Memberships::NONE; 2];
    topics.join(APP, 1, 0, &mut chains[0]);
    topics.publish(APP, 1, b"a");
    topics.join(APP, 1, 1, &mut chains[1]);
    topics.publish(APP, 1, b"b");
    let got = walk_all(&mut topics);
    assert_eq!((&got[&0].0[..], &got[&1].0[..]), (&b"ab"[..], &b"b"[..]));
}

#[test]
fn a_walk_carries_a_bounded_number_of_bytes_but_at_least_one_frame() {
    let mut topics = Topics::new(1);
    let mut chain = Memberships::NONE;
    topics.join(APP, 1, 0, &mut chain);
    let large = vec![7; limits::FANOUT_WALK_BYTES_MAX + 1];
    for frame in [&large[..], &[1; 9000], &[2; 9000]] {
        topics.publish(APP, 1, frame);
    }
    let got = walk_all(&mut topics);
    assert_eq!((got[&0].0.len(), got[&0].1), (large.len() + 18_000, 3), "one walk for each");
    assert!(!topics.is_full() && topics.waiting_frames() == 0);
}

#[test]
fn topics_without_members_are_forgotten() {
    let mut topics = Topics::new(4);
    let mut chain = Memberships::NONE;
    for stream in 0..100 {
        topics.join(APP, stream, 0, &mut chain);
        topics.publish(APP, stream, b"x");
        topics.leave(APP, stream, &mut chain);
    }
    walk_all(&mut topics);
    assert_eq!((topics.index.len(), topics.topics.len(), topics.memberships.len()), (0, 0, 0));
}

#[test]
fn a_stream_of_many_gets_its_room_at_once_and_gives_it_back() {
    const MEMBERS_MAX: u32 = 16_000;
    let mut topics = Topics::new(MEMBERS_MAX as usize);
    let mut chains = vec![Memberships::NONE; MEMBERS_MAX as usize];
    let mut sizes = HashSet::new();
    for (slot, chain) in chains.iter_mut().enumerate() {
        topics.join(APP, 1, slot as u32, chain);
        sizes.insert(topics.topics[0].round.bytes());
    }
    let least = chains.len() * 8;
    assert!(topics.topics[0].round.bytes() < least + least / 16, "hardly more than it takes");
    assert!(sizes.len() < 40, "moved {} times", sizes.len());
    assert!(!sizes.iter().any(|size| (least / 8..least).contains(size)), "a large one moves once");
    chains.iter_mut().for_each(|chain| topics.leave_all(APP, chain));
    topics.release();
    assert_eq!((topics.memberships.capacity(), topics.spare.capacity()), (0, 0));
    topics.reserve();
    assert!(topics.memberships.capacity() >= chains.len());
}

#[derive(Clone, Debug)]
enum Act {
    Join(u32, StreamId),
    Leave(u32, StreamId),
    LeaveAll(u32),
    Publish(StreamId),
    Fence,
    Renumber,
    GiveBack,
    Serve(usize),
}

fn any_act() -> impl Strategy<Value = Act> {
    let (slot, stream) = (0..12u32, 0..3u32);
    prop_oneof![
        3 => (slot.clone(), stream.clone()).prop_map(|(s, t)| Act::Join(s, t)),
        2 => (slot.clone(), stream.clone()).prop_map(|(s, t)| Act::Leave(s, t)),
        1 => slot.prop_map(Act::LeaveAll),
        4 => stream.prop_map(Act::Publish),
        1 => Just(Act::Fence),
        1 => Just(Act::Renumber),
        1 => Just(Act::GiveBack),
        4 => (1..9usize).prop_map(Act::Serve),
    ]
}

/// Each life of a membership is one reader; what it is owed is what was published while it lasted.
#[derive(Default)]
struct Model {
    lives: Map<(u32, StreamId), usize>,
    owed: Vec<Vec<u16>>,
    got: Vec<Vec<u16>>,
    ended: HashSet<usize>,
    /// Lives of an earlier link: owed nothing more.
    fenced: HashSet<usize>,
}

proptest! {
    /// Members come and go in the middle of walks; whoever stays gets every frame once and in order, whoever
    /// leaves gets a beginning of it, and nobody gets what is not his.
    #[test]
    fn every_member_gets_its_frames_once_in_order(acts in prop::collection::vec(any_act(), 1..150)) {
        let (mut topics, mut chains, mut model) = (Topics::new(64), [Memberships::NONE; 12], Model::default());
        let mut number = 0u16;
        let give = |topics: &mut Topics, model: &mut Model, most: usize| {
            for (slot, bytes) in serve(topics, most) {
                let numbers: Vec<u16> = bytes.chunks(4).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
                let stream = StreamId::from(bytes[2]);
                let life = model.lives[&(slot, stream)];
                model.got[life].extend(numbers);
            }
        };
        for act in acts {
            match act {
                Act::Join(slot, stream) => {
                    topics.join(APP, stream, slot, &mut chains[slot as usize]);
                    let known = model.lives.get(&(slot, stream)).copied();
                    if known.is_none_or(|life| model.fenced.contains(&life)) {
                        model.ended.extend(known);
                        model.lives.insert((slot, stream), model.owed.len());
                        model.owed.push(Vec::new());
                        model.got.push(Vec::new());
                    }
                }
                Act::Leave(slot, stream) => {
                    topics.leave(APP, stream, &mut chains[slot as usize]);
                    model.ended.extend(model.lives.remove(&(slot, stream)));
                }
                Act::LeaveAll(slot) => {
                    topics.leave_all(APP, &mut chains[slot as usize]);
                    for stream in 0..3 {
                        model.ended.extend(model.lives.remove(&(slot, stream)));
                    }
                }
                Act::Publish(stream) => {
                    number += 1;
                    let [low, high] = number.to_le_bytes();
                    topics.publish(APP, stream, &[low, high, stream as u8, 0]);
                    for ((_, s), life) in &model.lives {
                        if *s == stream && !model.fenced.contains(life) {
                            model.owed[*life].push(number);
                        }
                    }
                }
                Act::Fence => {
                    topics.fence();
                    model.fenced.extend(model.lives.values());
                }
                // Nobody notices.
                Act::Renumber => topics.renumber(),
                // Only of empty tables; else it must change nothing.
                Act::GiveBack => {
                    topics.release();
                    topics.reserve();
                }
                Act::Serve(most) => give(&mut topics, &mut model, most),
            }
        }
        for _ in 0..number as usize * chains.len() {
            give(&mut topics, &mut model, 1);
        }
        prop_assert!(!topics.is_busy(), "a frame takes one write a member at the most");
        for (life, (owed, got)) in model.owed.iter().zip(&model.got).enumerate() {
            if model.ended.contains(&life) {
                prop_assert!(owed.starts_with(got), "left: owed {owed:?} got {got:?}");
            } else {
                prop_assert_eq!(owed, got);
            }
        }
        let chained = model.lives.keys().filter(|(_, stream)| *stream != STREAM_ALL).count();
        prop_assert_eq!(topics.memberships.len(), chained);
        let live: u32 = topics.topics.iter().map(|(_, topic)| topic.round.live()).sum();
        prop_assert_eq!(live as usize, model.lives.len());
        for (slot, of) in chains.iter().enumerate() {
            let streams: HashSet<StreamId> = topics.streams(*of).collect();
            let known = model.lives.keys().filter(|(s, _)| *s == slot as u32).map(|(_, stream)| *stream);
            prop_assert_eq!(streams, known.collect::<HashSet<_>>());
        }
    }
}
