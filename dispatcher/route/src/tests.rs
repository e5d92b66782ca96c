use super::*;
use proptest::prelude::*;
use wire::{AppId, ConnId, DeviceId};

fn place(link: u16, slot: u32) -> Place {
    Place { link, conn: ConnId { slot, generation: 1 } }
}

#[test]
fn a_known_device_costs_at_most_64_bytes() {
    let mut routes = Routes::default();
    let mut worst: f64 = 0.0;
    for n in 0..3_000_000u64 {
        routes.insert(DeviceId(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)), AppId(1), 0);
        if n > 100_000 {
            worst = worst.max(routes.bytes() as f64 / (n + 1) as f64);
        }
    }
    assert!(worst <= 64.0, "{worst} bytes a device at the worst moment of growth");
    assert_eq!(routes.find(DeviceId(0x9E37_79B9_7F4A_7C15)), Some(1));
    assert_eq!(routes.find(DeviceId(12345)), None);
}

#[test]
fn a_place_is_left_and_taken() {
    let mut route = Route::new(DeviceId(1), AppId(1), 0);
    assert_eq!(route.place(), None);
    route.attach(place(3, 7), 10);
    assert_eq!(route.place(), Some(place(3, 7)));
    route.detach();
    assert_eq!(route.place(), None);
    route.revoke();
    assert!(route.is_revoked() && route.place().is_none());
}

#[test]
fn broadcast_positions_survive_the_low_half_wrapping() {
    let base = u64::from(u32::MAX) - 1;
    let mut route = Route::new(DeviceId(1), AppId(1), base);
    for head in base..base + 5 {
        assert_eq!(route.all_acked(head), base.min(head));
    }
    assert_eq!(route.ack_all(base + 4, base + 5), (base, base + 4));
    assert_eq!(route.all_acked(base + 9), base + 4);
    assert_eq!(route.ack_all(base, base + 9), (base + 4, base + 4), "a position never moves back");
}

#[derive(Clone, Debug)]
enum Act {
    Append,
    Send(u8),
    Ack(u64),
    Attach,
    Detach,
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Append),
        3 => any::<u8>().prop_map(Act::Send),
        3 => (0..80u64).prop_map(Act::Ack),
        1 => Just(Act::Attach),
        1 => Just(Act::Detach),
    ]
}

proptest! {
    /// Against a model with three plain numbers: acked ≤ sent ≤ head, and the window holds.
    #[test]
    fn inbox_positions_follow_a_plain_model(acts in prop::collection::vec(any_act(), 0..200), window in 1..10u32) {
        let mut route = Route::new(DeviceId(1), AppId(1), 0);
        let (mut acked, mut sent, mut head) = (0u64, 0u64, 0u64);
        for act in acts {
            match act {
                Act::Append => { head += 1; prop_assert_eq!(route.take_inbox_seq(), head); }
                Act::Send(n) => {
                    let n = u64::from(n % 4).min(u64::from(route.inbox_allowance(window)));
                    sent += n;
                    route.sent_inbox(sent);
                }
                Act::Ack(seq) => {
                    let new = seq.clamp(acked, head);
                    prop_assert_eq!(route.ack_inbox(seq), (acked, new));
                    acked = new;
                    sent = sent.max(acked);
                }
                Act::Attach => { route.attach(place(1, 1), 1); sent = acked; }
                Act::Detach => { route.detach(); sent = acked; }
            }
            prop_assert_eq!((route.inbox_acked(), route.inbox_sent(), route.inbox_head()), (acked, sent, head));
            let room = u64::from(window).saturating_sub(sent - acked).min(head - sent);
            prop_assert_eq!(u64::from(route.inbox_allowance(window)), room);
        }
    }
}
