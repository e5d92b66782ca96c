//! A fleet against a node that breaks its promises on purpose: every counter must show exactly that.

use std::time::{Duration, Instant};

use crate::fake::{device, goaway, inbox, message, node, push, to_all};
use flooder::{Fleet, FleetConfig, FleetStats, Manners, PingLoad};
use wire::{Frame, Reason, STREAM_INBOX};

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// The counts once `done` holds.
fn stats_when(fleet: &Fleet, done: impl Fn(&FleetStats) -> bool) -> FleetStats {
    let end = deadline();
    loop {
        let stats = fleet.stats().unwrap();
        if done(&stats) {
            return stats;
        }
        assert!(Instant::now() < end, "it never came to that: {stats:?}");
    }
}

fn fleet(server: std::net::SocketAddr, phones: u8) -> FleetConfig {
    let mut config = FleetConfig::new(vec![server], (0..phones).map(device).collect());
    config.backoff.base_ms = 1;
    config
}

/// Three messages to each phone and three to all, with one fault each for phones 1 to 8.
fn faults(device: u8, _login: usize) -> Vec<u8> {
    let one = |seq| inbox(device, seq, seq);
    let mut broken = message(u64::from(device), 2);
    broken[40] ^= 1;
    let mut gap = Vec::new();
    Frame::Gap { stream: STREAM_INBOX, seq: 2 }.encode(&mut gap);
    let unicast = match device {
        1 => [one(1), inbox(1, 2, 3)].concat(),
        2 => [one(1), one(2), inbox(2, 3, 2), inbox(2, 4, 3)].concat(),
        3 => [one(1), inbox(3, 2, 3), inbox(3, 3, 2)].concat(),
        4 => [one(1), push(STREAM_INBOX, 2, &broken), one(3)].concat(),
        5 => [one(1), push(STREAM_INBOX, 2, &message(6, 2)), one(3)].concat(),
        6 => [one(1), one(2), one(2), one(3)].concat(),
        7 => [one(1), one(3)].concat(),
        8 => [one(1), gap, one(3)].concat(),
        _ => [one(1), one(2), one(3)].concat(),
    };
    [unicast, to_all(1), to_all(2), to_all(3)].concat()
}

#[test]
fn every_fault_of_a_node_shows_in_its_own_counter() {
    let fleet = Fleet::start(fleet(node(faults), 20)).unwrap();
    // Phones 1, 4, 5, 7 and 8 get two messages of three.
    let expected = 20 * 6 - 5;
    assert!(fleet.wait_delivered(expected, deadline()));
    let stats = stats_when(&fleet, |s| s.counters.acks >= 20 && s.counters.corrupted == 1);
    let c = &stats.counters;
    assert_eq!((stats.attached, c.attaches, c.connects), (20, 20, 20));
    assert_eq!((c.delivered_unicast, c.delivered_broadcast), (55, 60));
    assert_eq!((c.duplicated, c.reordered, c.stale), (1, 1, 0));
    assert_eq!((c.corrupted, c.misdelivered), (1, 1));
    assert_eq!(c.missing, 5, "the index shows it whether or not the sequence does");
    assert_eq!((c.session_duplicates, c.session_missing, c.gaps), (1, 1, 1));
    assert_eq!(stats.delivery.count(), expected);
    assert_eq!(fleet.progress().delivered, expected);
    assert_eq!(stats.disconnects_foreign(), 0);
}

#[test]
fn a_clean_node_gives_a_clean_sheet() {
    let script = |device, _| [inbox(device, 1, 1), to_all(1)].concat();
    let fleet = Fleet::start(fleet(node(script), 10)).unwrap();
    assert!(fleet.wait_delivered(20, deadline()));
    let c = fleet.stop().unwrap().counters;
    let faults =
        [c.duplicated, c.reordered, c.corrupted, c.misdelivered, c.missing, c.gaps, c.session_missing];
    assert_eq!(faults, [0; 7]);
}

