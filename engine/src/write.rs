//! Bytes to sockets. Whatever a socket refuses is buffered here, and only here is write interest armed.

use crate::core::Core;
use bufpool::BufId;
use metrics::WorkerMetric;
use mio::{Interest, Token};
use std::io::{ErrorKind, Write};
use wire::Reason;

impl Core {
    /// Writes to the connection at `slot`, straight from where the bytes lie; buffers what the socket does
    /// not take. False when the connection had to be closed.
    pub fn write(&mut self, slot: usize, bytes: &[u8]) -> bool {
        let conn = &mut self.conns[slot];
        if !conn.outbound.is_none() {
            return self.buffer(slot, bytes);
        }
        self.page.add(WorkerMetric::Writes, 1);
        match conn.stream.write(bytes) {
            Ok(written) => {
                self.page.add(WorkerMetric::BytesOut, written as u64);
                written == bytes.len() || self.buffer(slot, &bytes[written..])
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                self.buffer(slot, bytes)
            }
            Err(_) => {
                self.close(slot, Reason::SocketError);
                false
            }
        }
    }

    /// Keeps bytes until the socket is writable again, within the bound for slow consumers.
    fn buffer(&mut self, slot: usize, bytes: &[u8]) -> bool {
        let conn = &mut self.conns[slot];
        let first = conn.outbound.is_none();
        if self.pool.bytes(conn.outbound).len() + bytes.len() > self.config.slow_consumer_bytes {
            self.close(slot, Reason::SlowConsumer);
            return false;
        }
        if self.pool.append(&mut conn.outbound, bytes).is_err() {
            self.page.add(WorkerMetric::BufferExhausted, 1);
            self.close(slot, Reason::Overload);
            return false;
        }
        !first || self.interest(slot, Interest::READABLE | Interest::WRITABLE)
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, slot: usize) {
        while !self.conns[slot].outbound.is_none() {
            let conn = &mut self.conns[slot];
            self.page.add(WorkerMetric::Writes, 1);
            match conn.stream.write(self.pool.bytes(conn.outbound)) {
                Ok(written) => {
                    self.page.add(WorkerMetric::BytesOut, written as u64);
                    self.pool.consume(&mut conn.outbound, written);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(slot, Reason::SocketError),
            }
        }
        self.interest(slot, Interest::READABLE);
    }

    fn interest(&mut self, slot: usize, interest: Interest) -> bool {
        let token = Token(self.id_of(slot).to_u64() as usize);
        if self.registry.reregister(&mut self.conns[slot].stream, token, interest).is_ok() {
            return true;
        }
        self.close(slot, Reason::SocketError);
        false
    }

    /// Gives back every buffer of a connection.
    pub fn give_back_buffers(&mut self, slot: usize) {
        let conn = &mut self.conns[slot];
        for id in [&mut conn.inbound, &mut conn.outbound, &mut conn.attach] {
            if *id != BufId::NONE {
                self.pool.give_back(id);
            }
        }
    }
}
