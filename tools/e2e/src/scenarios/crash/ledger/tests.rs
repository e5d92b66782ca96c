use super::super::push::Audience;
use super::*;

const EPOCH: u64 = 9;

fn place(stream: StreamId, seq: Seq) -> Place {
    Place { epoch: EPOCH, stream, seq }
}

fn push(serial: u64, audience: Audience) -> Push {
    let (tag, id) = (Tag::new(1, serial), serial.to_string());
    Push { tag, audience, promise: Promise::Once, is_ordered: true, id }
}

/// A phone that took these: stream, number, serial.
fn heard(taken: &[(StreamId, Seq, u64)]) -> Heard {
    let mut heard = Heard::default();
    for &(stream, seq, serial) in taken {
        let (place, tag) = (place(stream, seq), Some(Tag::new(1, serial)));
        heard.see(place, tag);
        heard.taken.push((place, tag));
    }
    heard
}

/// Two messages to phone 0, one to both, one to a topic of phone 1, and one to all.
fn pushes() -> Vec<Push> {
    vec![
        push(1, Audience::Inbox(vec![0])),
        push(2, Audience::Inbox(vec![0])),
        push(3, Audience::Inbox(vec![0, 1])),
        push(4, Audience::Topic(0, vec![1])),
        push(5, Audience::All),
    ]
}

fn faults(phones: &[Heard]) -> Vec<(&'static str, u64)> {
    judge(&pushes(), phones).faults.into_iter().collect()
}

#[test]
fn what_is_right_has_no_fault() {
    let phones =
        [heard(&[(0, 1, 1), (0, 2, 2), (1, 1, 5), (0, 3, 3)]), heard(&[(2, 1, 4), (0, 1, 3), (1, 1, 5)])];
    let verdict = judge(&pushes(), &phones);
    assert_eq!(
        (verdict.accepted, verdict.delivered, verdict.faults.len()),
        (7, 7, 0),
        "{:?}",
        verdict.examples
    );
}

#[test]
fn each_fault_has_its_name() {
    let good = || heard(&[(2, 1, 4), (0, 1, 3), (1, 1, 5)]);
    let first = |taken: &[(StreamId, Seq, u64)]| faults(&[heard(taken), good()]);
    assert_eq!(first(&[(0, 1, 1), (0, 3, 3), (1, 1, 5)]), [("lost", 1)]);
    assert_eq!(first(&[(0, 1, 1), (0, 2, 2), (0, 3, 3), (0, 4, 3), (1, 1, 5)]), [("duplicated", 1)]);
    assert_eq!(first(&[(0, 1, 1), (0, 2, 2), (0, 3, 3), (0, 0, 2), (1, 1, 5)]), [("duplicated", 1)]);
    assert_eq!(
        first(&[(0, 1, 2), (0, 2, 1), (0, 3, 3), (1, 1, 5)]),
        [("reordered", 1)],
        "the sender's order"
    );
    assert_eq!(
        first(&[(0, 1, 1), (0, 3, 2), (0, 2, 3), (1, 1, 5)]),
        [("reordered", 1)],
        "the numbers' order"
    );
    assert_eq!(first(&[(0, 1, 1), (0, 2, 2), (0, 3, 3), (1, 1, 5), (2, 1, 4)]), [("misdelivered", 1)]);
    assert_eq!(
        first(&[(0, 1, 1), (0, 2, 2), (1, 2, 3), (1, 1, 5)]),
        [("lost", 1), ("misdelivered", 1), ("reordered", 1)]
    );
    let mut damaged = heard(&[(0, 1, 1), (0, 2, 2), (1, 1, 5)]);
    damaged.taken.push((place(0, 3), None));
    assert_eq!(faults(&[damaged, good()]), [("corrupted", 1), ("lost", 1)]);
    let stranger = first(&[(0, 1, 1), (0, 2, 2), (0, 3, 3), (1, 1, 5), (0, 4, 77)]);
    assert_eq!(stranger, [("corrupted", 1)], "nobody sent that");
}

#[test]
fn a_number_has_one_message() {
    let good = || heard(&[(2, 1, 4), (0, 1, 3), (1, 1, 5)]);
    let mut again = heard(&[(0, 1, 1), (0, 2, 2), (0, 3, 3), (1, 1, 5)]);
    again.see(place(0, 2), Some(Tag::new(1, 3)));
    assert_eq!(faults(&[again, good()]), [("reused", 1)], "although the session dropped it");
    let mut other = good();
    other.seen.insert(place(1, 1), Some(Tag::new(1, 1)));
    assert_eq!(faults(&[heard(&[(0, 1, 1), (0, 2, 2), (0, 3, 3), (1, 1, 5)]), other]), [("reused", 1)]);
}

#[test]
fn what_was_not_promised_may_be_missing_and_comes_once_at_most() {
    let mut pushes = vec![push(1, Audience::Inbox(vec![0]))];
    pushes[0].promise = Promise::AtMostOnce;
    assert!(judge(&pushes, &[Heard::default()]).faults.is_empty());
    let twice = judge(&pushes, &[heard(&[(0, 1, 1), (0, 2, 1)])]);
    assert_eq!((twice.delivered_beside, twice.count("duplicated")), (1, 1));
}

#[test]
fn equal_contents_are_owed_to_each_of_their_phones() {
    let mut pushes = vec![push(1, Audience::Inbox(vec![0])), push(1, Audience::Inbox(vec![1]))];
    pushes[1].id = "2".into();
    let one = || heard(&[(0, 1, 1)]);
    assert!(judge(&pushes, &[one(), one()]).faults.is_empty());
    assert_eq!(judge(&pushes, &[one(), Heard::default()]).count("lost"), 1);
    pushes[1].id = "1".into();
    assert_eq!(judge(&pushes, &[one(), one()]).count("ids_reused"), 1);
}
