use wire::{GoAway, STREAM_ALL, STREAM_INBOX, Subscription, SubscriptionStatus, Sync, Welcome, WireError};

use super::*;
use crate::Backoff;

pub(super) const TOPIC: u32 = 7;

/// A session, what it wrote and what it told us.
pub(super) struct Phone {
    pub(super) session: Session,
    pub(super) now_ms: u64,
    pub(super) out: Vec<u8>,
    told: Vec<String>,
}

impl Phone {
    pub(super) fn new() -> Self {
        Self { session: Session::new(Config::new([1; 32])), now_ms: 0, out: Vec::new(), told: Vec::new() }
    }

    pub(super) fn attached() -> Self {
        let mut phone = Self::new();
        phone.session.connected(0, &mut phone.out);
        phone.hear(welcome(1, &[])).unwrap();
        phone.out.clear();
        phone.told.clear();
        phone
    }

    pub(super) fn hear(&mut self, bytes: Vec<u8>) -> Result<usize, SessionError> {
        let told = &mut self.told;
        self.session.bytes(self.now_ms, &bytes, &mut self.out, &mut |e| told.push(short(e)))
    }

    fn at(&mut self, now_ms: u64) -> Result<(), SessionError> {
        self.now_ms = now_ms;
        self.session.tick(now_ms, &mut self.out)
    }

    /// What it wrote since the last call, as frames in short.
    fn said(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        let mut rest = &self.out[..];
        while let Ok(Decoded::Frame(frame, used)) = wire::decode(rest, Limits::FROM_DEVICE) {
            said.push(match frame {
                Frame::Hello(h) => format!("hello e{} {}", h.epoch.0, list(h.positions)),
                Frame::Ack(p) => format!("ack {}", list(p)),
                other => format!("{:?}", other.frame_type()).to_lowercase(),
            });
            rest = &rest[used..];
        }
        assert!(rest.is_empty(), "only whole frames are written");
        self.out.clear();
        said
    }
}

fn list(positions: Positions<'_>) -> String {
    positions.iter().map(|p| format!("{}:{}", p.stream, p.seq)).collect::<Vec<_>>().join(" ")
}

fn short(event: Event<'_>) -> String {
    match event {
        Event::Attached { epoch, epoch_changed, .. } => format!("attached e{} {epoch_changed}", epoch.0),
        Event::Message { stream, seq, .. } => format!("message {stream}:{seq}"),
        Event::Duplicate { stream, seq } => format!("duplicate {stream}:{seq}"),
        Event::Hole { stream, missing } => format!("hole {stream} {missing}"),
        Event::Gap { stream, missing } => format!("gap {stream} {missing}"),
        Event::UnknownStream { stream } => format!("unknown {stream}"),
        Event::Rewound { stream, seq } => format!("rewound {stream}:{seq}"),
        Event::EpochChanged { epoch } => format!("epoch {}", epoch.0),
        Event::Subscription { status, stream, topic } => format!("{topic} {status:?} {stream}"),
        Event::GoAway { reason, .. } => format!("goaway {}", reason.map_or("unknown", Reason::as_str)),
        Event::Pong => "pong".into(),
        Event::Load { permille, .. } => format!("load {permille}"),
    }
}

