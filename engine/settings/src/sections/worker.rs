//! `[worker]`

use super::loopback;
use crate::field::choice;
use crate::section::section;
use std::net::SocketAddr;

choice! {
    /// How the kernel picks the worker that gets a new connection.
    Steering {
        /// By CPU where each core has exactly one pinned worker, off loopback, else by hash.
        Auto = "auto",
        /// The worker pinned to the CPU that took the packet in.
        Cpu = "cpu",
        /// By a hash of addresses and ports.
        Hash = "hash",
    }
}

section! {
    /// The processes that hold the phones' connections.
    "worker" => Worker {
        /// Worker processes. 0: as many as there are cores, or more where the limit on open files
        /// does not let so few hold target_connections.
        count: usize = 0, 0..=1024;
        /// Address on which all workers accept phones.
        listen: SocketAddr = loopback(7070), crate::field::Any;
        /// Connections the node is sized for, all workers together.
        target_connections: usize = 15_000, 1..=16_000_000;
        /// Connections one worker accepts at most. 0: the limit on open files less nofile_reserve.
        connections_max: usize = 0, 0..=8_000_000;
        /// Open files of a worker kept back for everything that is no connection.
        nofile_reserve: usize = 200, 32..=100_000;
        /// Bind each worker to one core.
        pin: bool = true, crate::field::Any;
        /// How the kernel spreads new connections over workers; auto takes cpu where each core has
        /// exactly one pinned worker and the address is not loopback, else hash.
        steering: Steering = Steering::Auto, crate::field::Any;
        /// Finished handshakes the kernel queues for a worker; net.core.somaxconn caps it.
        backlog: usize = 4096, 16..=65_535;
        /// Connections accepted in one turn of the loop before others get theirs.
        accept_batch: usize = 64, 1..=4096;
        /// KiB of each of a worker's two rings, a power of two from 64 up. 0: 1024 with up to 16 workers; with
        /// more 64, 256 or 1024 by how many connections each may hold; and room for four payloads.
        ring_kib: usize = 0, 0..=65_536;
        /// KiB that may wait for one connection before it is closed as a slow consumer.
        slow_consumer_kib: usize = 64, 4..=68;
        /// MiB a worker may lend to waiting bytes, all its connections together.
        buffer_pool_mib: usize = 64, 1..=65_536;
        /// Milliseconds a new connection has until it has logged in.
        handshake_deadline_ms: u64 = 10_000, 100..=600_000;
    }
}
