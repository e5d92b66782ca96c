//! A full worker leaves new phones to the others that share its port, in a network of the test's own.

use crate::common::dispatcher::Side;
use crate::common::phone::Phone;
use crate::common::until;
use crate::node::{Node, Process, Setup};
use bus::{Admission, Down, UNLIMITED};
use metrics::WorkerMetric;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use wire::Frame;

const MIGRATE: &str = "/proc/sys/net/ipv4/tcp_migrate_req";
const CONNECTIONS_MAX: u64 = 200;
const PHONES_FIRST: usize = 140;
const PHONES: usize = 380;
/// A small reserve of files, so that most of a backlog has to go to the other worker.
const NOFILE_RESERVE: usize = 32;
const SPARE: u64 = (NOFILE_RESERVE / engine::limits::NOFILE_RESERVE_PER_SPARE) as u64;

/// Runs a test in a thread whose network is its own; the network goes with its last process. Where the system
/// does not let it have one there is nothing to be tested.
fn in_own_network(test: fn()) {
    let tested = std::thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            return eprintln!("skipped: a network of its own is not to be had: {error}");
        }
        loopback_up().expect("a loopback interface");
        test();
    });
    if let Err(panic) = tested.join() {
        std::panic::resume_unwind(panic);
    }
}

fn loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: all zeros are a valid request: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the socket is open, and the request lives through the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn signal(process: &Process, signal: Signal) {
    kill(Pid::from_raw(process.0.id() as i32), signal).expect("a live process");
}

fn is_served(phone: &mut Phone) -> bool {
    phone.socket.write_all(&[wire::FrameType::Ping as u8]).is_ok()
        && phone.next().is_some_and(|frame| frame == crate::common::dispatcher::bytes(Frame::Pong))
}

fn tell_elsewhere(side: &mut Side, elsewhere: bool) {
    side.tell(Down::Admission(Admission { attaches_per_s: UNLIMITED, elsewhere }));
    side.is_heard();
}

/// Two workers on one port, and a crowd that came to both while the first could not accept.
struct Crowd {
    node: Node,
    side: Side,
    _second: Process,
    phones: Vec<Phone>,
    /// How many of them were answered.
    served: usize,
}

impl Crowd {
    /// `kernel_helps`: whether the kernel still moves connections when it comes to that.
    fn arrive(kernel_helps: bool) -> Self {
        std::fs::write(MIGRATE, "1").expect("a setting of this network");
        let keys = format!(
            "connections_max = {CONNECTIONS_MAX}\nnofile_reserve = {NOFILE_RESERVE}\nhandshake_deadline_ms = 600_000"
        );
        let listen = SocketAddr::from(([127, 0, 0, 1], 7070));
        let setup = |index| Setup { index, workers: 2, listen, worker: &keys, ..Setup::default() };
        let mut node = Node::with(&setup(0));
        // All of these come to the first worker, so that it is the one that gets full.
        let mut phones: Vec<_> = (0..PHONES_FIRST).map(|_| node.connect()).collect();
        assert!(phones.iter_mut().all(is_served));
        let mut second = Process::spawn(&node.directory, &setup(1));
        let mut side = node.dispatcher.link();
        assert_eq!(second.address(), node.address);
        assert_eq!(side.hear().up(), bus::Up::ReattachDone);
        [&mut node.side, &mut side].into_iter().for_each(|side| tell_elsewhere(side, true));
        if !kernel_helps {
            std::fs::write(MIGRATE, "0").expect("a setting of this network");
        }
        signal(&node.process, Signal::SIGSTOP);
        phones.extend((PHONES_FIRST..PHONES).map(|_| node.connect()));
        signal(&node.process, Signal::SIGCONT);
        let served = phones.iter_mut().map(is_served).filter(|served| *served).count();
        Self { node, side, _second: second, phones, served }
    }

    fn counts(&self, metric: WorkerMetric) -> [u64; 2] {
        [&self.node.side, &self.side].map(|side| side.page.get(metric))
    }
}

#[test]
fn a_full_worker_leaves_phones_to_the_others_and_nobody_is_cut_off() {
    in_own_network(|| {
        let mut crowd = Crowd::arrive(true);
        assert_eq!(crowd.served, PHONES);
        let full = CONNECTIONS_MAX + SPARE;
        assert_eq!(crowd.counts(WorkerMetric::Connections), [full, PHONES as u64 - full]);
        assert_eq!(crowd.counts(WorkerMetric::RefusedFull), [0, 0]);
        assert_eq!(crowd.counts(WorkerMetric::SteppedOut), [1, 0]);
        assert_eq!(crowd.counts(WorkerMetric::Listening), [0, 1]);
        crowd.phones.push(crowd.node.connect());
        assert!(is_served(&mut crowd.phones[PHONES]), "the other one takes whoever comes now");

        // Where all are full somebody has to tell phones so.
        tell_elsewhere(&mut crowd.node.side, false);
        crowd.node.becomes(WorkerMetric::Listening, 1);
        tell_elsewhere(&mut crowd.node.side, true);
        crowd.node.becomes(WorkerMetric::Listening, 0);
        assert_eq!(crowd.counts(WorkerMetric::SteppedOut), [2, 0]);
        // Without a dispatcher nobody knows of the others.
        crowd.node = crowd.node.relink();
        assert_eq!(crowd.node.side.hear().up(), bus::Up::ReattachDone);
        crowd.node.becomes(WorkerMetric::Listening, 1);
        tell_elsewhere(&mut crowd.node.side, true);
        crowd.node.becomes(WorkerMetric::Listening, 0);
        // Some leave, and it is there for others again.
        crowd.phones.drain(..10);
        crowd.node.becomes(WorkerMetric::Connections, full - 10);
        assert_eq!(crowd.node.get(WorkerMetric::Listening), 0, "a few are not worth the way");
        crowd.phones.drain(..10);
        crowd.node.becomes(WorkerMetric::Listening, 1);
        until("a phone that comes to the first", || {
            crowd.phones.push(crowd.node.connect());
            (crowd.node.get(WorkerMetric::Connections) > full - 20).then_some(())
        });
        assert_eq!(crowd.counts(WorkerMetric::RefusedFull), [0, 0]);
    });
}

#[test]
fn where_the_kernel_would_reset_them_a_worker_stays_and_turns_phones_away() {
    in_own_network(|| {
        // As the kernel does it when nobody asks it not to: this is what a worker looks at the setting for.
        let crowd = Crowd::arrive(false);
        assert!(crowd.served < PHONES, "nobody was cut off, so the other test shows nothing");
        assert_eq!(crowd.counts(WorkerMetric::SteppedOut), [1, 0]);
        drop(crowd);

        let keys = "connections_max = 2";
        let mut node = Node::with(&Setup { worker: keys, ..Setup::default() });
        tell_elsewhere(&mut node.side, true);
        let (mut first, mut second) = (node.connect(), node.connect());
        assert!(is_served(&mut first) && is_served(&mut second));
        node.connect().is_sent_away(wire::Reason::ServerFull);
        assert_eq!((node.get(WorkerMetric::SteppedOut), node.get(WorkerMetric::Listening)), (0, 1));
    });
}
