use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use flooder::payload::{self, Stamp};
use flooder::{Device, Fleet, FleetConfig, PingLoad};

use super::order::Reply;
use super::{ALL, Floor, Order, Place, run, token_of};

const PHONES: u32 = 50;
const PAYLOAD_BYTES: usize = 64;

fn carry_out(orders: &mut UnixStream, order: &Order) -> Reply {
    orders.write_all(order.as_bytes()).unwrap();
    let mut bytes = [0; Reply::BYTES];
    orders.read_exact(&mut bytes).unwrap();
    Reply::from_bytes(bytes)
}

fn stamp(index: u64, target: u64) -> impl FnOnce(&mut Vec<u8>) {
    move |out| payload::write(Stamp { intended_ns: 1, index, target }, PAYLOAD_BYTES, out)
}

#[test]
fn phones_take_the_floor_for_a_server() {
    let (mut orders, theirs) = UnixStream::pair().unwrap();
    orders.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let floor = Floor::new(theirs, Place::default()).unwrap();
    let address = floor.address().unwrap();
    let floor = thread::spawn(move || run(floor));
    let deadline = Instant::now() + Duration::from_secs(30);

    // The second fleet finds a floor that has counted already, and must not notice.
    for _ in 0..2 {
        let devices = (0..PHONES).map(|n| Device { id: u64::from(n), token: token_of(n) }).collect();
        let fleet = Fleet::start(FleetConfig::new(vec![address], devices)).unwrap();
        assert!(fleet.wait(deadline, |p| p.attached == u64::from(PHONES)), "all log in");

        let (mut all, mut each) = (Order::new(PAYLOAD_BYTES), Order::new(PAYLOAD_BYTES));
        (1..=3).for_each(|index| all.push(ALL, stamp(index, payload::ALL)));
        for index in 1..=2 {
            (0..PHONES).for_each(|n| each.push(n, stamp(index, u64::from(n))));
        }
        each.push(PHONES, stamp(1, u64::from(PHONES)));
        assert_eq!(carry_out(&mut orders, &all), Reply { writes: 3 * PHONES, phones: PHONES });
        assert_eq!(
            carry_out(&mut orders, &each),
            Reply { writes: 2 * PHONES, phones: PHONES },
            "one is absent"
        );
        fleet.set_ping_load(PingLoad::InFlight(1)).unwrap();
        assert!(fleet.wait_delivered(5 * u64::from(PHONES), deadline), "all are delivered");
        assert!(
            fleet.wait(deadline, |p| p.pongs > 4 * u64::from(PHONES)),
            "Pings are answered again and again"
        );

        let counters = fleet.stop().unwrap().counters;
        let faults = [counters.missing, counters.session_missing, counters.duplicated, counters.reordered];
        assert_eq!((faults, counters.corrupted, counters.misdelivered), ([0; 4], 0, 0));
        while carry_out(&mut orders, &Order::new(0)).phones > 0 {
            assert!(Instant::now() < deadline, "the floor sees them go");
        }
    }
    drop(orders);
    floor.join().unwrap().unwrap();
}
