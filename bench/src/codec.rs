//! The same push, acknowledgement and heartbeat in three protocols: how many bytes, how long to write and to read.
//!
//! ```text
//!  ours   80 43 00 e7 24 <payload>                                        81 03 00 e7 24      01 ─▶ ◀─ 02
//!  MQTT   32 .. topic, packet id, <payload>                               40 02 .. ..         c0 00   d0 00
//!  XMPP   <message id from to><body>base64</body></message>               <a h='4711'/>       <iq><ping/></iq> ...
//! ```
//!
//! Each is given its lightest usual form: XMPP acknowledges by stream management (XEP-0198), whose requests are
//! not counted; MQTT has a short topic, and version 5 once more with an alias in its place. One acknowledgement
//! is counted for each push, although ours and XMPP's stand for all pushes before them. TCP, TLS and login are
//! left out of all. (XMPP clients may also send a single space, which proves nothing until TCP gives up, as
//! nobody answers it.) Each is written and read by the library that Rust programs take for it.

use std::fmt;

use serde::Serialize;

mod mqtt;
mod ours;
mod timing;
mod xmpp;

use timing::nanoseconds;

/// Payload sizes, in bytes.
const PAYLOAD_BYTES: [usize; 2] = [64, 1024];
/// Frames written into one buffer before it is emptied, and read out of one.
const FRAMES: usize = 256;
/// The position or packet number in every frame.
const NUMBER: u16 = 4711;
/// Whom every push is for.
const DEVICE: &str = "0123456789abcdef";

/// One of the frames compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Push,
    Ack,
    Ping,
    Pong,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Push, Self::Ack, Self::Ping, Self::Pong];
}

/// A protocol's codec over its own kind of buffer.
trait Codec {
    /// For reports.
    fn name(&self) -> &'static str;

    /// Empties the buffer, then writes `frames` frames.
    fn write(&mut self, kind: Kind, frames: usize);

    /// Bytes in the buffer.
    fn len(&self) -> usize;

    /// Makes what [`Codec::write`] left ready to be read, as if it had just come in. Not measured.
    fn rewind(&mut self) {}

    /// Reads all frames of the buffer as far as their user needs: a push to its payload, of which it
    /// returns the bytes; an acknowledgement to its number, which it returns.
    fn read(&mut self, kind: Kind) -> u64;
}

/// A frame's cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// Length on the wire.
    pub bytes: f64,
    /// Time to write it.
    pub encode_ns: f64,
    /// Time to read it.
    pub decode_ns: f64,
}

/// A protocol's costs with one payload size.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which protocol.
    pub protocol: &'static str,
    /// Bytes of the payload.
    pub payload_bytes: usize,
    /// A push.
    pub push: Cost,
    /// Its acknowledgement.
    pub ack: Cost,
    /// A heartbeat, both ways.
    pub heartbeat: Cost,
}

/// Ours against another, for a push and its acknowledgement.
#[derive(Clone, Debug, Serialize)]
pub struct Against {
    /// The other protocol.
    pub protocol: &'static str,
    /// Bytes of the payload.
    pub payload_bytes: usize,
    /// Bytes saved, in percent of the other's.
    pub bytes_saved_percent: f64,
    /// The same of what is not payload.
    pub overhead_saved_percent: f64,
    /// The same of a heartbeat.
    pub heartbeat_saved_percent: f64,
    /// How many times as long the other takes to write.
    pub encode_times: f64,
    /// How many times as long the other takes to read.
    pub decode_times: f64,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Costs, protocol by protocol.
    pub codec: Vec<Row>,
    /// Ours against each other.
    pub against: Vec<Against>,
}

/// Measures every protocol with every payload size; takes some seconds.
pub fn measure() -> Report {
    let mut codec = Vec::new();
    for payload_bytes in PAYLOAD_BYTES {
        codec.extend(codecs(payload_bytes).into_iter().map(|mut codec| row(codec.as_mut(), payload_bytes)));
    }
    let against = |other: &Row| {
        let ours =
            codec.iter().find(|row| row.payload_bytes == other.payload_bytes && row.protocol == ours::NAME);
        ours.filter(|ours| ours.protocol != other.protocol).map(|ours| other.against(ours))
    };
    Report { against: codec.iter().filter_map(against).collect(), codec }
}

fn codecs(payload_bytes: usize) -> Vec<Box<dyn Codec>> {
    // No text, and no two bytes alike for long: it may not compress or escape well.
    let payload: Vec<u8> = (0..payload_bytes).map(|at| (at * 167 + at / 64) as u8).collect();
    vec![
        Box::new(ours::Ours::new(&payload)),
        Box::new(mqtt::V4::new(&payload)),
        Box::new(mqtt::V5::new(&payload, false)),
        Box::new(mqtt::V5::new(&payload, true)),
        Box::new(xmpp::Xmpp::new(&payload)),
    ]
}

