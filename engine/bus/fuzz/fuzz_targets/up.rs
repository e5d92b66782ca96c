//! Any record from a worker: refused, or read as something that survives being written again.
#![no_main]

use bus::Up;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|record: (u16, &[u8])| {
    let (kind, bytes) = record;
    // The kinds there are in most tries, and any other one in the rest.
    for kind in [kind, kind % 16] {
        if let Ok(record) = Up::decode(kind, bytes) {
            let (again, encoded) = record.to_bytes();
            assert_eq!(again, kind);
            assert_eq!(Up::decode(again, &encoded), Ok(record));
        }
    }
});
