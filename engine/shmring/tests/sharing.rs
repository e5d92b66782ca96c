//! What is accepted from another process: descriptors, seals, sizes; and a real other process.
#![cfg(not(loom))]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use nix::fcntl::{FcntlArg, FdFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{ftruncate, write};
use shmring::{
    CAPACITY_BYTES_MAX, Doorbell, FDS_MAX, PAGE_WORDS_MAX, PassError, RingConfig, RingError, Segment,
    SharedPage, recv_fds, send_fds,
};

const CAPACITY: usize = 8192;
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);

fn sockets() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("a socket pair")
}

fn ring() -> Segment {
    Segment::create("test-ring", &RingConfig { capacity_bytes: CAPACITY }).expect("memory")
}

/// A memfd with the given content at its beginning, sealed as told.
fn memfd(len: usize, content: &[u8], seals: SealFlag) -> OwnedFd {
    let file = memfd_create("forged", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).expect("memfd");
    ftruncate(&file, len as i64).expect("truncate");
    assert_eq!(write(&file, content).expect("write"), content.len());
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).expect("seal");
    file
}

/// The identity that a ring begins with.
fn identity(magic: &[u8; 8], version: u32, capacity: usize) -> Vec<u8> {
    let magic = u64::from_be_bytes(*magic).to_ne_bytes();
    [&magic[..], &version.to_ne_bytes(), &[0; 4], &(capacity as u64).to_ne_bytes()].concat()
}

fn refusal(file: OwnedFd) -> RingError {
    Segment::attach(file, CAPACITY).err().expect("a forged ring is refused")
}

#[test]
fn a_faithful_forgery_attaches_so_that_the_refusals_below_mean_something() {
    let file = memfd(4096 + CAPACITY, &identity(b"MOORRING", 1, CAPACITY), SEALS);
    assert_eq!(Segment::attach(file, CAPACITY).unwrap().capacity_bytes(), CAPACITY);
}

#[test]
fn forged_segments_are_refused() {
    let good = identity(b"MOORRING", 1, CAPACITY);
    let len = 4096 + CAPACITY;
    for missing in [SealFlag::F_SEAL_SHRINK, SealFlag::F_SEAL_GROW, SealFlag::F_SEAL_SEAL] {
        assert!(matches!(refusal(memfd(len, &good, SEALS - missing)), RingError::NotSealed));
    }
    assert!(matches!(
        refusal(Doorbell::create().unwrap().fd().try_clone_to_owned().unwrap()),
        RingError::NotSealed
    ));
    assert!(matches!(refusal(memfd(100, &good, SEALS)), RingError::SizeMismatch { found_bytes: 100, .. }));
    assert!(matches!(refusal(memfd(len + 8, &good, SEALS)), RingError::BadCapacity { .. }));
    assert!(matches!(refusal(memfd(4096 + 2 * CAPACITY, &good, SEALS)), RingError::BadCapacity { .. }));
    let half = identity(b"MOORRING", 1, CAPACITY / 2);
    assert!(matches!(refusal(memfd(len, &half, SEALS)), RingError::SizeMismatch { .. }));
    assert!(matches!(refusal(memfd(len, &identity(b"MOORINGS", 1, CAPACITY), SEALS)), RingError::BadMagic));
    let next = identity(b"MOORRING", 2, CAPACITY);
    assert!(matches!(refusal(memfd(len, &next, SEALS)), RingError::BadVersion { found: 2 }));
}

#[test]
fn a_created_ring_is_sealed_closes_on_exec_and_has_its_memory() {
    let segment = ring();
    let seals = SealFlag::from_bits_retain(fcntl(segment.fd(), FcntlArg::F_GET_SEALS).unwrap());
    assert_eq!(seals, SEALS);
    let flags = FdFlag::from_bits_retain(fcntl(segment.fd(), FcntlArg::F_GETFD).unwrap());
    assert!(flags.contains(FdFlag::FD_CLOEXEC));
    let stat = nix::sys::stat::fstat(segment.fd()).unwrap();
    assert_eq!(stat.st_blocks * 512, stat.st_size);
    assert!(ftruncate(segment.fd(), 4096).is_err());
}

#[test]
fn capacities_outside_the_limits_are_refused() {
    for capacity_bytes in [0, 2048, 5000, CAPACITY_BYTES_MAX * 2, usize::MAX] {
        let created = Segment::create("test-ring", &RingConfig { capacity_bytes });
        assert!(matches!(created, Err(RingError::BadCapacity { bytes }) if bytes == capacity_bytes));
    }
}

#[test]
fn a_page_is_shared_and_checked() {
    let page = SharedPage::create("test-page", 600).unwrap();
    let file = page.fd().try_clone_to_owned().unwrap();
    let other = SharedPage::attach(file, 600).unwrap();
    page.words()[599].store(42, Ordering::Relaxed);
    assert_eq!((other.words().len(), other.words()[599].load(Ordering::Relaxed)), (600, 42));

    let file = page.fd().try_clone_to_owned().unwrap();
    assert!(matches!(SharedPage::attach(file, 5_000), Err(RingError::SizeMismatch { .. })));
    let unsealed = memfd(8192, &[], SealFlag::F_SEAL_SHRINK);
    assert!(matches!(SharedPage::attach(unsealed, 600), Err(RingError::NotSealed)));
    for words in [0, PAGE_WORDS_MAX + 1] {
        assert!(matches!(SharedPage::create("test-page", words), Err(RingError::BadPageWords { .. })));
    }
}

