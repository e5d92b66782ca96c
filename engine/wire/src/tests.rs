use super::*;
use proptest::prelude::*;

fn bytes_of(frame: Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|p| u8::from_str_radix(core::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
}

/// `docs/protocol.md` has two tables of vectors, "| name | side | hex | meaning |"; this test reads that very
/// file. Rows named V encode back to the same bytes, rows named D are only read.
#[test]
fn vectors_of_the_document() {
    let document = include_str!("../../../docs/protocol.md");
    let mut seen = 0;
    for line in document.lines().filter(|l| l.starts_with("| V") || l.starts_with("| D0")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (name, side, bytes, meaning) =
            (cells[1], cells[2], hex(cells[3].trim_matches('`')), cells[4].trim_matches('`'));
        let limits = if side == "device" { Limits::FROM_DEVICE } else { Limits::FROM_SERVER };
        let got = match decode(&bytes, limits) {
            Ok(Decoded::Frame(frame, used)) => {
                assert_eq!(used, bytes.len(), "{name}: whole vector used");
                assert_eq!(bytes_of(frame) == bytes, name.starts_with('V'), "{name}: encodes back, or not");
                describe(frame)
            }
            Ok(Decoded::Skip(used)) => format!("skip {used}"),
            Ok(Decoded::Need(n)) => format!("need {n}"),
            Err(error) => format!("refuse: {error}"),
        };
        assert_eq!(got, meaning, "{name}");
        seen += 1;
    }
    assert!(seen >= 20, "the document has {seen} vectors; was its table moved?");
}

fn pairs(positions: Positions<'_>) -> String {
    let all: Vec<String> = positions.iter().map(|p| format!("{}:{}", p.stream, p.seq)).collect();
    format!("[{}]", all.join(" "))
}

fn describe(frame: Frame<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match frame {
        Frame::Ping => "Ping".into(),
        Frame::Pong => "Pong".into(),
        Frame::Probe => "Probe".into(),
        Frame::Hello(h) => {
            let token: String = h.token.iter().map(|b| format!("{b:02x}")).collect();
            let (v, beat, epoch, at) = (h.version, h.heartbeat_s, h.epoch.0, pairs(h.positions));
            format!("Hello version={v} token={token} heartbeat_s={beat} epoch={epoch} positions={at}")
        }
        Frame::Welcome(w) => format!(
            "Welcome version={} epoch={} heartbeat_s={} ack_delay_ms={} ack_every={} positions={}",
            w.version,
            w.epoch.0,
            w.heartbeat_s,
            w.ack_delay_ms,
            w.ack_every,
            pairs(w.positions)
        ),
        Frame::Push(p) => format!("Push stream={} seq={} payload={}", p.stream, p.seq, text(p.payload)),
        Frame::Ack(p) => format!("Ack positions={}", pairs(p)),
        Frame::GoAway(g) => {
            let others: Vec<&str> = g.addresses().collect();
            let reason = g.reason().map_or("unknown", Reason::as_str);
            format!(
                "GoAway reason={reason} retry_after_ms={} addresses={}",
                g.retry_after_ms,
                others.join(",")
            )
        }
        Frame::Subscribe(t) => format!("Subscribe topic={t}"),
        Frame::Unsubscribe(t) => format!("Unsubscribe topic={t}"),
        Frame::Subscription(s) => {
            format!(
                "Subscription status={} stream={} seq={} topic={}",
                s.status as u8, s.stream, s.seq, s.topic
            )
        }
        Frame::ProbeReply(p) => {
            format!("ProbeReply load_permille={} retry_after_ms={}", p.load_permille, p.retry_after_ms)
        }
        Frame::Sync(s) => format!("Sync epoch={} positions={}", s.epoch.0, pairs(s.positions)),
        Frame::Gap { stream, seq } => format!("Gap stream={stream} seq={seq}"),
    }
}

#[test]
fn a_heartbeat_is_one_byte_and_a_common_push_at_most_eight() {
    assert_eq!(bytes_of(Frame::Ping).len(), 1);
    assert_eq!(bytes_of(Frame::Pong).len(), 1);
    for (stream, seq, payload) in
        [(STREAM_INBOX, 1_000_000, 64), (STREAM_ALL, 200_000_000, 4096), (99, 2_000_000, 4096)]
    {
        let push = Push { stream, seq, payload: &vec![7; payload] };
        let overhead = bytes_of(Frame::Push(push)).len() - payload;
        assert!(overhead <= 8, "stream {stream} seq {seq} payload {payload}: {overhead} bytes around it");
    }
}

#[test]
fn a_length_is_judged_before_the_body_arrives() {
    let mut head = vec![FrameType::Ack as u8];
    varint::push(&mut head, limits::BODY_BYTES_MAX_FROM_DEVICE as u64 + 1);
    let refused = decode(&head, Limits::FROM_DEVICE);
    assert_eq!(refused, Err(WireError::TooLarge { announced: 2049, limit: 2048 }));
    assert!(matches!(decode(&head, Limits::FROM_SERVER), Ok(Decoded::Need(_))), "a server may say more");
}

#[test]
fn a_hello_of_another_version_is_known_by_its_first_byte() {
    for bytes in [&[0xC0, 0x01, 0x02][..], &[0xC0, 0x03, 0x02, 0xFF, 0x41]] {
        let Ok(Decoded::Frame(Frame::Hello(hello), used)) = decode(bytes, Limits::FROM_DEVICE) else {
            panic!("{bytes:02x?} is a Hello of version 2")
        };
        assert_eq!((hello.version, used), (2, bytes.len()));
    }
}

#[test]
fn every_reason_has_its_own_code_and_word() {
    for (i, a) in Reason::ALL.iter().enumerate() {
        assert_eq!(Reason::from_code(*a as u8), Some(*a));
        assert!(Reason::ALL[..i].iter().all(|b| b.as_str() != a.as_str()));
    }
    assert_eq!(Reason::from_code(0), None);
}

fn position_list() -> impl Strategy<Value = Vec<Position>> {
    let pair = (any::<u32>(), any::<u64>()).prop_map(|(stream, seq)| Position { stream, seq });
    prop::collection::vec(pair, 0..=limits::POSITIONS_MAX)
}

proptest! {
    #[test]
    fn varints_round_trip_in_their_shortest_form(value: u64) {
        let mut out = Vec::new();
        varint::push(&mut out, value);
        prop_assert_eq!(out.len(), varint::len(value));
        prop_assert_eq!(varint::get(&out, varint::BYTES_MAX), Ok(Some((value, out.len()))));
        for cut in 0..out.len() {
            prop_assert_eq!(varint::get(&out[..cut], varint::BYTES_MAX), Ok(None));
        }
        let last = out.len() - 1;
        out[last] |= 0x80;
        out.push(0);
        prop_assert!(varint::get(&out, varint::BYTES_MAX + 1).is_err(), "an overlong form is refused");
    }

    #[test]
    fn frames_round_trip_and_no_prefix_is_a_frame(
        version: u8, token in prop::collection::vec(any::<u8>(), 0..=64), heartbeat_s: u32, epoch: u64,
        ack_delay_ms: u32, ack_every: u32, list in position_list(), stream: u32, seq: u64,
        payload in prop::collection::vec(any::<u8>(), 0..5000), topic in "[a-z/äö]{0,60}", retry_after_ms: u32,
        load_permille in 0..=1000u16, addresses in prop::collection::vec("[a-z0-9.:]{1,100}", 0..=8),
    ) {
        let epoch = Epoch(epoch);
        let (mut buffer, mut address_buffer) = (Vec::new(), Vec::new());
        let positions = Positions::build(list.iter().copied(), &mut buffer);
        prop_assert_eq!(positions.iter().collect::<Vec<_>>(), list);
        let goaway = GoAway::new(Reason::Draining, retry_after_ms).with_addresses(&addresses, &mut address_buffer);
        prop_assert_eq!(goaway.addresses().collect::<Vec<_>>(), addresses.iter().map(String::as_str).collect::<Vec<_>>());
        let status = SubscriptionStatus::Member;
        let frames = [
            Frame::Hello(Hello { version: VERSION, token: &token, heartbeat_s, epoch, positions }),
            Frame::Welcome(Welcome { version, epoch, heartbeat_s, ack_delay_ms, ack_every, positions }),
            Frame::Push(Push { stream, seq, payload: &payload }),
            Frame::Ack(positions),
            Frame::GoAway(goaway),
            Frame::Subscribe(&topic),
            Frame::Unsubscribe(&topic),
            Frame::Subscription(Subscription { status, stream, seq, topic: &topic }),
            Frame::ProbeReply(ProbeReply { load_permille, retry_after_ms }),
            Frame::Sync(Sync { epoch, positions }),
            Frame::Gap { stream, seq },
        ];
        for frame in frames {
            let bytes = bytes_of(frame);
            prop_assert_eq!(decode(&bytes, Limits::FROM_SERVER), Ok(Decoded::Frame(frame, bytes.len())));
            for cut in [0, 1, 2, 3, bytes.len() / 2, bytes.len() - 1] {
                let got = decode(&bytes[..cut.min(bytes.len() - 1)], Limits::FROM_SERVER);
                prop_assert!(matches!(got, Ok(Decoded::Need(n)) if n > cut.min(bytes.len() - 1)), "{:?}", got);
            }
        }
    }

    #[test]
    fn whatever_decodes_uses_what_it_was_given(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        match decode(&bytes, Limits::FROM_DEVICE) {
            Ok(Decoded::Frame(_, used) | Decoded::Skip(used)) => prop_assert!(used >= 1 && used <= bytes.len()),
            Ok(Decoded::Need(n)) => prop_assert!(n > bytes.len()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
