//! Once warm, the worker's thread takes nothing from the allocator, whatever phones and dispatcher do.
//!
//! The worker runs in this process, in a thread whose allocations are counted; phones and dispatcher run in
//! the test's own thread, which is not.

mod common;

use bus::Down;
use common::dispatcher::{APP, Dispatcher, Side, bytes};
use common::phone::Phone;
use common::until;
use engine::{Config, Worker};
use metrics::WorkerMetric;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::thread::JoinHandleExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use wire::{ConnId, Frame, Position, Positions, Push, Reason, STREAM_ALL, STREAM_INBOX};

struct Counting;

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn count() {
    if COUNTED.get() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on to the system allocator unchanged; the flag is a plain thread-local without
// a destructor, so that reading it allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's obligations are those of the system allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: as above; all memory came from the system allocator.
        unsafe { System.realloc(pointer, layout, bytes) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PHONES: u32 = 100;
const ROUNDS: u64 = 10;
const PAYLOAD: [u8; 1000] = [7; 1000];
const KEPT_TOPIC: u32 = 9;
const OWN_TOPICS: u32 = 1000;

fn config(bus_socket: PathBuf, listen: SocketAddr) -> Config {
    Config {
        worker: 0,
        listen,
        backlog: 1024,
        by_cpu: false,
        connections_max: 1000,
        accept_batch: 64,
        ring_bytes: 1 << 20,
        slow_consumer_bytes: 64 << 10,
        buffer_pool_bytes: 16 << 20,
        handshake_deadline_ms: 10_000,
        heartbeat_slack_ms: 30_000,
        retry_ms_min: 1000,
        retry_ms_max: 60_000,
        addresses: vec!["10.0.0.1:7070".to_owned()],
        bus_socket,
        seed: 1,
        connections_spare: 16,
        steps_out: false,
        purge: || {},
    }
}

/// A port that is free; the worker shares it, so that the one that found it may let go later.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}

fn start(config: Config) -> JoinHandle<()> {
    std::thread::spawn(move || {
        COUNTED.set(true);
        // Here, since it is this thread that must not be ended by the signals it takes.
        Worker::new(config).expect("a worker").run().expect("a drain at the end");
        COUNTED.set(false);
    })
}

fn stop(worker: JoinHandle<()>) {
    // SAFETY: the thread has not been joined, so its handle is valid.
    let sent = unsafe { libc::pthread_kill(worker.as_pthread_t(), libc::SIGTERM) };
    assert_eq!(sent, 0);
    worker.join().expect("a worker that did not panic");
}

struct Load {
    address: SocketAddr,
    side: Side,
    phones: Vec<(Phone, ConnId)>,
    seq: u64,
}

impl Load {
    fn login(&mut self, device: u32) -> (Phone, ConnId) {
        let (mut phone, conn) = Phone::login(self.address, &mut self.side, device);
        // The last is the connection's own, and goes with it.
        let own = OWN_TOPICS + conn.slot;
        for stream in [STREAM_ALL, KEPT_TOPIC, own] {
            self.side.tell(Down::Join { conn, stream });
        }
        let push = Frame::Push(Push { stream: own, seq: 1, payload: &PAYLOAD });
        self.side.tell(Down::Fanout { app: APP, stream: own, frame: &bytes(push) });
        phone.hears(push);
        (phone, conn)
    }

    fn run(&mut self) {
        for _ in 0..ROUNDS {
            self.pings_and_pushes();
            self.broadcasts();
            self.logouts_and_logins();
        }
        (0..2).for_each(|_| self.frames_in_pieces());
    }

    fn pings_and_pushes(&mut self) {
        self.seq += 1;
        let push = Push { stream: STREAM_INBOX, seq: self.seq, payload: &PAYLOAD };
        let frames = bytes(Frame::Push(push));
        for (phone, conn) in &mut self.phones {
            phone.say(&[Frame::Ping]);
            phone.hears(Frame::Pong);
            self.side.tell(Down::Push { conn: *conn, frames: &frames });
            phone.hears(Frame::Push(push));
            let mut list = Vec::new();
            let acked = Positions::build([Position { stream: STREAM_INBOX, seq: self.seq }], &mut list);
            phone.say(&[Frame::Ack(acked), Frame::Subscribe("news"), Frame::Unsubscribe("news")]);
            (0..3).for_each(|_| drop(self.side.hear()));
        }
    }

    /// Several at once, so that some wait for the walk of the others.
    fn broadcasts(&mut self) {
        let (stream, seqs) = (STREAM_ALL, 1..=40);
        for seq in seqs.clone() {
            let frame = bytes(Frame::Push(Push { stream, seq, payload: &PAYLOAD }));
            self.side.queue(Down::Fanout { app: APP, stream, frame: &frame });
        }
        self.side.link.tx.publish().expect("a sane ring");
        for (phone, _) in &mut self.phones {
            seqs.clone().for_each(|seq| phone.hears(Frame::Push(Push { stream, seq, payload: &PAYLOAD })));
        }
    }

    /// By themselves, by a kick, and by a broken protocol.
    fn logouts_and_logins(&mut self) {
        for (device, way) in (0..30).zip([0, 1, 2].into_iter().cycle()) {
            let (mut phone, conn) = self.phones.remove(0);
            match way {
                0 => drop(phone),
                1 => self.side.tell(Down::Kick { conn, reason: Reason::Kicked, retry_after_ms: 1 }),
                _ => phone.say(&[Frame::Probe]),
            }
            drop(self.side.hear());
            let next = self.login(device);
            self.phones.push(next);
        }
        let mut stranger = Phone::connect(self.address);
        stranger.say(&[Frame::Probe, common::phone::hello(b"garbage")]);
        while stranger.next().is_some() {}
    }

    fn frames_in_pieces(&mut self) {
        let (phone, conn) = &mut self.phones[0];
        let subscribe = bytes(Frame::Subscribe("a topic"));
        for (piece, kept) in [(&subscribe[..3], true), (&subscribe[3..], false)] {
            phone.socket.write_all(piece).expect("an open connection");
            until("the piece to be read", || {
                ((self.side.page.get(WorkerMetric::Buffered) > 0) == kept).then_some(())
            });
        }
        drop(self.side.hear());
        // A phone that reads late.
        let inbox = Frame::Push(Push { stream: STREAM_INBOX, seq: 1, payload: &PAYLOAD });
        let mut sent = 0;
        until("bytes to wait", || {
            sent += 1;
            self.side.tell(Down::Push { conn: *conn, frames: &bytes(inbox) });
            (self.side.page.get(WorkerMetric::Buffered) > 16 << 10).then_some(())
        });
        (0..sent).for_each(|_| phone.hears(inbox));
        until("nothing to wait", || (self.side.page.get(WorkerMetric::Buffered) == 0).then_some(()));
    }
}

#[test]
fn a_warm_worker_allocates_nothing() {
    let directory = std::env::temp_dir().join(format!("moorline-allocations-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a directory of the test's own");
    let bus_socket = directory.join("bus.sock");
    let dispatcher = Dispatcher::bind(&bus_socket);
    let address = free_port();
    let worker = start(config(bus_socket, address));
    let mut side = dispatcher.link();
    assert_eq!(side.hear().up(), bus::Up::ReattachDone, "it listens by now");
    assert_eq!(usize::from(side.offer.worker) + side.offer.connections_max as usize, 1000);

    let mut load = Load { address, side, phones: Vec::new(), seq: 0 };
    for device in 0..PHONES {
        let phone = load.login(device);
        load.phones.push(phone);
    }
    load.run();
    let warm = ALLOCATIONS.load(Ordering::SeqCst);
    assert!(warm > 0, "what a worker is made of was not counted");
    let before = [WorkerMetric::Turns, WorkerMetric::PushesWritten].map(|m| load.side.page.get(m));
    load.run();
    let after = [WorkerMetric::Turns, WorkerMetric::PushesWritten].map(|m| load.side.page.get(m));
    assert!(after[1] - before[1] >= ROUNDS * u64::from(PHONES) * 41, "{before:?} {after:?}");
    let allocations = ALLOCATIONS.load(Ordering::SeqCst) - warm;
    assert_eq!(allocations, 0, "in {} turns", after[0] - before[0]);

    stop(worker);
    std::fs::remove_dir_all(&directory).expect("cleaned up");
}
