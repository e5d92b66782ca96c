//! New connections. When the socket they come from is open, `acceptor.rs` decides.

use crate::core::{CLASS_HANDSHAKE, Conn, Core};
use metrics::WorkerMetric;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use std::io::{ErrorKind, Read, Write};
use wire::{Frame, GoAway, Reason};

/// How an accept batch ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// The backlog is empty; epoll tells of the next one.
    Drained,
    /// The batch is full and the backlog may not be: go on in the next turn.
    More,
    /// Descriptors ran out: try again later. Accepting now would spin.
    Paused,
    /// This worker is full and others are not: leave the backlog to them.
    Full,
}

impl Core {
    /// Takes a bounded number of connections from the backlog.
    pub fn accept(&mut self, listener: &TcpListener) -> Accepted {
        for _ in 0..self.config.accept_batch {
            if self.is_to_step_out() {
                return Accepted::Full;
            }
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Accepted::Drained,
                Err(error) if is_exhausted(&error) => {
                    self.page.add(WorkerMetric::AcceptPaused, 1);
                    return Accepted::Paused;
                }
                // The phone gave up while it waited, or the network did: the next one may be fine.
                Err(_) => {}
            }
        }
        Accepted::More
    }

    /// Takes what the backlog holds, as far as the descriptors kept for it go: whoever came before this worker
    /// leaves the group is served.
    pub fn accept_spare(&mut self, listener: &TcpListener) {
        for _ in self.conns.len()..self.config.connections_max + self.config.connections_spare {
            match listener.accept() {
                Ok((stream, _)) => {
                    self.page.add(WorkerMetric::Accepted, 1);
                    self.take_in(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock || is_exhausted(&error) => break,
                Err(_) => {}
            }
        }
    }

    /// Whether this worker is full and others can serve what would come to it.
    pub fn is_to_step_out(&self) -> bool {
        self.conns.len() >= self.config.connections_max && self.may_step_out()
    }

    /// Whether a connection that nobody has accepted would go to another worker if this one stopped listening.
    pub fn may_step_out(&self) -> bool {
        self.config.steps_out && self.admission.is_room_elsewhere() && !self.draining
    }

    fn admit(&mut self, stream: TcpStream) {
        self.page.add(WorkerMetric::Accepted, 1);
        if !self.admission.is_open() {
            self.page.add(WorkerMetric::RefusedAdmission, 1);
            return self.turn_away(stream);
        }
        if self.conns.len() >= self.config.connections_max {
            self.page.add(WorkerMetric::RefusedFull, 1);
            return self.turn_away(stream);
        }
        self.take_in(stream);
    }

    /// The Hello mostly came with the connection: it is read before epoll is told of the socket, which then has
    /// nothing to tell, and saves a turn.
    fn take_in(&mut self, stream: TcpStream) {
        let generation = self.next_generation();
        let slot = self.conns.insert(Conn::new(stream, generation));
        self.deadlines.arm(slot as u32, CLASS_HANDSHAKE, self.now);
        let id = self.id_of(slot);
        self.readable(slot, false);
        if self.slot_of(id).is_none() {
            return; // It was put off, or turned out to be nobody.
        }
        let token = Token(id.to_u64() as usize);
        if self.registry.register(&mut self.conns[slot].stream, token, Interest::READABLE).is_err() {
            self.close(slot, Reason::SocketError);
        }
    }

    /// There is no room: say so and close. What the phone sent is read away first, since closing a socket
    /// with unread bytes resets the connection and takes the answer with it.
    fn turn_away(&mut self, mut stream: TcpStream) {
        self.page.closed(Reason::ServerFull);
        let retry_after_ms = self.retry_after_ms();
        let goaway = GoAway::new(Reason::ServerFull, retry_after_ms);
        let goaway = goaway.with_addresses(&self.config.addresses, &mut self.addresses);
        self.farewell.clear();
        Frame::GoAway(goaway).encode(&mut self.farewell);
        // Both are best effort: what fails here is a phone that has gone already.
        if let Ok(read) = stream.read(&mut self.scratch) {
            self.page.add(WorkerMetric::BytesIn, read as u64);
        }
        if let Ok(written) = stream.write(&self.farewell) {
            self.page.add(WorkerMetric::BytesOut, written as u64);
        }
    }
}

/// Whether this process or the system is out of descriptors or memory for one more socket.
fn is_exhausted(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
