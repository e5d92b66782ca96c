use super::*;
use crate::device::{Device, TOKEN_BYTES};

fn devices(count: usize) -> Vec<Device> {
    (0..count).map(|id| Device { id: id as u64, token: [0; TOKEN_BYTES] }).collect()
}

#[test]
fn members_share_phones_rates_and_misbehaviour() {
    let mut config = FleetConfig::new(vec!["127.0.0.1:1".parse().unwrap()], devices(100));
    config.connect_per_s = 1000.0;
    config.manners = Manners { slow: 5, garbage: 10, half_open: 20, silent: 7 };
    config.phones_per_member = 30;
    let whole: Vec<Manner> = (0..100).map(|at| config.manners.of(at, 100)).collect();
    let parts = config.split();
    let sizes: Vec<usize> = parts.iter().map(|p| p.devices.len()).collect();
    assert_eq!(sizes, [30, 30, 30, 10]);
    assert!((parts.iter().map(|p| p.connect_per_s).sum::<f64>() - 1000.0).abs() < 1e-6);
    assert_eq!(parts.iter().map(|p| p.manners.count()).sum::<usize>(), 42);

    let good = whole.iter().filter(|m| **m == Manner::Good).count();
    assert_eq!((good, whole[57], whole[58], whole[99]), (58, Manner::Good, Manner::Slow, Manner::Silent));
    let of = |p: &FleetConfig| {
        (0..p.devices.len()).map(|at| p.manners.of(at, p.devices.len())).collect::<Vec<_>>()
    };
    assert_eq!(parts.iter().flat_map(of).collect::<Vec<_>>(), whole, "each phone keeps its manner");
}

#[test]
fn a_fleet_without_phones_or_servers_says_so() {
    let server = vec!["127.0.0.1:1".parse().unwrap()];
    let none = Fleet::start(FleetConfig::new(server, vec![])).unwrap_err();
    assert_eq!(none.to_string(), "a fleet needs at least one phone");
    let nowhere = Fleet::start(FleetConfig::new(vec![], devices(1))).unwrap_err();
    assert_eq!(nowhere.to_string(), "a fleet needs at least one server address");
}
