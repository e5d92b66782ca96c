//! Descriptors from one process to another, over a Unix SOCK_SEQPACKET socket.

use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Most descriptors one message can carry.
pub const FDS_MAX: usize = 16;

/// Room for the control message of [`FDS_MAX`] descriptors, in aligned words.
// SAFETY: the macro is plain arithmetic.
const CONTROL_WORDS: usize =
    (unsafe { libc::CMSG_SPACE((FDS_MAX * size_of::<RawFd>()) as u32) } as usize).div_ceil(size_of::<u64>());

/// Why descriptors could not be passed.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// A system call failed; `WouldBlock` on a socket that does not block.
    #[error("passing descriptors: {0}")]
    Io(#[from] io::Error),
    /// Nothing to send: an empty message cannot be told from the end of the connection.
    #[error("descriptors must accompany at least one byte")]
    EmptyMessage,
    /// More descriptors than the message can carry or the receiver accepts. Those received are
    /// closed again.
    #[error("{count} descriptors in one message, at most {max} are accepted")]
    TooManyFds {
        /// Descriptors given or received.
        count: usize,
        /// The limit they exceed.
        max: usize,
    },
    /// The message, or the list of its descriptors, did not fit, or this process has no free
    /// descriptors. What arrived is closed again.
    #[error("a message arrived cut off; give it a larger buffer, or raise the limit of open files")]
    Truncated,
}

/// Sends `message` and copies of `fds` as one packet.
///
/// # Errors
/// [`PassError::EmptyMessage`], [`PassError::TooManyFds`] above [`FDS_MAX`], or [`PassError::Io`].
pub fn send_fds(sock: &impl AsFd, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), PassError> {
    if message.is_empty() {
        return Err(PassError::EmptyMessage);
    }
    if fds.len() > FDS_MAX {
        return Err(PassError::TooManyFds { count: fds.len(), max: FDS_MAX });
    }
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[] } else { &rights[..] };
    let socket = sock.as_fd().as_raw_fd();
    sendmsg::<()>(socket, &[IoSlice::new(message)], control, MsgFlags::MSG_NOSIGNAL, None)
        .map_err(io::Error::from)?;
    Ok(())
}

/// Receives one packet into `buf` and returns its length with at most `fds_max` descriptors, which
/// close on exec. A length of zero is the end of the connection.
///
/// # Errors
/// [`PassError::Truncated`], [`PassError::TooManyFds`] above `fds_max`, or [`PassError::Io`]. No
/// descriptor is left open by an error.
pub fn recv_fds(
    sock: &impl AsFd,
    buf: &mut [u8],
    fds_max: usize,
) -> Result<(usize, Vec<OwnedFd>), PassError> {
    let mut control = [0u64; CONTROL_WORDS];
    let mut data = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: all fields of a message header may be zero.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut data;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the header points to `buf` and `control`, with their true lengths; both outlive the
    // call and nobody else uses them.
    // JUSTIFICATION: the safe wrapper drops all received descriptors unclosed when the list was
    // truncated, which a peer could use to exhaust this process.
    let received =
        unsafe { libc::recvmsg(sock.as_fd().as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
    let received = Errno::result(received).map_err(io::Error::from)?;
    let fds = take_fds(&header);
    if header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(PassError::Truncated);
    }
    if fds.len() > fds_max {
        return Err(PassError::TooManyFds { count: fds.len(), max: fds_max });
    }
    Ok((received as usize, fds))
}

/// Takes ownership of all descriptors that a received message carries.
fn take_fds(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel has filled the control buffer that the header names; it is aligned, and
    // these macros stay within the length that the kernel has set.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !control.is_null() {
        // SAFETY: not null, hence a complete control message inside the buffer.
        let message = unsafe { &*control };
        if (message.cmsg_level, message.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: as above.
            let start = unsafe { libc::CMSG_DATA(control) };
            // SAFETY: plain arithmetic.
            let overhead = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = (message.cmsg_len as usize - overhead) / size_of::<RawFd>();
            for i in 0..count {
                // SAFETY: the kernel put `count` descriptors here, new ones that this process
                // alone owns and nobody has taken yet.
                let fd = unsafe { OwnedFd::from_raw_fd(start.cast::<RawFd>().add(i).read_unaligned()) };
                fds.push(fd);
            }
        }
        // SAFETY: `control` is a complete control message of this header.
        control = unsafe { libc::CMSG_NXTHDR(header, control) };
    }
    fds
}