#[test]
fn phones_come_back_unless_told_to_stay_away_and_drop_what_they_have() {
    // On every login the same messages; phone 3 is told to go, phone 4 that it was replaced.
    let script = |device, login| {
        let end = match (device, login) {
            (3, 0) => goaway(Reason::Draining),
            (4, _) => goaway(Reason::Replaced),
            _ => Vec::new(),
        };
        [inbox(device, 1, 1), end].concat()
    };
    let fleet = Fleet::start(fleet(node(script), 5)).unwrap();
    stats_when(&fleet, |s| s.attached == 4 && s.retired == 1 && s.counters.attaches == 6);
    fleet.disconnect(3).unwrap();
    let stats = stats_when(&fleet, |s| s.disconnects.contains_key("own") && s.attached == 4);
    assert_eq!(stats.disconnects["draining"], 1);
    assert_eq!(stats.disconnects["replaced"], 1);
    assert_eq!(stats.disconnects["own"], 3);
    let stats = stats_when(&fleet, |s| s.counters.session_duplicates == 4);
    assert_eq!((stats.counters.delivered_unicast, stats.counters.duplicated), (5, 0));
    let devices = fleet.devices().unwrap();
    let dropped: Vec<u32> = devices.iter().map(|d| d.dropped).collect();
    assert_eq!(dropped, [0, 0, 0, 1, 1], "what the fleet cut itself is not the node's doing");
    assert_eq!(devices.iter().filter(|d| d.is_attached).count(), 4);
}

#[test]
fn pings_go_round_as_told() {
    let fleet = Fleet::start(fleet(node(|_, _| Vec::new()), 8)).unwrap();
    assert!(fleet.wait(deadline(), |p| p.attached == 8));
    fleet.set_ping_load(PingLoad::InFlight(2)).unwrap();
    stats_when(&fleet, |s| s.counters.pongs > 1000);
    fleet.set_ping_load(PingLoad::Off).unwrap();
    let quiet = stats_when(&fleet, |s| s.counters.pings == s.counters.pongs).counters.pings;
    fleet.set_ping_load(PingLoad::PerSecond(500.0)).unwrap();
    let stats = stats_when(&fleet, |s| s.counters.pongs > quiet + 50);
    assert!(stats.pong.count() > 0);
    assert_eq!(stats.attached, 8);
}

#[test]
fn misbehaving_phones_misbehave_and_the_others_do_not_notice() {
    let script = |device, _| [inbox(device, 1, 1), to_all(1)].concat();
    let mut config = fleet(node(script), 12);
    config.manners = Manners { slow: 2, garbage: 3, half_open: 2, silent: 1 };
    let fleet = Fleet::start(config).unwrap();
    let stats = stats_when(&fleet, |s| s.counters.garbage > 20 && s.counters.misbehaving_closed > 5);
    assert!(stats.counters.connects > 12, "those that were thrown out came again");
    let devices = fleet.devices().unwrap();
    assert!(devices[..4].iter().all(|d| d.is_attached && d.dropped == 0), "{devices:?}");
    assert!(!devices[11].is_attached && devices[11].dropped == 0, "the silent one just stays");
    assert_eq!(stats.counters.duplicated, 0);
}

#[test]
fn a_server_that_is_not_there_is_tried_again() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let fleet = Fleet::start(fleet(gone, 3)).unwrap();
    let stats = stats_when(&fleet, |s| s.counters.connects_failed > 9);
    assert_eq!((stats.attached, stats.counters.attaches), (0, 0));
}

#[test]
fn a_fleet_of_several_processes_adds_up() {
    let mut config = fleet(node(|device, _| inbox(device, 1, 1)), 9);
    config.phones_per_member = 4;
    config.program = Some(env!("CARGO_BIN_EXE_flooder").into());
    let fleet = Fleet::start(config).unwrap();
    assert!(fleet.wait_delivered(9, deadline()));
    assert!(fleet.wait(deadline(), |p| p.attached == 9));
    fleet.disconnect(9).unwrap();
    let stats = stats_when(&fleet, |s| s.counters.attaches == 18 && s.counters.session_duplicates == 9);
    assert_eq!((stats.phones, stats.attached, stats.delivered()), (9, 9, 9));
    assert_eq!(stats.delivery.count(), 9);
    assert_eq!(fleet.devices().unwrap().len(), 9);
}
