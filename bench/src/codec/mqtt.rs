//! MQTT 3.1.1 and 5 with QoS 1, by the codec of rumqttc.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use super::{Codec, DEVICE, Kind, NUMBER};

/// Larger than any frame here.
const FRAME_BYTES_MAX: usize = 1 << 16;

/// What every frame came to when it is written or read right; libraries here fail only on nonsense.
const SOUND: &str = "a frame of our own making";

/// Version 3.1.1.
pub struct V4 {
    push: v4::Publish,
    buffer: BytesMut,
}

impl V4 {
    pub fn new(payload: &[u8]) -> Self {
        let payload = Bytes::copy_from_slice(payload);
        let push = v4::Publish::from_bytes(DEVICE, rumqttc::mqttbytes::QoS::AtLeastOnce, payload);
        Self { push: v4::Publish { pkid: NUMBER, ..push }, buffer: BytesMut::new() }
    }
}

impl Codec for V4 {
    fn name(&self) -> &'static str {
        "MQTT 3.1.1"
    }

    fn write(&mut self, kind: Kind, frames: usize) {
        self.buffer.clear();
        for _ in 0..frames {
            match kind {
                Kind::Push => self.push.write(&mut self.buffer),
                Kind::Ack => v4::PubAck::new(NUMBER).write(&mut self.buffer),
                Kind::Ping => v4::PingReq.write(&mut self.buffer),
                Kind::Pong => v4::PingResp.write(&mut self.buffer),
            }
            .expect(SOUND);
        }
    }

    fn len(&self) -> usize {
        self.buffer.len()
    }

    fn read(&mut self, _: Kind) -> u64 {
        let mut sum = 0;
        while !self.buffer.is_empty() {
            sum += match v4::Packet::read(&mut self.buffer, FRAME_BYTES_MAX).expect(SOUND) {
                v4::Packet::Publish(publish) => publish.payload.len() as u64,
                v4::Packet::PubAck(ack) => u64::from(ack.pkid),
                _ => 1,
            };
        }
        sum
    }
}

/// Version 5.
pub struct V5 {
    push: v5::Publish,
    buffer: BytesMut,
}

impl V5 {
    /// With `is_aliased` the topic is a number that was agreed on before.
    pub fn new(payload: &[u8], is_aliased: bool) -> Self {
        let qos = rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
        let alias = v5::PublishProperties { topic_alias: Some(1), ..Default::default() };
        let (topic, properties) = if is_aliased { ("", Some(alias)) } else { (DEVICE, None) };
        let push = v5::Publish::new(topic, qos, Bytes::copy_from_slice(payload), properties);
        Self { push: v5::Publish { pkid: NUMBER, ..push }, buffer: BytesMut::new() }
    }
}

impl Codec for V5 {
    fn name(&self) -> &'static str {
        if self.push.topic.is_empty() { "MQTT 5, alias" } else { "MQTT 5" }
    }

    fn write(&mut self, kind: Kind, frames: usize) {
        self.buffer.clear();
        for _ in 0..frames {
            match kind {
                Kind::Push => self.push.write(&mut self.buffer),
                Kind::Ack => v5::PubAck::new(NUMBER, None).write(&mut self.buffer),
                Kind::Ping => v5::PingReq::write(&mut self.buffer),
                Kind::Pong => v5::PingResp::write(&mut self.buffer),
            }
            .expect(SOUND);
        }
    }

    fn len(&self) -> usize {
        self.buffer.len()
    }

    fn read(&mut self, _: Kind) -> u64 {
        let mut sum = 0;
        while !self.buffer.is_empty() {
            sum += match v5::Packet::read(&mut self.buffer, None).expect(SOUND) {
                v5::Packet::Publish(publish) => publish.payload.len() as u64,
                v5::Packet::PubAck(ack) => u64::from(ack.pkid),
                _ => 1,
            };
        }
        sum
    }
}
