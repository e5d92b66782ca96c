//! What a worker counts.

super::metrics! {
    /// The metrics of one worker.
    WorkerMetric, prefix "moorline_worker_";
    Connections Gauge "connections" "Sockets open now.";
    Attached Gauge "attached" "Devices logged in and routable now.";
    ConnectionsMax Gauge "connections_max" "The most sockets this worker accepts.";
    Linked Gauge "linked" "1 while the dispatcher is linked.";
    Accepted Counter "accepted_total" "Connections accepted.";
    AcceptPaused Counter "accept_paused_total" "Times accepting stopped because descriptors ran out.";
    RefusedFull Counter "refused_full_total" "Connections turned away because the worker is full.";
    RefusedAdmission Counter "refused_admission_total" "Phones sent away because logins are paced, or stopped while memory is short.";
    AdmissionOpen Gauge "admission_open" "1 while logins are let through, at a rate or without one; 0 while memory is short.";
    Listening Gauge "listening" "1 while this worker takes new phones; 0 before its first link, while full and others are not, and in a drain.";
    SteppedOut Counter "stepped_out_total" "Times a full worker left new phones to others.";
    HellosVerified Counter "hellos_verified_total" "Hellos with a genuine token.";
    HellosRefused Counter "hellos_refused_total" "Hellos refused by the worker without asking the dispatcher.";
    FramesIn Counter "frames_in_total" "Frames received from devices.";
    BytesIn Counter "bytes_in_total" "Bytes received from devices.";
    BytesOut Counter "bytes_out_total" "Bytes written to devices.";
    Writes Counter "writes_total" "Write system calls.";
    PushesWritten Counter "pushes_written_total" "Push records and broadcast frames handed to sockets or their buffers.";
    PushesStale Counter "pushes_stale_total" "Pushes for connections that were already gone; they stay stored.";
    FanoutMembers Counter "fanout_members_total" "Members served with broadcast frames, one write each.";
    FanoutQueued Gauge "fanout_queued" "Fan-out frames that some member has yet to get.";
    PaceOverruled Counter "pace_overruled_total" "Turns in which fan-outs went faster than told, as they kept the ring from being read.";
    Pings Counter "pings_total" "Heartbeats answered.";
    Acks Counter "acks_total" "Acknowledgements forwarded.";
    Buffered Gauge "buffered_bytes" "Bytes of buffers lent to connections.";
    BufferExhausted Counter "buffer_exhausted_total" "Connections closed because the buffer pool met its budget.";
    UpFull Counter "up_ring_full_total" "Times the ring to the dispatcher was full and a record waited.";
    UpWaiting Gauge "up_waiting_records" "Records that wait in front of the full ring.";
    Turns Counter "turns_total" "Turns of the event loop.";
    Events Counter "events_total" "Readiness events handled.";
    EventsFull Counter "events_full_total" "Turns that met the bound on events.";
    Relinks Counter "relinks_total" "Links made to a dispatcher.";
    LinkLost Counter "link_lost_total" "Links lost: the dispatcher died or wrote nonsense.";
}
