//! Which links are looked at: real rings, doorbells and an event loop, and workers that send when they like.

use super::device::offer;
use crate::inboxes::{Inbox, Inboxes};
use bus::{Link, Listener, Up};
use metrics::{Page, WORDS};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long something may take that happens at once if it ever does.
const LONG: Duration = Duration::from_secs(60);
const RING_BYTES: usize = 4096;

/// A directory for a bus socket; gone when the test is.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("moorline-bus-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let place = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&place.0).expect("a directory");
        place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("the test made this directory");
    }
}

/// Workers' ends of links whose other ends are in the inboxes, each bell registered under its number.
fn links(count: u16, poll: &Poll, inboxes: &mut Inboxes) -> Vec<Link> {
    let place = Place::new();
    let path = place.0.join("bus.sock");
    let listener = Listener::bind(&path).expect("a socket");
    let link = |number: u16| {
        let page = Page::create().expect("a page");
        let socket = bus::connect(&path).expect("it listens");
        let worker = bus::offer(socket, offer(0), RING_BYTES, page.shared()).expect("offered");
        let peer = listener.accept().expect("sound").expect("it has connected");
        let Ok((_, link, _)) = peer.receive(WORDS).expect("sound") else { panic!("it has offered") };
        let bell = link.guard.bell_fd();
        let token = Token(usize::from(number));
        poll.registry().register(&mut SourceFd(&bell), token, Interest::READABLE).expect("registered");
        inboxes.add(number, Inbox::new(link.rx, link.guard));
        worker
    };
    (0..count).map(link).collect()
}

/// Takes up to `most` records of a link; how many there were.
fn take(inboxes: &mut Inboxes, number: u16, most: usize) -> (usize, bool) {
    let inbox = inboxes.get(number).expect("it is there");
    let mut count = 0;
    bus::take(&mut inbox.rx, most, |kind, bytes| {
        assert!(matches!(Up::decode(kind, bytes)?, Up::ReattachDone));
        count += 1;
        Ok(ControlFlow::Continue(()))
    })
    .expect("sound");
    (count, inboxes.looked_at(number, count == 0))
}

fn poll_once(poll: &mut Poll, events: &mut Events, timeout: Duration) -> Vec<u16> {
    match poll.poll(events, Some(timeout)) {
        Err(error) if error.kind() != std::io::ErrorKind::Interrupted => panic!("{error}"),
        _ => events.iter().map(|event| event.token().0 as u16).collect(),
    }
}

#[test]
fn a_turn_looks_at_busy_links_only() {
    let (mut poll, mut events, mut inboxes) =
        (Poll::new().expect("a poll"), Events::with_capacity(64), Inboxes::default());
    let mut workers = links(20, &poll, &mut inboxes);
    let mut round = Vec::new();
    let mut awake = |inboxes: &Inboxes| {
        inboxes.awake(&mut round);
        round.clone()
    };
    assert_eq!(awake(&inboxes).len(), 20, "new links are awake");
    assert!(inboxes.sleep(true, |_| false) && awake(&inboxes).is_empty(), "nothing is there");
    assert!(poll_once(&mut poll, &mut events, Duration::ZERO).is_empty());

    Up::ReattachDone.push(&mut workers[7].tx).expect("room");
    workers[7].tx.publish().expect("sound");
    let rung = poll_once(&mut poll, &mut events, LONG);
    assert_eq!(rung, [7]);
    inboxes.rung(7);
    assert_eq!(awake(&inboxes), [7]);
    // It is not put to sleep over what it has; nor is a link that the hub cannot take from now.
    assert!(!inboxes.sleep(true, |_| false) && awake(&inboxes) == [7]);
    assert!(inboxes.sleep(true, |number| number == 7) && awake(&inboxes) == [7]);
    assert_eq!(take(&mut inboxes, 7, 10), (1, false));
    assert!(inboxes.sleep(true, |_| false) && awake(&inboxes).is_empty());
    inboxes.drop_link(3);
    inboxes.rung(3);
    assert!(awake(&inboxes).is_empty(), "a bell of a link that is gone");
}

#[test]
fn a_link_that_gives_nothing_falls_asleep_though_the_hub_does_not_block() {
    let (mut poll, mut events, mut inboxes) =
        (Poll::new().expect("a poll"), Events::with_capacity(64), Inboxes::default());
    let mut workers = links(2, &poll, &mut inboxes);
    let mut round = Vec::new();
    for _ in 0..crate::config::EMPTY_TURNS_MAX {
        inboxes.awake(&mut round);
        assert_eq!(round, [0, 1]);
        Up::ReattachDone.push(&mut workers[1].tx).expect("room");
        workers[1].tx.publish().expect("sound");
        assert_eq!((take(&mut inboxes, 0, 10).0, take(&mut inboxes, 1, 10).0), (0, 1));
        inboxes.sleep(false, |_| false);
    }
    inboxes.awake(&mut round);
    assert_eq!(round, [1]);
    Up::ReattachDone.push(&mut workers[0].tx).expect("room");
    workers[0].tx.publish().expect("sound");
    let rung = poll_once(&mut poll, &mut events, LONG);
    assert_eq!(rung, [0], "it rings for what comes");
}

/// The hub's loop, with nothing but bells to wake it: a wake-up that is lost leaves records behind for good.
#[test]
fn no_wake_up_is_lost_whoever_sends_when() {
    const WORKERS: u16 = 12;
    const RECORDS: usize = 4000;
    let (mut poll, mut events, mut inboxes) =
        (Poll::new().expect("a poll"), Events::with_capacity(64), Inboxes::default());
    let workers = links(WORKERS, &poll, &mut inboxes);
    let senders: Vec<_> = workers
        .into_iter()
        .enumerate()
        .map(|(seed, mut worker)| {
            std::thread::spawn(move || {
                let (mut rng, mut left) = (SmallRng::seed_from_u64(seed as u64), RECORDS);
                while left > 0 {
                    for _ in 0..rng.random_range(1..20).min(left) {
                        left -= usize::from(Up::ReattachDone.push(&mut worker.tx).is_ok());
                    }
                    worker.tx.publish().expect("sound");
                    (0..rng.random_range(0..4)).for_each(|_| std::thread::yield_now());
                }
                worker
            })
        })
        .collect();
    let (mut got, mut round, mut busy) = (vec![0; WORKERS.into()], Vec::new(), false);
    let mut rng = SmallRng::seed_from_u64(99);
    while got.iter().sum::<usize>() < RECORDS * usize::from(WORKERS) {
        let may_block = inboxes.sleep(!busy, |_| false) && !busy;
        let rung = poll_once(&mut poll, &mut events, if may_block { LONG } else { Duration::ZERO });
        assert!(!may_block || !rung.is_empty(), "nobody rang, and {got:?} have come");
        rung.into_iter().for_each(|number| inboxes.rung(number));
        inboxes.awake(&mut round);
        busy = false;
        for number in round.iter().copied() {
            let (count, more) = take(&mut inboxes, number, rng.random_range(1..40));
            got[usize::from(number)] += count;
            busy |= more;
        }
    }
    assert_eq!(got, vec![RECORDS; WORKERS.into()]);
    senders.into_iter().for_each(|sender| drop(sender.join().expect("it sent everything")));
}