#[test]
fn descriptors_pass_with_their_message() {
    let (near, far) = sockets();
    let (segment, doorbell) = (ring(), Doorbell::create().unwrap());
    send_fds(&near, b"linkup", &[segment.fd(), doorbell.fd()]).unwrap();
    send_fds(&near, b"plain", &[]).unwrap();
    drop(near);

    let mut buf = [0; 64];
    let (len, mut fds) = recv_fds(&far, &mut buf, 2).unwrap();
    assert_eq!((&buf[..len], fds.len()), (&b"linkup"[..], 2));
    for fd in &fds {
        let flags = FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }
    let received = Doorbell::from_fd(fds.pop().unwrap());
    let mut producer = segment.into_producer(doorbell);
    let mut consumer = Segment::attach(fds.pop().unwrap(), CAPACITY).unwrap().into_consumer(received);
    assert!(consumer.prepare_sleep().unwrap());
    producer.push(7, &[b"over ", b"there"]).unwrap();
    assert!(producer.publish().unwrap());
    consumer.wake();
    assert_eq!(consumer.peek().unwrap().unwrap().bytes, b"over there");

    let (len, fds) = recv_fds(&far, &mut buf, 0).unwrap();
    assert_eq!((&buf[..len], fds.len()), (&b"plain"[..], 0));
    assert_eq!(recv_fds(&far, &mut buf, 0).unwrap().0, 0, "the end of the connection");
}

#[test]
fn messages_that_do_not_fit_are_refused_and_their_descriptors_closed() {
    let (near, far) = sockets();
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let mut buf = [0; 4];
    let many: Vec<BorrowedFd<'_>> = vec![writer.as_fd(); FDS_MAX + 1];
    let sent = send_fds(&near, b"x", &many);
    assert!(matches!(sent, Err(PassError::TooManyFds { count, max: FDS_MAX }) if count == FDS_MAX + 1));
    assert!(matches!(send_fds(&near, b"", &many[..1]), Err(PassError::EmptyMessage)));
    send_fds(&near, b"too long", &many[..3]).unwrap();
    assert!(matches!(recv_fds(&far, &mut buf, FDS_MAX), Err(PassError::Truncated)));
    send_fds(&near, b"x", &many[..FDS_MAX]).unwrap();
    assert!(matches!(recv_fds(&far, &mut buf, 1), Err(PassError::TooManyFds { count: FDS_MAX, max: 1 })));
    send_more_than_the_control_buffer_holds(&near, &many);
    assert!(matches!(recv_fds(&far, &mut buf, FDS_MAX), Err(PassError::Truncated)));

    drop(writer);
    assert_eq!(nix::unistd::read(&reader, &mut [0]).unwrap(), 0, "no copy of the writing end is left open");
}

fn send_more_than_the_control_buffer_holds(sock: &OwnedFd, fds: &[BorrowedFd<'_>]) {
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let raw: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let data = [std::io::IoSlice::new(b"x")];
    let control = [ControlMessage::ScmRights(&raw)];
    sendmsg::<()>(sock.as_raw_fd(), &data, &control, MsgFlags::empty(), None).expect("sendmsg");
}

const CHILD_RECORDS: u32 = 10_000;

/// Run by the test below in a process of its own, with the socket as its standard input.
#[test]
#[ignore = "the other process of `a_ring_between_two_processes_survives_the_death_of_one`"]
fn child_producer() {
    let mut buf = [0; 16];
    let (_, mut fds) = recv_fds(&std::io::stdin(), &mut buf, 2).unwrap();
    let doorbell = Doorbell::from_fd(fds.pop().unwrap());
    let mut producer = Segment::attach(fds.pop().unwrap(), CAPACITY).unwrap().into_producer(doorbell);
    for i in 0..CHILD_RECORDS {
        while let Err(error) = producer.push(3, &[&i.to_ne_bytes()]) {
            assert!(matches!(error, RingError::Full), "{error}");
            std::thread::yield_now();
        }
        producer.publish().unwrap();
    }
    producer.push(3, &[b"never published"]).unwrap();
    std::process::abort();
}

#[test]
fn a_ring_between_two_processes_survives_the_death_of_one() {
    let (near, far) = sockets();
    let (segment, doorbell) = (ring(), Doorbell::create().unwrap());
    send_fds(&near, b"linkup", &[segment.fd(), doorbell.fd()]).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_producer", "--ignored"])
        .stdin(Stdio::from(far))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut consumer = segment.into_consumer(doorbell);
    let mut next = 0u32;
    let mut child_ended = false;
    loop {
        match consumer.peek().unwrap() {
            Some(record) => {
                assert_eq!((record.kind, record.bytes), (3, &next.to_ne_bytes()[..]));
                next += 1;
                consumer.advance();
                consumer.release();
            }
            // Looked at once more after the child was seen to have ended.
            None if child_ended => break,
            None => child_ended = child.try_wait().unwrap().is_some(),
        }
    }
    assert_eq!(next, CHILD_RECORDS, "everything published is there, the rest is not");
}
