//! Whether what came back is what the disk should have.

use super::hub::{At, Hub};
use std::collections::BTreeMap;
use wire::MessageId;

/// Compares the hub as it was with one that was taken back, as far as a store keeps it.
pub fn same(wanted: &Hub, found: &Hub) {
    assert_eq!(found.phones, wanted.phones, "devices: found, and wanted");
    assert_eq!(heads(found), heads(wanted), "heads: found, and wanted");
    assert_eq!(found.answers, wanted.answers, "answers: found, and wanted");
    let places = |hub: &Hub| -> Vec<(At, Vec<u64>)> {
        hub.waiting.iter().map(|(at, queue)| (*at, queue.keys().copied().collect())).collect()
    };
    assert_eq!(places(found), places(wanted), "what waits: found, and wanted");
    for (at, queue) in &wanted.waiting {
        for (seq, waiting) in queue {
            let other = &found.waiting[at][seq];
            assert!(other.is(waiting), "{at:?} {seq}: found {other:?}, wanted {waiting:?}");
            same_receipt(wanted, found, waiting.receipt, other.receipt, waiting.id);
        }
    }
}

fn heads(hub: &Hub) -> BTreeMap<(u16, u32), u64> {
    hub.heads.iter().filter(|(_, head)| **head > 0).map(|(key, head)| (*key, *head)).collect()
}

fn same_receipt(wanted: &Hub, found: &Hub, place: u32, found_place: u32, id: MessageId) {
    let (wanted_receipt, receipt) = (&wanted.receipts[place as usize], &found.receipts[found_place as usize]);
    assert_eq!((wanted_receipt.id, receipt.id), (id, id));
    if !wanted_receipt.gone {
        let counts = (wanted_receipt.targeted, wanted_receipt.done);
        assert_eq!((receipt.targeted, receipt.done), counts, "counts of {id:?}: found, and wanted");
        return;
    }
    let waits = |(at, queue): (&At, &BTreeMap<u64, super::hub::Waiting>)| {
        let mine = queue.values().filter(|waiting| waiting.id == id).count();
        (matches!(at, At::Topic(..)) && mine > 0, mine)
    };
    let (topic, waiting) = found.waiting.iter().map(waits).fold((false, 0), |a, b| (a.0 | b.0, a.1 + b.1));
    assert!(
        topic || receipt.open() as usize == waiting,
        "counts of {id:?} close, though its receipt gave way"
    );
}
