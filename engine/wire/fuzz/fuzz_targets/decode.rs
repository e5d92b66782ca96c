//! Any bytes, under both limits: what decodes survives being encoded again, and where the bytes are cut
//! makes no difference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{Decoded, Frame, Limits, decode};

fuzz_target!(|bytes: &[u8]| {
    for limits in [Limits::FROM_DEVICE, Limits::FROM_SERVER] {
        walk(bytes, limits);
    }
});

fn walk(bytes: &[u8], limits: Limits) {
    let mut rest = bytes;
    loop {
        match decode(rest, limits) {
            Ok(Decoded::Frame(frame, used)) => {
                survives(frame, limits);
                cut_anywhere(rest, used, limits);
                rest = &rest[used..];
            }
            Ok(Decoded::Skip(used)) => {
                cut_anywhere(rest, used, limits);
                rest = &rest[used..];
            }
            Ok(Decoded::Need(needed)) => {
                assert!(needed > rest.len(), "{needed} bytes needed of the {} that are here", rest.len());
                return;
            }
            Err(_) => return,
        }
    }
}

/// The bytes after the last known field are lost, and nothing else.
fn survives(frame: Frame<'_>, limits: Limits) {
    let mut encoded = Vec::new();
    frame.encode(&mut encoded);
    assert_eq!(decode(&encoded, limits), Ok(Decoded::Frame(frame, encoded.len())));
    if let Frame::GoAway(goaway) = frame {
        assert!(goaway.addresses().count() <= wire::limits::ADDRESSES_MAX);
    }
}

/// Every shorter piece of a frame asks for more, and never for more than the frame.
fn cut_anywhere(bytes: &[u8], used: usize, limits: Limits) {
    assert!((1..=bytes.len()).contains(&used));
    for cut in 0..used {
        match decode(&bytes[..cut], limits) {
            Ok(Decoded::Need(needed)) => assert!(cut < needed && needed <= used, "{cut} {needed} {used}"),
            other => panic!("{cut} of {used} bytes are {other:?}"),
        }
    }
}
