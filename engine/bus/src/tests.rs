use super::*;
use proptest::prelude::*;
use wire::{AppId, ConnId, DeviceId, Epoch, Position, Positions, Reason};

fn conn() -> impl Strategy<Value = ConnId> {
    any::<u64>().prop_map(ConnId::from_u64)
}

fn reason() -> impl Strategy<Value = Reason> {
    prop::sample::select(Reason::ALL)
}

fn ups_round_trip(record: Up<'_>) -> Result<(), TestCaseError> {
    let (kind, bytes) = record.to_bytes();
    prop_assert_eq!(Up::decode(kind, &bytes), Ok(record));
    let mut appended = Vec::new();
    prop_assert_eq!((record.append_to(&mut appended), appended), (kind, bytes));
    Ok(())
}

proptest! {
    #[test]
    fn records_survive_the_ring(
        conn in conn(), route: u32, stream: u32, seq: u64, device: u64, app: u16, heartbeat_s: u16, session: u64,
        epoch: u64, reason in reason(), topic in "[a-zä/]{0,40}", retry_after_ms: u32, sync: bool, kid: u8,
        secret: [u8; 32], list in prop::collection::vec((any::<u32>(), any::<u64>()), 0..100),
        frames in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let mut buffer = Vec::new();
        let positions = Positions::build(list.into_iter().map(|(stream, seq)| Position { stream, seq }), &mut buffer);
        let (device, app, epoch) = (DeviceId(device), AppId(app), Epoch(epoch));
        ups_round_trip(Up::Attach(Attach { conn, device, app, heartbeat_s, session, epoch, positions }))?;
        ups_round_trip(Up::Ack { conn, route, stream, seq })?;
        ups_round_trip(Up::Detach { conn, device, reason })?;
        ups_round_trip(Up::Subscribe { conn, route, topic: &topic })?;
        ups_round_trip(Up::Unsubscribe { conn, route, topic: &topic })?;
        ups_round_trip(Up::ReattachDone)?;
        ups_round_trip(Up::Walked { fanouts: route })?;
        for record in [
            Down::TokenKey { kid, secret },
            Down::TokenKeyGone { kid },
            Down::Linked,
            Down::Attached(Attached { conn, route, session, heartbeat_s, sync, frames: &frames }),
            Down::Refused { conn, reason, retry_after_ms },
            Down::Push { conn, frames: &frames },
            Down::Fanout { app, stream, frame: &frames },
            Down::Join { conn, stream },
            Down::Leave { conn, stream },
            Down::Kick { conn, reason, retry_after_ms },
            Down::Admission(Admission { attaches_per_s: route, elsewhere: sync }),
            Down::Pace { members_per_s: stream },
        ] {
            let (kind, bytes) = record.to_bytes();
            prop_assert_eq!(Down::decode(kind, &bytes), Ok(record));
        }
    }

    #[test]
    fn nonsense_is_refused_or_read_but_never_worse(kind in 0..20u16, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(record) = Up::decode(kind, &bytes) {
            let (kind, again) = record.to_bytes();
            prop_assert_eq!(Up::decode(kind, &again), Ok(record));
        }
        if let Ok(record) = Down::decode(kind, &bytes) {
            let (kind, again) = record.to_bytes();
            prop_assert_eq!(Down::decode(kind, &again), Ok(record));
        }
    }
}

/// A socket path of this test's own.
fn socket_path(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("moorline-bus-{}-{name}.sock", std::process::id()))
}

const OFFER: Offer = Offer { worker: 3, pid: 99, connections_max: 1000 };

#[test]
fn a_worker_and_a_dispatcher_meet_and_notice_each_others_end() {
    let path = socket_path("meet");
    let listener = Listener::bind(&path).expect("bound");
    assert!(listener.accept().expect("no error").is_none(), "nobody yet");
    let page = shmring::SharedPage::create("page", 8).expect("page");
    let socket = connect(&path).expect("connected");
    let peer = listener.accept().expect("no error").expect("a worker waits");
    let Ok(Err(peer)) = peer.receive(8) else { panic!("an offer arrived before it was made") };
    let mut worker = offer(socket, OFFER, 4096, &page).expect("offered");
    let Ok(Ok((got, mut dispatcher, seen))) = peer.receive(8) else { panic!("no offer") };
    assert_eq!(got, OFFER);
    page.words()[5].store(42, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(seen.words()[5].load(std::sync::atomic::Ordering::Relaxed), 42);
    Up::ReattachDone.push(&mut worker.tx).expect("room");
    worker.tx.publish().expect("published");
    let record = dispatcher.rx.peek().expect("sane").expect("a record");
    assert_eq!(Up::decode(record.kind, record.bytes), Ok(Up::ReattachDone));
    assert!(!worker.guard.is_closed() && !dispatcher.guard.is_closed());
    drop(dispatcher);
    assert!(worker.guard.is_closed(), "the kernel tells of the other's end");
    std::fs::remove_file(&path).expect("cleaned up");
}

#[test]
fn a_living_dispatcher_is_not_displaced_and_a_dead_ones_socket_is() {
    let path = socket_path("displace");
    let first = Listener::bind(&path).expect("bound");
    let refused = Listener::bind(&path).expect_err("refused").to_string();
    assert!(refused.contains("another dispatcher"), "{refused}");
    drop(first);
    Listener::bind(&path).expect("what a dead dispatcher left is replaced");
    std::fs::remove_file(&path).expect("cleaned up");
}

#[test]
fn an_offer_that_is_none_is_refused() {
    let path = socket_path("nonsense");
    let listener = Listener::bind(&path).expect("bound");
    for (message, fds) in [
        (&b"GET / HTTP/1.1\r\n"[..], 0),
        (b"short", 0),
        (b"MLB1aaaabbbbccccdddd", 0),
        (b"MLB1aaaabbbbccccdddd", 5),
    ] {
        let socket = connect(&path).expect("connected");
        let null = std::fs::File::open("/dev/null").expect("open");
        let list = vec![std::os::fd::AsFd::as_fd(&null); fds];
        shmring::send_fds(&socket, message, &list).expect("sent");
        let peer = listener.accept().expect("no error").expect("waits");
        assert!(peer.receive(8).is_err(), "{message:?} with {fds} descriptors");
    }
    std::fs::remove_file(&path).expect("cleaned up");
}
