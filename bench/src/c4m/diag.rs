//! The kernel's own count of connections, exact: a dump over `NETLINK_SOCK_DIAG`.
//!
//! ```text
//!  ours ──▶ nlmsghdr 16 │ inet_diag_req_v2 56: family, protocol, states, our port     │
//!       ◀── nlmsghdr 16 │ inet_diag_msg …     one for each connection                 │ … NLMSG_DONE
//! ```
//!
//! `/proc/net/sockstat` is cheaper, and counts listeners, the other end of local connections and everybody else.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

const HEAD_BYTES: usize = 16;
const REQUEST_BYTES: usize = 56;
/// Bytes the kernel may answer with at a time; it fills at most 32 KiB.
const ANSWER_BYTES: usize = 64 << 10;
/// Longest wait for the next part of an answer.
const ANSWER_PATIENCE_S: i64 = 10;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x010;
const TCP_ESTABLISHED: u32 = 1;

/// What one dump saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Sockets.
    pub sockets: u64,
    /// Whether sockets came or went meanwhile in a way that may have hidden some.
    pub interrupted: bool,
}

/// TCP sockets over IPv4 of this network namespace that are established and have `port` on this side.
///
/// # Errors
/// The kernel does not tell.
pub fn established(port: u16) -> io::Result<Count> {
    let netlink = open()?;
    send(netlink.as_raw_fd(), &request(port), MsgFlags::empty())?;
    let (mut count, mut answer) = (Count::default(), vec![0; ANSWER_BYTES]);
    loop {
        let length = match recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty()) {
            Ok(length) => length,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if take(&answer[..length], &mut count)? {
            return Ok(count);
        }
    }
}

fn open() -> io::Result<OwnedFd> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        Some(SockProtocol::NetlinkSockDiag),
    )?;
    setsockopt(&netlink, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_PATIENCE_S, 0))?;
    Ok(netlink)
}

/// One request, in this machine's byte order but for the port.
fn request(port: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + REQUEST_BYTES);
    bytes.extend_from_slice(&((HEAD_BYTES + REQUEST_BYTES) as u32).to_ne_bytes());
    bytes.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // Sequence and sender: one request, one socket.
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[libc::AF_INET as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend_from_slice(&(1u32 << TCP_ESTABLISHED).to_ne_bytes());
    bytes.extend_from_slice(&port.to_be_bytes());
    // The other port, both addresses, the interface and the cookie: any.
    bytes.resize(HEAD_BYTES + REQUEST_BYTES, 0);
    bytes
}

/// Counts the messages of one part of the answer; whether it was the last.
fn take(mut part: &[u8], count: &mut Count) -> io::Result<bool> {
    while part.len() >= HEAD_BYTES {
        let word = |at: usize| u32::from_ne_bytes([part[at], part[at + 1], part[at + 2], part[at + 3]]);
        let half = |at: usize| u16::from_ne_bytes([part[at], part[at + 1]]);
        let length = word(0) as usize;
        if length < HEAD_BYTES || length > part.len() {
            return Err(io::Error::other(format!("a netlink message of {length} bytes in {}", part.len())));
        }
        count.interrupted |= half(6) & NLM_F_DUMP_INTR != 0;
        match half(4) {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR if length >= HEAD_BYTES + 4 => {
                return Err(io::Error::from_raw_os_error(-(word(HEAD_BYTES) as i32)));
            }
            SOCK_DIAG_BY_FAMILY => count.sockets += 1,
            _ => {}
        }
        // Messages begin at multiples of four.
        part = part.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn connections_of_a_port_are_counted_on_one_side_only() {
        let (ours, other) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = ours.local_addr().unwrap().port();
        assert_eq!(established(port).unwrap().sockets, 0, "a listener is not established");
        let mut pairs = Vec::new();
        for _ in 0..300 {
            pairs.push((TcpStream::connect(ours.local_addr().unwrap()).unwrap(), ours.accept().unwrap()));
        }
        let _stranger = (TcpStream::connect(other.local_addr().unwrap()).unwrap(), other.accept().unwrap());
        assert_eq!(established(port).unwrap(), Count { sockets: 300, interrupted: false });
        pairs.truncate(7);
        // The two ends of a connection need not learn of its end at once.
        let few = || established(port).is_ok_and(|count| count.sockets == 7);
        assert!(e2e::wait::until(std::time::Duration::from_secs(30), few), "{:?}", established(port));
    }

    #[test]
    fn an_answer_is_read_message_by_message() {
        let message = |kind: u16, flags: u16, body: &[u8]| {
            let mut bytes = ((HEAD_BYTES + body.len()) as u32).to_ne_bytes().to_vec();
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(&flags.to_ne_bytes());
            bytes.extend_from_slice(&[0; 8]);
            bytes.extend_from_slice(body);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let mut count = Count::default();
        let one = message(SOCK_DIAG_BY_FAMILY, 0, &[1; 5]);
        assert!(!take(&[one.clone(), one].concat(), &mut count).unwrap());
        assert!(take(&message(NLMSG_DONE, NLM_F_DUMP_INTR, &[0; 4]), &mut count).unwrap());
        assert_eq!(count, Count { sockets: 2, interrupted: true });
        let refused = message(NLMSG_ERROR, 0, &(-libc::EPERM).to_ne_bytes());
        assert_eq!(take(&refused, &mut count).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(take(&[9; 20], &mut count).is_err(), "a length beyond the part");
    }
}
