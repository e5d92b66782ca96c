//! The listening socket: shared by all workers through SO_REUSEPORT, steered by CPU where that fits.

use mio::net::TcpListener;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use thiserror::Error;

/// Why a worker cannot listen.
#[derive(Debug, Error)]
#[error(
    "cannot listen on {address}: {source} ({step}); is the address this machine's, and the port free of programs that do not share it?"
)]
pub struct ListenError {
    address: SocketAddr,
    step: &'static str,
    source: io::Error,
}

/// Opens the socket. Options set here are inherited by every accepted connection, which saves a system call each.
pub fn listen(address: SocketAddr, backlog: i32, by_cpu: bool) -> Result<TcpListener, ListenError> {
    let failed = |step| move |source| ListenError { address, step, source };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
        .map_err(failed("socket"))?;
    socket.set_nonblocking(true).map_err(failed("non-blocking"))?;
    // So that a restarted worker does not wait for the old one's connections to time out.
    socket.set_reuse_address(true).map_err(failed("SO_REUSEADDR"))?;
    setsockopt(&socket, sockopt::ReusePort, &true).map_err(|e| failed("SO_REUSEPORT")(e.into()))?;
    // A push is one write and must not wait for the acknowledgement of an earlier one.
    socket.set_tcp_nodelay(true).map_err(failed("TCP_NODELAY"))?;
    socket.bind(&address.into()).map_err(failed("bind"))?;
    socket.listen(backlog).map_err(failed("listen"))?;
    if by_cpu {
        // After listen: a socket with a program of its own cannot join a group that listens already.
        steer_by_cpu(&socket).map_err(failed("SO_ATTACH_REUSEPORT_CBPF"))?;
    }
    Ok(TcpListener::from_std(socket.into()))
}

/// Attaches the classic BPF program "the number of this CPU" to the group of sockets that share the port: a
/// connection goes to the worker with the index of the CPU that took its packet in. Beyond the number of
/// workers the kernel falls back to its hash.
fn steer_by_cpu(socket: &Socket) -> io::Result<()> {
    const LOAD_ABSOLUTE_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const RETURN_ACCUMULATOR: u16 = (libc::BPF_RET | libc::BPF_A) as u16;
    const CPU: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32;
    let mut program = [
        libc::sock_filter { code: LOAD_ABSOLUTE_WORD, jt: 0, jf: 0, k: CPU },
        libc::sock_filter { code: RETURN_ACCUMULATOR, jt: 0, jf: 0, k: 0 },
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the descriptor is open, and `filter` and the program it points to live through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            std::ptr::from_ref(&filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
