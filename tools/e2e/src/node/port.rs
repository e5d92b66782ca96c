//! Ports that stay ours although the processes that listen on them come and go.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// A port of 127.0.0.1, kept by a socket that is bound to it and never listens: nobody else is given it, and
/// connections go to those who do listen.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    _keeper: Socket,
}

impl Port {
    /// For several listeners at once, with `SO_REUSEPORT`.
    ///
    /// # Errors
    /// There is none.
    pub fn shared() -> io::Result<Self> {
        Self::keep(true)
    }

    /// For one listener at a time.
    ///
    /// # Errors
    /// There is none.
    pub fn exclusive() -> io::Result<Self> {
        Self::keep(false)
    }

    /// The port with its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn keep(is_shared: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        setsockopt(&socket, sockopt::ReusePort, &is_shared)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, _keeper: socket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_kept_port_can_be_listened_on_again_and_again() {
        let port = Port::exclusive().unwrap();
        TcpStream::connect(port.address()).expect_err("the keeper does not listen");
        for _ in 0..2 {
            let listener = TcpListener::bind(port.address()).unwrap();
            TcpStream::connect(port.address()).unwrap();
            listener.accept().unwrap();
        }
    }
}
