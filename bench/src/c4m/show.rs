//! A run as text.

use std::fmt;

use super::report::{Report, Unicast};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &self.engine;
        if let (0, Some(floor)) = (e.connections, &self.floor) {
            let (connect, broadcast) = (floor.attach.per_s, floor.broadcast.per_s);
            writeln!(
                f,
                "{} phones at {} floors: {connect:.0} connects/s, {broadcast:.0} deliveries/s, {:.0} bytes of kernel objects each",
                floor.connections, floor.floors, floor.slab_bytes_per_connection_total
            )?;
            return self.faults.iter().try_for_each(|fault| writeln!(f, "  WRONG        {fault}"));
        }
        writeln!(f, "{} phones at {} workers", e.connections, e.workers)?;
        let c = &e.counts;
        writeln!(
            f,
            "  attached     {} by our count, {} by the kernel's, {} by the flooder's",
            c.attached, c.kernel_established, c.flooder_established
        )?;
        let (ours, floor, ratio) = (self.attach_per_s, self.floor_connect_per_s, self.attach_ratio);
        writeln!(f, "  logins       {ours:.0}/s, floor {floor:.0}/s, ratio {ratio:.2}")?;
        let (user, kernel) = (e.user_bytes_per_connection, e.kernel_bytes_per_connection);
        writeln!(f, "  memory       {user:.0} bytes a connection in user space, {kernel:.0} in the kernel")?;
        let beat = &e.heartbeat;
        writeln!(
            f,
            "  heartbeats   {:.0}/s for {:.0} s, {} missed, {:.1} µs each, {:.2} cores",
            beat.per_s, beat.seconds, beat.missed, beat.cpu_us_each, beat.cores
        )?;
        pushes(f, "pushes", &e.unicast)?;
        let b = &e.broadcast;
        writeln!(
            f,
            "  broadcast    {} delivered, {} lost, {} doubled; {:.0}/s, floor {:.0}/s, ratio {:.2}; {} MiB more at most",
            b.delivered,
            b.lost,
            b.duplicated,
            b.per_s,
            b.floor_per_s,
            b.ratio,
            b.extra_bytes_max >> 20
        )?;
        pushes(f, "meanwhile", &b.unicast)?;
        if let Some(storm) = &e.storm {
            let (seconds, put_off, extra) = (storm.seconds, storm.put_off, storm.extra_bytes_max >> 20);
            writeln!(
                f,
                "  storm        all back after {seconds:.1} s, {put_off} put off, {extra} MiB more at most"
            )?;
            pushes(f, "survivors", &storm.survivors)?;
        }
        let after = &e.after;
        let over = after.workers_bytes_over_idle >> 10;
        writeln!(f, "  after        {} leaked, workers {over} KiB over the idle line", after.leaked)?;
        let control = &e.control;
        writeln!(
            f,
            "  control      {} phones: {} delivered, {} lost, {} doubled, {} closed",
            control.phones, control.delivered, control.lost, control.duplicated, control.closed
        )?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "  WRONG        {fault}"))
    }
}

fn pushes(f: &mut fmt::Formatter<'_>, name: &str, u: &Unicast) -> fmt::Result {
    let Unicast { sent, not_sent, lost, p50_ms, p99_ms, max_ms, .. } = u;
    writeln!(
        f,
        "  {name:<12} {sent} to single phones, {lost} lost, {not_sent} not sent in time; p50 {p50_ms} ms, p99 {p99_ms} ms, most {max_ms} ms"
    )
}
