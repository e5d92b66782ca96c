//! XMPP stanzas, by quick-xml; binary payloads in base64, as XML has no other way.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quick_xml::events::{BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer, XmlVersion};

use super::{Codec, DEVICE, Kind, NUMBER};

const SERVER: &str = "push.example";
const SOUND: &str = "a stanza of our own making";

pub struct Xmpp {
    payload: Vec<u8>,
    /// The device's full address.
    device: String,
    number: String,
    text: String,
    decoded: Vec<u8>,
    buffer: Vec<u8>,
}

impl Xmpp {
    pub fn new(payload: &[u8]) -> Self {
        Self {
            payload: payload.to_vec(),
            device: format!("{DEVICE}@{SERVER}/phone"),
            number: NUMBER.to_string(),
            text: String::new(),
            decoded: Vec::new(),
            buffer: Vec::new(),
        }
    }

    fn stanza(&mut self, kind: Kind) -> io::Result<()> {
        let Self { device, number, text, .. } = self;
        let mut writer = Writer::new(&mut self.buffer);
        match kind {
            Kind::Push => {
                text.clear();
                STANDARD.encode_string(&self.payload, text);
                let message = writer.create_element("message").with_attribute(("id", &**number));
                let message = message.with_attribute(("from", SERVER)).with_attribute(("to", &**device));
                message.write_inner_content(|w| {
                    w.create_element("body").write_text_content(BytesText::new(text)).map(drop)
                })?;
            }
            Kind::Ack => {
                let ack = writer.create_element("a").with_attribute(("xmlns", "urn:xmpp:sm:3"));
                ack.with_attribute(("h", &**number)).write_empty()?;
            }
            Kind::Ping => {
                let iq = writer.create_element("iq").with_attribute(("from", &**device));
                let iq = iq.with_attribute(("to", SERVER)).with_attribute(("id", &**number));
                iq.with_attribute(("type", "get")).write_inner_content(|w| {
                    w.create_element("ping")
                        .with_attribute(("xmlns", "urn:xmpp:ping"))
                        .write_empty()
                        .map(drop)
                })?;
            }
            Kind::Pong => {
                let iq = writer.create_element("iq").with_attribute(("from", SERVER));
                let iq = iq.with_attribute(("to", &**device)).with_attribute(("id", &**number));
                iq.with_attribute(("type", "result")).write_empty()?;
            }
        }
        Ok(())
    }
}

/// The attribute's value as a number; 0 without one.
fn number(element: &BytesStart<'_>, name: &str) -> u64 {
    let value = element.try_get_attribute(name).expect(SOUND);
    value.and_then(|v| v.normalized_value(XmlVersion::Explicit1_0).expect(SOUND).parse().ok()).unwrap_or(0)
}

impl Codec for Xmpp {
    fn name(&self) -> &'static str {
        "XMPP"
    }

    fn write(&mut self, kind: Kind, frames: usize) {
        self.buffer.clear();
        for _ in 0..frames {
            self.stanza(kind).expect("a Vec takes everything");
        }
    }

    fn len(&self) -> usize {
        self.buffer.len()
    }

    fn read(&mut self, kind: Kind) -> u64 {
        let text = std::str::from_utf8(&self.buffer).expect(SOUND);
        let (mut reader, mut sum) = (Reader::from_str(text), 0);
        loop {
            match reader.read_event().expect(SOUND) {
                Event::Text(text) => {
                    self.decoded.clear();
                    STANDARD.decode_vec(text.as_bytes(), &mut self.decoded).expect(SOUND);
                    sum += self.decoded.len() as u64;
                }
                Event::Empty(element) if element.name().as_ref() == "a" => sum += number(&element, "h"),
                Event::Start(element) if kind == Kind::Push && element.name().as_ref() == "message" => {
                    // Whoever receives needs to know which message this is.
                    std::hint::black_box(number(&element, "id"));
                }
                Event::Start(element) | Event::Empty(element) if element.name().as_ref() == "iq" => {
                    std::hint::black_box(number(&element, "id"));
                    sum += 1;
                }
                Event::Eof => return sum,
                _ => {}
            }
        }
    }
}
