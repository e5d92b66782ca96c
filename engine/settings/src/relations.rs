//! What must hold between values that are each within their own range.

use crate::plan::RING_PAYLOADS_MIN;
use crate::{Settings, Steering};

/// More than what stands in front of a payload on the wire.
const FRAME_HEAD_BYTES: usize = 64;

type KeyName = (&'static str, &'static str);

/// A relation that does not hold.
pub(crate) struct Broken {
    /// The keys involved, the likelier culprit first.
    pub(crate) keys: Vec<KeyName>,
    /// `reason; what to do`
    pub(crate) reason: String,
}

/// Every broken relation.
pub(crate) fn broken(settings: &Settings) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut require = |holds: bool, keys: &[KeyName], reason: String| {
        if !holds {
            broken.push(Broken { keys: keys.to_vec(), reason });
        }
    };
    heartbeat(settings, &mut require);
    push(settings, &mut require);
    worker(settings, &mut require);
    addresses(settings, &mut require);
    supervisor(settings, &mut require);
    broken
}

type Require<'a> = dyn FnMut(bool, &[KeyName], String) + 'a;

fn heartbeat(settings: &Settings, require: &mut Require<'_>) {
    let heartbeat = &settings.heartbeat;
    require(
        heartbeat.s_min <= heartbeat.s_max,
        &[("heartbeat", "s_min"), ("heartbeat", "s_max")],
        format!("s_min must not exceed s_max, here {} and {}; change one", heartbeat.s_min, heartbeat.s_max),
    );
    require(
        heartbeat.s_min > heartbeat.s_max
            || (heartbeat.s_min..=heartbeat.s_max).contains(&heartbeat.s_default),
        &[("heartbeat", "s_default"), ("heartbeat", "s_min"), ("heartbeat", "s_max")],
        format!(
            "s_default must lie between s_min and s_max; here {} is not between {} and {}, change one",
            heartbeat.s_default, heartbeat.s_min, heartbeat.s_max
        ),
    );
}

fn push(settings: &Settings, require: &mut Require<'_>) {
    let push = &settings.push;
    require(
        push.ttl_s_default <= push.ttl_s_max,
        &[("push", "ttl_s_default"), ("push", "ttl_s_max")],
        format!(
            "ttl_s_default must not exceed ttl_s_max, here {} and {}; change one",
            push.ttl_s_default, push.ttl_s_max
        ),
    );
    require(
        push.ack_every <= push.window_messages,
        &[("push", "ack_every"), ("push", "window_messages")],
        format!(
            "with ack_every {} a window of {} messages is full before a phone acknowledges; lower ack_every or raise window_messages",
            push.ack_every, push.window_messages
        ),
    );
    require(
        settings.worker.slow_consumer_kib * 1024 >= push.payload_bytes_max + FRAME_HEAD_BYTES,
        &[("worker", "slow_consumer_kib"), ("push", "payload_bytes_max")],
        format!(
            "one payload of {} bytes and its head do not fit into {} KiB; raise worker.slow_consumer_kib or lower push.payload_bytes_max",
            push.payload_bytes_max, settings.worker.slow_consumer_kib
        ),
    );
    require(
        settings.api.body_kib_max * 1024 >= 2 * push.payload_bytes_max,
        &[("api", "body_kib_max"), ("push", "payload_bytes_max")],
        format!(
            "a request body of {} KiB has no room for a payload of {} bytes in base64 and its envelope; raise api.body_kib_max",
            settings.api.body_kib_max, push.payload_bytes_max
        ),
    );
}

fn worker(settings: &Settings, require: &mut Require<'_>) {
    let worker = &settings.worker;
    let ring_kib = worker.ring_kib;
    require(
        ring_kib == 0 || (ring_kib >= 64 && ring_kib.is_power_of_two()),
        &[("worker", "ring_kib")],
        "no size a ring can have; give 0 (automatic) or a power of two from 64 to 65536".to_owned(),
    );
    require(
        ring_kib == 0 || ring_kib * 1024 >= RING_PAYLOADS_MIN * settings.push.payload_bytes_max,
        &[("worker", "ring_kib"), ("push", "payload_bytes_max")],
        format!(
            "a ring must hold four payloads of {} bytes; raise worker.ring_kib, or give 0 (automatic)",
            settings.push.payload_bytes_max
        ),
    );
    require(
        worker.slow_consumer_kib <= worker.buffer_pool_mib * 1024,
        &[("worker", "buffer_pool_mib"), ("worker", "slow_consumer_kib")],
        "one slow consumer may take the whole pool; raise worker.buffer_pool_mib".to_owned(),
    );
    require(
        worker.steering != Steering::Cpu || worker.pin,
        &[("worker", "steering"), ("worker", "pin")],
        "steering by CPU needs pinned workers; set worker.pin = true or worker.steering = \"auto\""
            .to_owned(),
    );
}

fn addresses(settings: &Settings, require: &mut Require<'_>) {
    let (listen, api) = (settings.worker.listen, settings.api.listen);
    require(
        listen.port() != 0 || settings.worker.count == 1,
        &[("worker", "listen"), ("worker", "count")],
        "port 0 gives each worker a port of its own; name a port, or set worker.count = 1".to_owned(),
    );
    require(
        listen.port() == 0 || listen != api,
        &[("api", "listen"), ("worker", "listen")],
        "phones and back ends cannot share an address; change api.listen or worker.listen".to_owned(),
    );
    require(
        settings.goaway.retry_ms_min <= settings.goaway.retry_ms_max,
        &[("goaway", "retry_ms_min"), ("goaway", "retry_ms_max")],
        "retry_ms_min must not exceed retry_ms_max; change one".to_owned(),
    );
}

fn supervisor(settings: &Settings, require: &mut Require<'_>) {
    let supervisor = &settings.supervisor;
    require(
        supervisor.restart_backoff_ms <= supervisor.restart_backoff_ms_max,
        &[("supervisor", "restart_backoff_ms"), ("supervisor", "restart_backoff_ms_max")],
        "restart_backoff_ms must not exceed restart_backoff_ms_max; change one".to_owned(),
    );
    let needed_ms = supervisor.crash_loop_ms_min();
    require(
        needed_ms < supervisor.crash_loop_window_s * 1000,
        &[
            ("supervisor", "crash_loop_window_s"),
            ("supervisor", "crash_loop_count"),
            ("supervisor", "restart_backoff_ms_max"),
            ("supervisor", "restart_backoff_ms"),
        ],
        format!(
            "{} deaths take at least {needed_ms} ms of back-off, so no crash loop would ever show in {} s; widen the window, lower the count or the back-off",
            supervisor.crash_loop_count, supervisor.crash_loop_window_s
        ),
    );
}
