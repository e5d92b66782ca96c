//! What is wrong with a run, and what its figures are beside the floor's.

use super::report::{EnginePart, FloorPart, Report, Unicast};
use crate::stats;

impl Report {
    /// Of a floor alone.
    pub fn of_floor(floor: FloorPart) -> Self {
        let mut faults = Vec::new();
        judge_floor(&floor, &mut faults);
        Self { floor_connect_per_s: floor.attach.per_s, faults, floor: Some(floor), ..Self::default() }
    }

    /// Of both parts.
    pub fn of(mut engine: EnginePart, floor: Option<FloorPart>) -> Self {
        let ratio = |ours: f64, floor: f64| if floor > 0.0 { stats::round(ours / floor, 3) } else { 0.0 };
        let (attach_per_s, floor_connect_per_s) =
            (engine.attach.per_s, floor.as_ref().map_or(0.0, |floor| floor.attach.per_s));
        let broadcast = &mut engine.broadcast;
        broadcast.floor_per_s = floor.as_ref().map_or(0.0, |floor| floor.broadcast.per_s);
        broadcast.ratio = ratio(broadcast.per_s, broadcast.floor_per_s);
        Self {
            attach_per_s,
            floor_connect_per_s,
            attach_ratio: ratio(attach_per_s, floor_connect_per_s),
            faults: faults(&engine, floor.as_ref()),
            engine,
            floor,
        }
    }
}

/// In words; empty when nothing is wrong. Speed is judged by whoever reads the figures.
fn faults(engine: &EnginePart, floor: Option<&FloorPart>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut add = |count: u64, what: &str| {
        if count > 0 {
            faults.push(format!("{count} {what}"));
        }
    };
    add(engine.broadcast.lost, "deliveries of the broadcast lost");
    add(engine.broadcast.duplicated, "deliveries of the broadcast doubled");
    for (unicast, when) in
        [(&engine.unicast, "in silence"), (&engine.broadcast.unicast, "during the broadcast")]
    {
        pushes(unicast, when, &mut add);
    }
    if let Some(storm) = &engine.storm {
        pushes(&storm.survivors, "during the storm", &mut add);
    }
    for (count, what) in [
        (engine.phones.lost, "messages jumped over"),
        (engine.phones.duplicated, "messages doubled"),
        (engine.phones.corrupted, "messages damaged"),
        (engine.phones.misdelivered, "messages for somebody else"),
        (engine.phones.gaps, "messages declared gone"),
        (engine.phones.broken, "broken frames"),
    ] {
        add(count, &format!("{what}, by the count of the phones in user space"));
    }
    add(engine.control.lost, "messages lost by the control's own ledgers");
    add(engine.control.duplicated, "messages doubled for the control");
    add(engine.control.closed, "connections of the control ended by the server");
    add(engine.heartbeat.closed, "connections ended by the server while only heartbeats went on");
    add(engine.heartbeat.missed, "heartbeats without an answer");
    add(engine.after.leaked, "leaked: connections, descriptors, bytes or records");
    let mut disagree = |counts: &super::report::ThreeCounts, when: &str| {
        if !counts.are(engine.connections) {
            let (ours, kernel, phones) =
                (counts.attached, counts.kernel_established, counts.flooder_established);
            faults.push(format!(
                "{when}: {ours} by our count, {kernel} by the kernel's, {phones} by the flooder's, instead of {}",
                engine.connections
            ));
        }
    };
    disagree(&engine.counts, "attached");
    if let Some(storm) = &engine.storm {
        disagree(&storm.counts, "after the storm");
    }
    if let Some(floor) = floor {
        judge_floor(floor, &mut faults);
    }
    judge_time(&engine.short, &mut faults);
    faults
}

fn judge_floor(floor: &FloorPart, faults: &mut Vec<String>) {
    let (wanted, held, lost) = (floor.connections, floor.kernel_established, floor.broadcast.lost);
    if held != wanted || lost > 0 {
        faults.push(format!("the floor held {held} of {wanted}, and lost {lost} deliveries"));
    }
    judge_time(&floor.short, faults);
}

fn judge_time(short: &[String], faults: &mut Vec<String>) {
    faults.extend(short.iter().map(|phase| format!("no time was left for all of: {phase}")));
}

fn pushes(unicast: &Unicast, when: &str, add: &mut impl FnMut(u64, &str)) {
    add(unicast.lost, &format!("pushes to single phones lost {when}"));
    add(unicast.refused, &format!("pushes to single phones refused {when}"));
}

#[cfg(test)]
mod tests {
    use super::super::report::{Attach, Broadcast, Storm, ThreeCounts};
    use super::*;

    fn counts(count: u64) -> ThreeCounts {
        ThreeCounts { attached: count, kernel_established: count, flooder_established: count }
    }

    fn good() -> (EnginePart, FloorPart) {
        let attach = |per_s| Attach { per_s, ..Attach::default() };
        let broadcast = |per_s| Broadcast { delivered: 5, per_s, ..Broadcast::default() };
        let engine = EnginePart {
            connections: 5,
            counts: counts(5),
            attach: attach(30.0),
            broadcast: broadcast(90.0),
            storm: Some(Storm { counts: counts(5), ..Storm::default() }),
            ..EnginePart::default()
        };
        let floor = FloorPart {
            connections: 5,
            kernel_established: 5,
            attach: attach(40.0),
            broadcast: broadcast(100.0),
            ..FloorPart::default()
        };
        (engine, floor)
    }

    #[test]
    fn a_good_run_is_compared_and_has_no_faults() {
        let (engine, floor) = good();
        let report = Report::of(engine, Some(floor));
        assert!(report.faults.is_empty(), "{:?}", report.faults);
        assert_eq!((report.attach_ratio, report.engine.broadcast.ratio), (0.75, 0.9));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["attached"], &json["floor_connect_per_s"]), (&5.into(), &40.0.into()));
        let back: Report = serde_json::from_value(json).unwrap();
        assert_eq!(back.engine.counts, counts(5));
    }

    #[test]
    fn every_kind_of_fault_is_told() {
        type Spoil = fn(&mut EnginePart, &mut FloorPart);
        let spoil: [(&str, Spoil); 11] = [
            ("for somebody else", |engine, _| engine.phones.misdelivered = 1),
            ("lost", |engine, _| engine.broadcast.lost = 1),
            ("doubled", |engine, _| engine.broadcast.duplicated = 1),
            ("refused in silence", |engine, _| engine.unicast.refused = 1),
            ("lost during the storm", |engine, _| {
                engine.storm.as_mut().unwrap().survivors.lost = 1;
            }),
            ("ended by the server", |engine, _| engine.heartbeat.closed = 1),
            ("leaked", |engine, _| engine.after.leaked = 1),
            ("4 by the kernel's", |engine, _| engine.counts.kernel_established = 4),
            ("after the storm: 4", |engine, _| engine.storm.as_mut().unwrap().counts.attached = 4),
            ("the floor held 4", |_, floor| floor.kernel_established = 4),
            ("no time was left for all of: storm", |engine, _| engine.short.push("storm".into())),
        ];
        for (words, spoil) in spoil {
            let (mut engine, mut floor) = good();
            spoil(&mut engine, &mut floor);
            let faults = Report::of(engine, Some(floor)).faults;
            assert!(faults.len() == 1 && faults[0].contains(words), "{words}: {faults:?}");
        }
    }
}
