//! What the dispatcher counts.

use crate::page::Page;
use std::sync::atomic::{AtomicU64, Ordering};

super::metrics! {
    /// The metrics of the dispatcher.
    DispatcherMetric, prefix "moorline_";
    Devices Gauge "devices" "Devices known.";
    DevicesOnline Gauge "devices_online" "Devices attached now.";
    RouteBytes Gauge "route_bytes" "Memory of the routing table, in bytes.";
    StoreBytes Gauge "store_bytes" "Bytes of stored messages that wait for acknowledgement.";
    StoreMessages Gauge "store_messages" "Stored messages that wait for acknowledgement.";
    StoreBudget Gauge "store_budget_bytes" "The most bytes the store holds.";
    StoreDurability Gauge "store_durability" "What an accepted message survives: 0 nothing, 1 the process, 2 the machine after an interval, 3 the machine.";
    StoreLogBytes Gauge "store_log_bytes" "Bytes of the store's log that are not cleaned yet.";
    StoreWrittenBytes Counter "store_written_bytes_total" "Bytes handed to the store's disk.";
    StoreCommits Counter "store_commits_total" "Batches that the store's disk confirmed.";
    StoreFailures Counter "store_failures_total" "Batches that failed; their pushes were refused.";
    StoreCommitUs Gauge "store_commit_us" "Microseconds the last batch took to be confirmed.";
    StoreSharedBytes Counter "store_shared_bytes_total" "Bytes not stored again, as an equal body still waited.";
    StoreUnreadable Gauge "store_unreadable_rows" "Rows of the store's log that could not be read and stay there.";
    StoreDown Gauge "store_down" "1 while the store refuses messages: disk full, failed or slow.";
    Workers Gauge "workers_linked" "Workers linked now.";
    Recovering Gauge "recovering" "1 until every expected worker has told of its connections.";
    Attaches Counter "attaches_total" "Devices attached afresh.";
    Reattaches Counter "reattaches_total" "Connections taken over from an earlier dispatcher.";
    Replaced Counter "replaced_total" "Sessions ended by a younger one of the same device.";
    AttachRefused Counter "attach_refused_total" "Attaches refused.";
    Detaches Counter "detaches_total" "Devices detached.";
    DetachStale Counter "detach_stale_total" "Late detaches that lost to a younger session.";
    Accepted Counter "messages_accepted_total" "Messages accepted over HTTP.";
    Targets Counter "targets_accepted_total" "Device targets of accepted messages.";
    Refused Counter "messages_refused_total" "Messages refused over HTTP by the store or a queue.";
    Dispatched Counter "pushes_dispatched_total" "Pushes put into a worker's ring for one device.";
    Fanouts Counter "fanouts_total" "Broadcast records put into workers' rings.";
    FanoutsDropped Counter "fanouts_dropped_total" "Transient broadcast records given up as their worker could take no more.";
    FanoutWalkers Gauge "fanout_walkers" "Workers that serve members of broadcasts now.";
    FanoutBehind Gauge "fanout_behind_links" "Workers that still lack broadcasts: it is not their turn, or their ring is full.";
    FanoutPaused Gauge "fanout_paused" "Whether broadcasts pause: 0 no, 1 an operator's order, 2 the memory budget.";
    FanoutPauses Counter "fanout_memory_pauses_total" "Times broadcasts paused as waiting bytes met their budget.";
    Acked Counter "targets_acked_total" "Targets acknowledged by their device.";
    Expired Counter "targets_expired_total" "Targets whose message expired first.";
    Dropped Counter "targets_dropped_total" "Targets dropped: revoked, unsubscribed, or over a limit.";
    Collapsed Counter "targets_collapsed_total" "Targets whose message a younger one of its collapse key replaced.";
    Recalled Counter "targets_recalled_total" "Targets whose message was taken back first.";
    LimitDevice Counter "limit_device_total" "Targets that met the limit of what may wait for one device.";
    LimitApp Counter "limit_app_total" "Targets that met the limit of what may wait for one app.";
    AnswersRepeated Counter "idempotent_repeats_total" "Messages answered with the first answer to their idempotency key.";
    AnswersEvicted Counter "idempotency_keys_evicted_total" "Idempotency keys forgotten before their 24 hours, as there were too many.";
    RingFull Counter "down_ring_full_total" "Times a worker's ring was full and the work waited in the store.";
    LinkRefused Counter "link_refused_total" "Links refused or dropped because a record was nonsense.";
    WorkersLost Counter "workers_lost_total" "Links to workers that ended.";
    Turns Counter "hub_turns_total" "Turns of the hub's event loop.";
    Connections Gauge "connections" "Connections of all linked workers, by their own count.";
    KernelSockets Gauge "kernel_sockets" "TCP sockets in use in this network namespace, by the kernel's count: listeners and API calls are among them.";
    KernelOrphans Gauge "kernel_orphans" "TCP sockets of the machine that no process has any more and the kernel still keeps.";
    KernelBufferBytes Gauge "kernel_buffer_bytes" "Bytes of the machine's TCP buffers, in whole pages.";
    KernelSocketBytes Gauge "kernel_socket_bytes" "Bytes of the machine's kernel caches for sockets, files and epoll, whoever uses them; 0 where they cannot be read.";
    UserBytes Gauge "user_bytes" "Memory of the dispatcher and of all linked workers, shared pages in parts (PSS).";
    UserBytesPerConnection Gauge "user_bytes_per_connection" "The same for each connection.";
    KernelBytesPerConnection Gauge "kernel_bytes_per_connection" "Kernel buffers and caches, the whole machine's, for each connection; 0 where the caches cannot be read.";
    MemoryAvailable Gauge "memory_available_bytes" "Memory that the machine can still give.";
    AdmissionOpen Gauge "admission_open" "1 while phones may log in, 0 while memory is short.";
    AdmissionClosed Counter "admission_closed_total" "Times memory ran short and nobody was let in.";
    ApiQueueFull Counter "api_queue_full_total" "HTTP calls refused because the hub's queue was full.";
}

/// The dispatcher's counters: written by the hub, read by the API threads.
#[derive(Debug)]
pub struct Dispatcher([AtomicU64; DispatcherMetric::ALL.len()]);

impl Default for Dispatcher {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; DispatcherMetric::ALL.len()])
    }
}

impl Dispatcher {
    /// Adds to a counter. Any thread may.
    pub fn add(&self, metric: DispatcherMetric, n: u64) {
        self.0[metric as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, metric: DispatcherMetric, value: u64) {
        self.0[metric as usize].store(value, Ordering::Relaxed);
    }

    /// Reads one.
    pub fn get(&self, metric: DispatcherMetric) -> u64 {
        self.0[metric as usize].load(Ordering::Relaxed)
    }

    /// Everything in Prometheus text form: the dispatcher's own, then each worker's by index.
    pub fn render(&self, workers: &[(u16, Page)]) -> String {
        let mut out = String::with_capacity(8192);
        for metric in DispatcherMetric::ALL {
            crate::title(&mut out, metric.name(), metric.kind(), metric.help());
            crate::sample(&mut out, metric.name(), &[], self.get(*metric));
        }
        Page::render(workers, &mut out);
        out
    }
}
