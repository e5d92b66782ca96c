//! A TUN device of a queue's own.

use std::ffi::c_ulong;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;

use super::api::UserError;

/// Packets from the server that wait for the queue; beyond them they are lost, as in a router.
const QUEUE_PACKETS: i32 = 500_000;
const TUNSETIFF: c_ulong = 0x4004_54ca;

/// A device that carries IPv4 packets, each read and written by one call. It goes when this is dropped.
#[derive(Debug)]
pub struct Tun(OwnedFd);

impl Tun {
    /// Makes a device in the caller's network namespace, with `address` in a network of 16 bits.
    ///
    /// # Errors
    /// [`UserError::Device`].
    pub fn new(address: Ipv4Addr) -> Result<Self, UserError> {
        let failed = |step| move |e: nix::Error| UserError::Device { step, source: e.into() };
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let device = open("/dev/net/tun", flags, Mode::empty()).map_err(failed("open /dev/net/tun"))?;
        let mut request = named("moor%d");
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
        control(&device, TUNSETIFF, &mut request, "TUNSETIFF")?;
        let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).map_err(failed("socket"))?;
        request.ifr_ifru.ifru_addr = internet(address);
        control(&socket, libc::SIOCSIFADDR, &mut request, "SIOCSIFADDR")?;
        request.ifr_ifru.ifru_netmask = internet(Ipv4Addr::new(255, 255, 0, 0));
        control(&socket, libc::SIOCSIFNETMASK, &mut request, "SIOCSIFNETMASK")?;
        request.ifr_ifru.ifru_metric = QUEUE_PACKETS;
        control(&socket, libc::SIOCSIFTXQLEN, &mut request, "SIOCSIFTXQLEN")?;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        control(&socket, libc::SIOCSIFFLAGS, &mut request, "SIOCSIFFLAGS")?;
        Ok(Self(device))
    }

    /// Reads one packet; `None` when none waits.
    ///
    /// # Errors
    /// The device is gone.
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match nix::unistd::read(&self.0, buffer) {
            Ok(length) => Ok(Some(&buffer[..length])),
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes one packet; whether the kernel took it.
    pub fn write(&self, packet: &[u8]) -> bool {
        nix::unistd::write(&self.0, packet).is_ok()
    }
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

fn named(name: &str) -> libc::ifreq {
    // SAFETY: an ifreq is plain numbers, and zeros are some.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn internet(address: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: as above.
    let mut plain: libc::sockaddr = unsafe { std::mem::zeroed() };
    plain.sa_family = libc::AF_INET as libc::sa_family_t;
    // Behind the port, two bytes.
    for (to, from) in plain.sa_data[2..6].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    plain
}

fn control(
    fd: &impl AsRawFd,
    code: c_ulong,
    request: &mut libc::ifreq,
    step: &'static str,
) -> Result<(), UserError> {
    // SAFETY: the descriptor is open, and each of the codes used here reads or writes one ifreq.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), code as libc::Ioctl, std::ptr::from_mut(request)) };
    if done < 0 { Err(UserError::Device { step, source: io::Error::last_os_error() }) } else { Ok(()) }
}
