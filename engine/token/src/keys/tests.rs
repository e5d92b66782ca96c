use proptest::prelude::*;

use super::*;

fn keys(kids: &[u8]) -> TokenKeys {
    let mut keys = TokenKeys::new();
    for &kid in kids {
        keys.insert(kid, [kid; 32]).unwrap();
    }
    keys
}

const CLAIMS: Claims =
    Claims { app: AppId(0x0102), device: DeviceId(0x1122_3344_5566_7788), expires_s: 1000 };

#[test]
fn layout_is_fixed() {
    let token = keys(&[7]).issue(&CLAIMS).unwrap();
    assert_eq!(token[..16], [1, 7, 2, 1, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xe8, 3, 0, 0]);
    let mac = blake3::keyed_hash(&blake3::derive_key(DERIVE_CONTEXT, &[7; 32]), &token[..16]);
    assert_eq!(token[16..], mac.as_bytes()[..16]);
}

#[test]
fn expiry_is_the_first_second_refused() {
    let keys = keys(&[1]);
    let token = keys.issue(&CLAIMS).unwrap();
    assert_eq!(keys.verify(&token, 999), Ok(CLAIMS));
    assert_eq!(keys.verify(&token, 1000), Err(TokenError::Expired));
    assert_eq!(keys.verify(&token, u64::MAX), Err(TokenError::Expired));
}

#[test]
fn rotation_keeps_the_old_key_until_it_is_removed() {
    let mut keys = keys(&[1]);
    let old = keys.issue(&CLAIMS).unwrap();
    keys.insert(2, [2; 32]).unwrap();
    let new = keys.issue(&CLAIMS).unwrap();
    assert_eq!((keys.current(), new[1]), (Some(2), 2));
    assert!(keys.verify(&old, 0).is_ok() && keys.verify(&new, 0).is_ok());

    assert!(keys.remove(1));
    assert!(!keys.remove(1));
    assert_eq!(keys.verify(&old, 0), Err(TokenError::UnknownKey));
    assert_eq!(keys.verify(&new, 0), Ok(CLAIMS));

    assert!(keys.remove(2));
    assert_eq!(keys.current(), None);
    assert_eq!(keys.issue(&CLAIMS), Err(KeysError::NoCurrent));
}

#[test]
fn a_fifth_key_is_refused_and_a_known_one_replaced() {
    let mut keys = keys(&[1, 2, 3, 4]);
    assert_eq!(keys.insert(5, [5; 32]), Err(KeysError::Full));
    assert_eq!(keys.current(), Some(4));
    let before = keys.issue(&CLAIMS).unwrap();
    keys.insert(4, [9; 32]).unwrap();
    assert_eq!(keys.verify(&before, 0), Err(TokenError::BadMac));
}

#[test]
fn another_nodes_secret_is_a_bad_mac() {
    let mut stranger = TokenKeys::new();
    stranger.insert(1, [0xee; 32]).unwrap();
    let token = stranger.issue(&CLAIMS).unwrap();
    assert_eq!(keys(&[1]).verify(&token, 0), Err(TokenError::BadMac));
}

#[test]
fn every_flipped_bit_is_refused() {
    let keys = keys(&[1]);
    let token = keys.issue(&CLAIMS).unwrap();
    for bit in 0..TOKEN_BYTES * 8 {
        let mut bad = token;
        bad[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            0 => TokenError::Malformed,
            1 => TokenError::UnknownKey,
            _ => TokenError::BadMac,
        };
        assert_eq!(keys.verify(&bad, 0), Err(expected), "bit {bit}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", keys(&[3, 200]));
    assert_eq!(shown, "TokenKeys { kids: [3, 200], current: Some(200) }");
}

#[test]
fn text_has_one_form() {
    let token = keys(&[1]).issue(&CLAIMS).unwrap();
    let text = to_text(&token);
    assert_eq!(text.len(), TEXT_BYTES);
    assert_eq!(from_text(&text), Ok(token));
    let padded = format!("{text}=");
    // The last character carries two loose bits; setting one of them must not be a second text.
    let mut loose = text.clone().into_bytes();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.iter().position(|c| *c == loose[42]).unwrap();
    loose[42] = alphabet[last | 1];
    for bad in [padded.as_bytes(), &text.as_bytes()[..42], b"", &loose, &[b'*'; TEXT_BYTES]] {
        assert_eq!(from_text(bad), Err(TokenError::Malformed), "{}", String::from_utf8_lossy(bad));
    }
}

proptest! {
    #[test]
    fn what_was_issued_verifies(app: u16, device: u64, expires_s in 1u32.., now in 0u64..) {
        let keys = keys(&[1, 2]);
        let claims = Claims { app: AppId(app), device: DeviceId(device), expires_s };
        let token = keys.issue(&claims).unwrap();
        let expected = if now < u64::from(expires_s) { Ok(claims) } else { Err(TokenError::Expired) };
        prop_assert_eq!(keys.verify(&token, now), expected);
        prop_assert_eq!(from_text(to_text(&token)), Ok(token));
    }

    #[test]
    fn garbage_is_refused(token in proptest::collection::vec(any::<u8>(), 0..70), text in any::<Vec<u8>>()) {
        prop_assert!(keys(&[0, 1, 2, 255]).verify(&token, 0).is_err());
        prop_assert_eq!(from_text(&text), Err(TokenError::Malformed));
    }
}