fn row(codec: &mut dyn Codec, payload_bytes: usize) -> Row {
    let [push, ack, ping, pong] = Kind::ALL.map(|kind| cost(codec, kind));
    let heartbeat = Cost {
        bytes: ping.bytes + pong.bytes,
        encode_ns: ping.encode_ns + pong.encode_ns,
        decode_ns: ping.decode_ns + pong.decode_ns,
    };
    Row { protocol: codec.name(), payload_bytes, push, ack, heartbeat }
}

fn cost(codec: &mut dyn Codec, kind: Kind) -> Cost {
    codec.write(kind, FRAMES);
    let bytes = codec.len() as f64 / FRAMES as f64;
    let encode_ns = nanoseconds(codec, FRAMES, |_| {}, |codec| codec.write(kind, FRAMES));
    let ready = |codec: &mut dyn Codec| {
        codec.write(kind, FRAMES);
        codec.rewind();
    };
    let read = |codec: &mut dyn Codec| {
        std::hint::black_box(codec.read(kind));
    };
    let decode_ns = nanoseconds(codec, FRAMES, ready, read);
    Cost { bytes, encode_ns, decode_ns }
}

impl Row {
    fn against(&self, ours: &Self) -> Against {
        let saved = |theirs: f64, ours: f64| crate::stats::round((1.0 - ours / theirs) * 100.0, 1);
        let times = |theirs: f64, ours: f64| crate::stats::round(theirs / ours, 1);
        let (bytes, payload) = (|row: &Self| row.push.bytes + row.ack.bytes, self.payload_bytes as f64);
        Against {
            protocol: self.protocol,
            payload_bytes: self.payload_bytes,
            bytes_saved_percent: saved(bytes(self), bytes(ours)),
            overhead_saved_percent: saved(bytes(self) - payload, bytes(ours) - payload),
            heartbeat_saved_percent: saved(self.heartbeat.bytes, ours.heartbeat.bytes),
            encode_times: times(
                self.push.encode_ns + self.ack.encode_ns,
                ours.push.encode_ns + ours.ack.encode_ns,
            ),
            decode_times: times(
                self.push.decode_ns + self.ack.decode_ns,
                ours.push.decode_ns + ours.ack.decode_ns,
            ),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<18} {:>7} │ {:^24} │ {:^22} │ {:^22}",
            "", "payload", "push", "acknowledgement", "heartbeat, both ways"
        )?;
        let columns = format!("{:>6} {:>7} {:>7}", "bytes", "enc ns", "dec ns");
        writeln!(f, "{:<18} {:>7} │ {columns:>24} │ {columns:>22} │ {columns:>22}", "protocol", "bytes")?;
        for row in &self.codec {
            let cost = |c: &Cost| format!("{:>6.0} {:>7.1} {:>7.1}", c.bytes, c.encode_ns, c.decode_ns);
            let (push, ack, beat) = (cost(&row.push), cost(&row.ack), cost(&row.heartbeat));
            let (protocol, payload) = (row.protocol, row.payload_bytes);
            writeln!(f, "{protocol:<18} {payload:>7} │ {push:>24} │ {ack:>22} │ {beat:>22}")?;
        }
        writeln!(f, "\npush and acknowledgement, {} against:", ours::NAME)?;
        for a in &self.against {
            writeln!(
                f,
                "{:<18} {:>7} │ {:>5.1} % fewer bytes ({:.1} % without the payload; heartbeat {:.1} %), \
                 {:.1} times as fast to write, {:.1} to read",
                a.protocol,
                a.payload_bytes,
                a.bytes_saved_percent,
                a.overhead_saved_percent,
                a.heartbeat_saved_percent,
                a.encode_times,
                a.decode_times
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_reads_what_it_wrote() {
        for mut codec in codecs(64) {
            for (kind, expected) in
                [(Kind::Push, 3 * 64), (Kind::Ack, 3 * u64::from(NUMBER)), (Kind::Ping, 3), (Kind::Pong, 3)]
            {
                codec.write(kind, 3);
                codec.rewind();
                assert_eq!(codec.read(kind), expected, "{} {kind:?}", codec.name());
            }
        }
    }

    #[test]
    fn our_frames_are_as_small_as_promised() {
        let mut ours = ours::Ours::new(&[7; 64]);
        let mut bytes = |kind| {
            ours.write(kind, 1);
            ours.len()
        };
        assert!(bytes(Kind::Push) <= 64 + 8);
        assert!(bytes(Kind::Ping) <= 2 && bytes(Kind::Pong) <= 2);
    }
}