pub(super) fn bytes_of(frame: Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

pub(super) fn welcome(epoch: u64, positions: &[(u32, u64)]) -> Vec<u8> {
    let mut buffer = Vec::new();
    let pairs = positions.iter().map(|&(stream, seq)| Position { stream, seq });
    let positions = Positions::build(pairs, &mut buffer);
    let (epoch, heartbeat_s, ack_delay_ms, ack_every) = (Epoch(epoch), 60, 500, 4);
    bytes_of(Frame::Welcome(Welcome { version: 1, epoch, heartbeat_s, ack_delay_ms, ack_every, positions }))
}

pub(super) fn push(stream: u32, seq: u64) -> Vec<u8> {
    bytes_of(Frame::Push(wire::Push { stream, seq, payload: b"hi" }))
}

fn sync(epoch: u64) -> Vec<u8> {
    bytes_of(Frame::Sync(Sync { epoch: Epoch(epoch), positions: Positions::EMPTY }))
}

#[test]
fn a_first_login_takes_the_servers_positions_without_calling_them_lost() {
    let mut phone = Phone::new();
    phone.session.connected(0, &mut phone.out);
    assert_eq!(phone.said(), ["hello e0 "]);
    phone.hear(welcome(9, &[(STREAM_ALL, 40)])).unwrap();
    phone.hear(push(STREAM_ALL, 41)).unwrap();
    assert_eq!(phone.told, ["attached e9 false", "message 1:41"]);
}

#[test]
fn acknowledgements_wait_for_count_or_delay_and_name_every_stream_once() {
    let mut phone = Phone::attached();
    for (stream, seq) in [(STREAM_INBOX, 1), (STREAM_ALL, 1), (STREAM_INBOX, 2)] {
        phone.hear(push(stream, seq)).unwrap();
    }
    assert!(phone.said().is_empty(), "three of four");
    phone.hear(push(STREAM_INBOX, 3)).unwrap();
    assert_eq!(phone.said(), ["ack 0:3 1:1"]);

    phone.now_ms = 1_000;
    phone.hear(push(STREAM_INBOX, 4)).unwrap();
    phone.now_ms = 1_400;
    phone.hear(push(STREAM_INBOX, 5)).unwrap();
    assert_eq!(phone.session.next_deadline_ms(), Some(1_500), "counted from the first of them");
    phone.at(1_499).unwrap();
    assert!(phone.said().is_empty());
    phone.at(1_500).unwrap();
    assert_eq!(phone.said(), ["ack 0:5"]);
    phone.at(2_500).unwrap();
    assert!(phone.said().is_empty(), "nothing is acknowledged twice");
}

#[test]
fn transient_messages_are_delivered_and_never_acknowledged() {
    let mut phone = Phone::attached();
    for _ in 0..9 {
        phone.hear(push(STREAM_INBOX, 0)).unwrap();
    }
    phone.at(5_000).unwrap();
    assert!(phone.said().is_empty());
    assert_eq!(phone.told.len(), 9);
}

#[test]
fn duplicates_are_dropped_and_acknowledged_again_and_holes_are_counted() {
    let mut phone = Phone::attached();
    for seq in [1, 1, 5, 3] {
        phone.hear(push(STREAM_INBOX, seq)).unwrap();
    }
    assert_eq!(phone.told, ["message 0:1", "duplicate 0:1", "hole 0 3", "message 0:5", "duplicate 0:3"]);
    assert_eq!(phone.said(), ["ack 0:5"]);
}

#[test]
fn a_gap_moves_on_and_an_old_gap_moves_nothing() {
    let mut phone = Phone::attached();
    for seq in [6, 2] {
        phone.hear(bytes_of(Frame::Gap { stream: STREAM_INBOX, seq })).unwrap();
    }
    phone.hear(push(STREAM_INBOX, 7)).unwrap();
    assert_eq!(phone.told, ["gap 0 6", "message 0:7"]);
}

#[test]
fn coming_back_in_the_same_epoch_keeps_positions_and_counts_what_was_skipped() {
    let mut phone = Phone::attached();
    for seq in 1..=3 {
        phone.hear(push(STREAM_INBOX, seq)).unwrap();
    }
    phone.session.disconnected(0);
    phone.session.connected(10, &mut phone.out);
    assert_eq!(phone.said(), ["hello e1 0:3"], "and no acknowledgement on the new connection");
    phone.told.clear();
    phone.hear(welcome(1, &[(STREAM_INBOX, 3), (STREAM_ALL, 2)])).unwrap();
    phone.hear([push(STREAM_INBOX, 2), push(STREAM_INBOX, 4)].concat()).unwrap();
    assert_eq!(phone.told, ["gap 1 2", "attached e1 false", "duplicate 0:2", "message 0:4"]);
}

#[test]
fn a_server_that_lost_messages_is_followed_back() {
    let mut phone = Phone::attached();
    for seq in 1..=3 {
        phone.hear(push(STREAM_INBOX, seq)).unwrap();
    }
    phone.session.disconnected(0);
    phone.session.connected(10, &mut phone.out);
    phone.told.clear();
    phone.hear(welcome(1, &[(STREAM_INBOX, 1)])).unwrap();
    phone.hear(push(STREAM_INBOX, 2)).unwrap();
    assert_eq!(
        phone.told,
        ["rewound 0:1", "attached e1 false", "message 0:2"],
        "a new message, not a duplicate"
    );
}

#[test]
fn another_epoch_forgets_positions_at_login_and_in_the_middle() {
    let mut phone = Phone::attached();
    phone.hear(push(STREAM_INBOX, 1)).unwrap();
    phone.session.disconnected(0);
    phone.session.connected(0, &mut phone.out);
    phone.told.clear();
    phone.hear(welcome(2, &[(STREAM_INBOX, 5)])).unwrap();
    phone.hear(push(STREAM_INBOX, 6)).unwrap();
    phone.out.clear();
    phone.hear([sync(3), push(STREAM_INBOX, 1)].concat()).unwrap();
    assert_eq!(phone.told, ["attached e2 true", "message 0:6", "epoch 3", "message 0:1"]);
    assert_eq!(
        phone.said(),
        ["ack ", "ack 0:1"],
        "the Sync is answered, and the old epoch's position is not acknowledged"
    );
}

#[test]
fn each_sync_is_answered_at_once_by_an_empty_acknowledgement() {
    let mut phone = Phone::attached();
    phone.hear([push(STREAM_INBOX, 1), sync(2), sync(3)].concat()).unwrap();
    assert_eq!(phone.said(), ["ack ", "ack "]);
    phone.at(5_000).unwrap();
    assert!(phone.said().is_empty());

    let step = phone.session.step(5_000, &sync(4), &mut |_| {});
    assert_eq!(step, Ok(Some(sync(4).len())));
    phone.at(5_000).unwrap();
    assert_eq!(phone.said(), ["ack "], "also when frames are taken one by one");
}

#[test]
fn a_sync_of_our_own_epoch_is_answered_and_moves_nothing_back() {
    let mut phone = Phone::attached();
    for seq in 1..=3 {
        phone.hear(push(STREAM_INBOX, seq)).unwrap();
    }
    phone.at(500).unwrap();
    (phone.told, phone.out) = (Vec::new(), Vec::new());
    let mut buffer = Vec::new();
    let at = [(STREAM_INBOX, 1), (STREAM_ALL, 4)].map(|(stream, seq)| Position { stream, seq });
    let positions = Positions::build(at, &mut buffer);
    phone.hear(bytes_of(Frame::Sync(Sync { epoch: Epoch(1), positions }))).unwrap();
    phone.hear(push(STREAM_INBOX, 2)).unwrap();
    assert_eq!(phone.told, ["gap 1 4", "duplicate 0:2"]);
    assert_eq!(phone.said(), ["ack "]);
}

#[test]
fn topics_start_where_the_subscription_says_and_end_with_it() {
    let mut phone = Phone::attached();
    let answer = |status, stream, seq| {
        bytes_of(Frame::Subscription(Subscription { status, stream, seq, topic: "news" }))
    };
    phone.session.subscribe(0, "news", &mut phone.out);
    assert_eq!(phone.said(), ["subscribe"]);
    phone.hear(answer(SubscriptionStatus::Member, TOPIC, 10)).unwrap();
    phone.hear(push(TOPIC, 11)).unwrap();
    assert_eq!(phone.session.positions().last(), Some(Position { stream: TOPIC, seq: 11 }));
    assert_eq!(phone.session.topics().collect::<Vec<_>>(), [(TOPIC, "news")]);
    phone.hear(answer(SubscriptionStatus::NotMember, 0, 0)).unwrap();
    assert_eq!(phone.session.positions().count(), 0);
    phone.at(500).unwrap();
    assert!(phone.said().is_empty(), "an empty Ack would answer a Sync");
    phone.hear(push(99, 5)).unwrap();
    let tail: Vec<_> = phone.told[phone.told.len() - 2..].to_vec();
    assert_eq!(tail, ["unknown 99", "message 99:5"]);
}

#[test]
fn a_server_with_more_topics_than_a_hello_holds_is_left() {
    let mut phone = Phone::attached();
    for topic in 0..crate::TOPICS_MAX as u32 {
        phone.hear(push(100 + topic, 1)).unwrap();
    }
    assert_eq!(phone.hear(push(9_999, 1)), Err(SessionError::TooManyStreams));
}

#[test]
fn heartbeats_fill_silence_only_and_an_unanswered_one_ends_it() {
    let mut phone = Phone::attached();
    phone.at(59_999).unwrap();
    assert!(phone.said().is_empty());
    phone.at(60_000).unwrap();
    assert_eq!(phone.said(), ["ping"]);
    phone.hear(bytes_of(Frame::Pong)).unwrap();
    phone.at(100_000).unwrap();
    phone.hear(push(STREAM_INBOX, 1)).unwrap();
    phone.at(100_500).unwrap();
    assert_eq!(phone.said(), ["ack 0:1"]);
    phone.at(120_000).unwrap();
    assert!(phone.said().is_empty(), "the acknowledgement was a sign of life");
    phone.at(160_500).unwrap();
    assert_eq!(phone.said(), ["ping"]);
    phone.at(170_499).unwrap();
    assert_eq!(phone.at(170_500), Err(SessionError::NoPong(10_000)));
}

#[test]
fn waiting_acknowledgements_leave_before_a_ping_and_a_late_welcome_ends_it() {
    let mut phone = Phone::attached();
    phone.hear(push(STREAM_INBOX, 1)).unwrap();
    phone.session.ping(100, &mut phone.out);
    assert_eq!(phone.said(), ["ack 0:1", "ping"]);

    let mut phone = Phone::new();
    phone.session.connected(50, &mut phone.out);
    phone.at(20_049).unwrap();
    assert_eq!(phone.at(20_050), Err(SessionError::NoWelcome(20_000)));
}

#[test]
fn probes_come_before_hello() {
    let mut phone = Phone::new();
    phone.session.probe(&mut phone.out);
    let reply = wire::ProbeReply { load_permille: 250, retry_after_ms: 0 };
    phone.hear(bytes_of(Frame::ProbeReply(reply))).unwrap();
    assert_eq!((phone.said(), phone.told), (vec!["probe".into()], vec!["load 250".into()]));
}

#[test]
fn goaway_says_whether_and_when_to_come_back() {
    let leave = |code: u8| {
        let mut phone = Phone::attached();
        let mut buffer = Vec::new();
        let others = ["10.0.0.2:7070".to_owned()];
        let mut goaway = GoAway::new(Reason::Draining, 5_000).with_addresses(&others, &mut buffer);
        goaway.code = code;
        let trailing = [bytes_of(Frame::GoAway(goaway)), push(STREAM_INBOX, 1)].concat();
        assert_eq!(phone.hear(trailing.clone()), Ok(trailing.len()));
        assert_eq!(phone.told.len(), 1, "nothing after GoAway counts");
        phone.session.disconnected(u64::MAX)
    };
    for code in [Reason::Draining as u8, 200] {
        let Reconnect::After { ms, addresses } = leave(code) else { panic!("may come back") };
        assert!((5_000..=6_000).contains(&ms), "{ms}");
        assert_eq!(addresses, ["10.0.0.2:7070"]);
    }
    assert_eq!(leave(Reason::Replaced as u8), Reconnect::Never(Reason::Replaced));
}

#[test]
fn waits_grow_to_the_limit_and_a_login_resets_them() {
    let backoff = Backoff::default();
    let ends: Vec<u64> = (0..4).map(|n| (0..20_000).map(|r| backoff.wait_ms(n, r)).max().unwrap()).collect();
    assert_eq!(ends, [1_000, 1_800, 3_240, 5_832]);
    assert!((0..2_000_000).step_by(997).all(|random| backoff.wait_ms(1_000_000, random) <= 300_000));

    let mut session = Session::new(Config::new([0; 32]));
    for _ in 0..40 {
        session.disconnected(3);
    }
    session.connected(0, &mut Vec::new());
    session.bytes(0, &welcome(1, &[]), &mut Vec::new(), &mut |_| {}).unwrap();
    assert_eq!(session.disconnected(1_001), Reconnect::After { ms: 0, addresses: vec![] });
}

#[test]
fn what_a_server_may_not_say_ends_the_connection() {
    let mut phone = Phone::attached();
    let refused = phone.hear(bytes_of(Frame::Ping));
    assert_eq!(refused, Err(SessionError::Unexpected(wire::FrameType::Ping)));
    assert_eq!(
        Phone::attached().hear(welcome(1, &[])),
        Err(SessionError::Unexpected(wire::FrameType::Welcome))
    );
    assert_eq!(Phone::new().hear(push(0, 1)), Err(SessionError::Unexpected(wire::FrameType::Push)));
    assert_eq!(Phone::attached().hear(vec![0x7f]), Err(SessionError::Wire(WireError::UnknownBare(0x7f))));
    assert_eq!(Phone::attached().hear(vec![0x8f, 2, 0, 0]), Ok(4), "a skippable frame is skipped");
}
