//! What a worker does once, before its loop.

use core_affinity::CoreId;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Ties the process to one core. False when the kernel refuses, for instance for a core that a container
/// may not use; the worker runs as well, only less evenly.
pub fn pin(cpu: usize) -> bool {
    core_affinity::set_for_current(CoreId { id: cpu })
}

/// Makes the kernel size the descriptor table for `descriptors` now. It would double it on the way there,
/// and copy it each time while thousands of phones wait.
///
/// # Errors
/// When the limit on open files is lower than that.
pub fn presize_descriptors(descriptors: u64) -> io::Result<()> {
    let last = i32::try_from(descriptors.saturating_sub(1)).unwrap_or(i32::MAX);
    let fd = fcntl(io::stdin(), FcntlArg::F_DUPFD_CLOEXEC(last))?;
    // SAFETY: fcntl has just made this descriptor and nothing else knows of it; it is closed at once.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

/// Whether the kernel hands connections that nobody has accepted to another socket of the group when their
/// listener closes, instead of resetting them. Older kernels do not know the setting.
pub fn connections_migrate() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req").is_ok_and(|text| text.trim() == "1")
}

/// TERM and INT as a descriptor, so that they are events like any other.
///
/// # Errors
/// When the kernel refuses the descriptor.
pub fn stop_signals() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}
