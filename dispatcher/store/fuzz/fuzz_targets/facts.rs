//! Any bytes as a row of facts and as a device's record: refused, or the one way to write what they say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use store::{Device, Facts};

fuzz_target!(|bytes: &[u8]| {
    let mut again = Vec::new();
    let mut is_whole = true;
    for fact in Facts::new(bytes) {
        match fact {
            Ok(fact) => fact.encode(&mut again),
            Err(_) => is_whole = false,
        }
    }
    // What comes before the first that is refused is the same too.
    assert!(bytes.starts_with(&again));
    assert!(!is_whole || bytes.len() == again.len());
    if let Ok(device) = Device::decode(bytes) {
        again.clear();
        device.encode(&mut again);
        assert_eq!(again, bytes);
    }
});
