//! A network namespace of our own, gone with its processes.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Enters a new network namespace with nothing but a loopback interface, which is brought up. To be called
/// before this process has a second thread: each thread is in a namespace of its own.
///
/// # Errors
/// Not root, or a kernel without namespaces.
pub fn enter() -> io::Result<()> {
    let threads = fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!(
            "{threads} threads run already; this has to be the first thing"
        )));
    }
    unshare(CloneFlags::CLONE_NEWNET)?;
    change("lo", libc::SIOCGIFFLAGS, libc::SIOCSIFFLAGS, |request| {
        // SAFETY: SIOCGIFFLAGS filled in this member of the union.
        unsafe { request.ifr_ifru.ifru_flags |= (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short };
    })
}

/// Gives the loopback interface a second address, reachable from inside the namespace only.
///
/// # Errors
/// The kernel refuses the address.
pub fn add_address(address: Ipv4Addr) -> io::Result<()> {
    // An interface's second address is that of its alias.
    let set = |what, address: Ipv4Addr| {
        change("lo:1", 0, what, |request| request.ifr_ifru.ifru_addr = socket_address(address))
    };
    set(libc::SIOCSIFADDR, address)?;
    // Without this the whole class of the address would be ours.
    set(libc::SIOCSIFNETMASK, Ipv4Addr::BROADCAST)
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: both are plain data of the same size, and the family says which it is.
    unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(address) }
}

/// Reads an interface's request with `get` unless that is 0, changes it, and writes it with `set`.
fn change(
    name: &str,
    get: libc::c_ulong,
    set: libc::c_ulong,
    edit: impl FnOnce(&mut libc::ifreq),
) -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the structure is plain data, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let call = |what: libc::c_ulong, request: &mut libc::ifreq| {
        // SAFETY: the request is a whole `ifreq`, and outlives the call.
        match unsafe { libc::ioctl(socket.as_raw_fd(), what as _, request) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    if get != 0 {
        call(get, &mut request)?;
    }
    edit(&mut request);
    call(set, &mut request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_thread_is_one_too_many() {
        // Tests run beside each other, so there always is one.
        std::thread::scope(|scope| {
            let (entered, wait) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || wait.recv());
            assert!(enter().unwrap_err().to_string().contains("threads run already"));
            drop(entered);
        });
    }
}
