//! The listening socket's coming and going.
//!
//! ```text
//!              first link                 full, and others have room
//!   not yet ─────────────▶ listening ◀───────────────────────────────▶ stepped out
//!                              │          98 % or less, or others           │
//!                       drain  ▼          are full as well                  │
//!                            over ◀─────────────────────────────────────────┘
//! ```
//!
//! A worker that is full and listens must turn phones away. One that does not listen is passed over: the kernel
//! gives new connections, and those that nobody has accepted yet, to the other sockets of the group. That needs
//! `net.ipv4.tcp_migrate_req`; without it they would be reset, so the worker stays and turns away. It stays,
//! too, where the CPU picks the worker: leaving would renumber the group.

use crate::accept::Accepted;
use crate::core::Core;
use crate::limits;
use crate::listen::listen;
use crate::worker::WorkerError;
use metrics::WorkerMetric;
use mio::net::TcpListener;
use mio::{Interest, Token};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The token under which the poll tells of waiting connections.
pub const LISTENER: Token = Token(0);

/// The socket, if it is open, and what there is to do with it.
#[derive(Default)]
pub struct Acceptor {
    listener: Option<TcpListener>,
    /// Where it listened first: a port of the kernel's choice stays the same one.
    address: Option<SocketAddr>,
    /// Whether the backlog may hold connections that epoll will not tell of again.
    accept_now: bool,
    /// When to try again what the system refused.
    retry_at: Option<Instant>,
}

impl Acceptor {
    /// Whether it has never listened.
    pub fn is_new(&self) -> bool {
        self.address.is_none()
    }

    /// Whether the socket is open.
    pub fn is_listening(&self) -> bool {
        self.listener.is_some()
    }

    /// Connections wait.
    pub fn ready(&mut self) {
        self.accept_now = true;
    }

    /// When it has something to do by itself.
    pub fn due(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Opens the socket for the first time and says where it is.
    ///
    /// # Errors
    /// [`WorkerError`] when the address is not to be had.
    pub fn open(&mut self, core: &Core) -> Result<(), WorkerError> {
        let address = self.join_group(core, core.config.listen)?;
        println!("ready listen={address}");
        self.address = Some(address);
        Ok(())
    }

    fn join_group(&mut self, core: &Core, address: SocketAddr) -> Result<SocketAddr, WorkerError> {
        let mut listener = listen(address, core.config.backlog, core.config.by_cpu)?;
        core.registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        let address = listener.local_addr()?;
        self.listener = Some(listener);
        core.page.set(WorkerMetric::Listening, 1);
        Ok(address)
    }

    /// Accepts, steps out or comes back, as it is time to. True when there is more to do at once.
    pub fn turn(&mut self, core: &mut Core) -> bool {
        if self.retry_at.is_some_and(|at| at <= Instant::now()) {
            (self.retry_at, self.accept_now) = (None, true);
        }
        self.come_back(core);
        self.accept(core);
        if core.is_to_step_out() {
            self.step_out(core);
        }
        // In a drain the backlog is emptied before the socket closes: closing it resets whoever waits in it.
        if core.draining && !self.accept_now {
            self.close(core);
        }
        self.accept_now
    }

    fn accept(&mut self, core: &mut Core) {
        let (true, Some(listener)) = (self.accept_now, &self.listener) else {
            self.accept_now = false;
            return;
        };
        let accepted = core.accept(listener);
        self.accept_now = accepted == Accepted::More;
        if accepted == Accepted::Paused {
            self.retry_later(limits::ACCEPT_RETRY_MS);
        }
    }

    fn step_out(&mut self, core: &mut Core) {
        let Some(listener) = &self.listener else { return };
        core.accept_spare(listener);
        core.page.add(WorkerMetric::SteppedOut, 1);
        self.close(core);
    }

    /// Listens again after it had stepped out, once there is a reason to.
    fn come_back(&mut self, core: &Core) {
        let Some(address) = self.address.filter(|_| self.listener.is_none() && !core.draining) else {
            return;
        };
        let low_water = core.config.connections_max * limits::LISTEN_AGAIN_PERCENT / 100;
        let stays_out = core.may_step_out() && core.conns.len() >= low_water.max(1);
        if stays_out || self.retry_at.is_some() {
            return;
        }
        match self.join_group(core, address) {
            Ok(_) => self.accept_now = true,
            Err(error) => {
                metrics::say!("cannot listen again, trying on: {error}");
                self.retry_later(limits::LISTEN_RETRY_MS);
            }
        }
    }

    fn retry_later(&mut self, ms: u64) {
        self.retry_at = Some(Instant::now() + Duration::from_millis(ms));
    }

    fn close(&mut self, core: &Core) {
        self.listener = None;
        self.retry_at = None;
        self.accept_now = false;
        core.page.set(WorkerMetric::Listening, 0);
    }
}
