//! A back end in batches: any target, any content.
//!
//! It is *not* `flooder::Backend`, which numbers what it sends for the phones' ledgers: here the caller says
//! what goes to whom, and knows when the answer was there.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use e2e::Node;
use flooder::Device;
use serde::Deserialize;

use crate::{Error, PATIENCE};

/// Largest answer read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The audience of a message.
#[derive(Clone, Copy, Debug)]
pub enum To<'a> {
    /// One device.
    Device(&'a Device),
    /// The devices of a list.
    List(&'a [Device]),
    /// The members of a topic.
    Topic(&'a str),
    /// Every device of the app.
    All,
}

/// Messages of one request. Its memory is used again after [`Batch::clear`].
#[derive(Clone, Debug, Default)]
pub struct Batch {
    body: String,
    messages: usize,
}

impl Batch {
    /// Appends a message that is kept for the node's default time.
    pub fn add(&mut self, to: To<'_>, payload: &[u8]) {
        self.body.push_str(if self.messages == 0 { "{\"messages\":[" } else { "," });
        self.body.push_str("{\"target\":{");
        match to {
            To::Device(device) => {
                self.body.push_str("\"token\":");
                self.token(device);
            }
            To::List(devices) => {
                self.body.push_str("\"tokens\":[");
                for (at, device) in devices.iter().enumerate() {
                    self.body.push_str(if at == 0 { "" } else { "," });
                    self.token(device);
                }
                self.body.push(']');
            }
            To::Topic(name) => write!(self.body, "\"topic\":\"{name}\"").expect("a String takes everything"),
            To::All => self.body.push_str("\"all\":true"),
        }
        self.body.push_str("},\"payload_b64\":\"");
        STANDARD.encode_string(payload, &mut self.body);
        self.body.push_str("\"}");
        self.messages += 1;
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Takes all of them out.
    pub fn clear(&mut self) {
        self.body.clear();
        self.messages = 0;
    }

    fn token(&mut self, device: &Device) {
        self.body.push('"');
        URL_SAFE_NO_PAD.encode_string(device.token, &mut self.body);
        self.body.push('"');
    }
}

/// One app's way to a node. Threads may share it; each has a connection of its own, kept alive.
#[derive(Clone, Debug)]
pub struct Pusher {
    agent: ureq::Agent,
    url: String,
    authorization: String,
}

impl Pusher {
    /// To the node, as its app.
    pub fn new(node: &Node) -> Self {
        let url = format!("{}/v1/apps/{}/messages:batch", node.api_url(), node.app());
        Self::to(url, node.key())
    }

    fn to(url: String, key: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .max_idle_connections_per_host(64)
            .proxy(None);
        Self { agent: config.build().new_agent(), url, authorization: format!("Bearer {key}") }
    }

    /// Sends the batch and returns when all of it is accepted. `scratch` is memory used again.
    ///
    /// # Errors
    /// [`Error::Refused`] if the node did not take every message.
    pub fn send(&self, batch: &Batch, scratch: &mut Vec<u8>) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        scratch.clear();
        scratch.extend_from_slice(batch.body.as_bytes());
        scratch.extend_from_slice(b"]}");
        let request = self.agent.post(&self.url).header("Authorization", &self.authorization);
        let unanswered = |error: ureq::Error| {
            let (refused, unknown, why) = (0, batch.messages as u64, error.to_string());
            Error::Refused { refused, unknown, why }
        };
        let mut answer = request.content_type("application/json").send(&scratch[..]).map_err(unanswered)?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        judge(&body.map_err(unanswered)?, batch.messages)
    }
}

#[derive(Deserialize)]
struct Item {
    status: u16,
    #[serde(default)]
    problem: serde_json::Value,
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Item>,
}

/// Whether all `messages` were accepted; the first refusal if not.
fn judge(answer: &[u8], messages: usize) -> Result<(), Error> {
    let all = messages as u64;
    let read: Answer = serde_json::from_slice(answer).map_err(|_| {
        let why = String::from_utf8_lossy(&answer[..answer.len().min(500)]).into_owned();
        Error::Refused { refused: all, unknown: 0, why }
    })?;
    let mut refused = read.results.iter().filter(|item| !(200..300).contains(&item.status)).peekable();
    match refused.peek() {
        Some(first) => {
            let why = first.problem.to_string();
            Err(Error::Refused { refused: refused.count() as u64, unknown: 0, why })
        }
        None if read.results.len() == messages => Ok(()),
        None => {
            let unknown = all.saturating_sub(read.results.len() as u64);
            Err(Error::Refused { refused: 0, unknown, why: "fewer results than messages".into() })
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    /// A server that accepts every message of every batch, and counts them.
    pub struct Taker {
        address: SocketAddr,
        messages: Arc<AtomicU64>,
    }

    impl Taker {
        pub fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let (address, messages) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
            let count = Arc::clone(&messages);
            // It ends with the process: nobody is left to connect then.
            thread::spawn(move || {
                for socket in listener.incoming().flatten() {
                    let count = Arc::clone(&count);
                    thread::spawn(move || while serve(&socket, &count).is_some() {});
                }
            });
            Self { address, messages }
        }

        pub fn pusher(&self) -> Pusher {
            Pusher::to(format!("http://{}/", self.address), "key")
        }

        pub fn messages(&self) -> u64 {
            self.messages.load(Ordering::Relaxed)
        }
    }

    /// One request; `None` when the connection is over.
    fn serve(mut socket: &TcpStream, count: &AtomicU64) -> Option<()> {
        let mut reader = BufReader::new(socket);
        let (mut length, mut line) = (0, String::new());
        while reader.read_line(&mut line).ok()? > 2 {
            let lower = line.to_ascii_lowercase();
            length = lower.strip_prefix("content-length:").map_or(length, |n| n.trim().parse().unwrap());
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok().filter(|()| length > 0)?;
        let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let messages = read["messages"].as_array().unwrap().len();
        count.fetch_add(messages as u64, Ordering::Relaxed);
        let items = vec!["{\"status\":202}"; messages].join(",");
        let answer = format!("{{\"results\":[{items}]}}");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
        socket.write_all((head + &answer).as_bytes()).ok()
    }

    #[test]
    fn a_batch_is_the_json_that_the_api_reads() {
        let device = Device { id: 1, token: [0; 32] };
        let token = device.token_text();
        let mut batch = Batch::default();
        for to in [To::Device(&device), To::List(&[device, device]), To::Topic("news"), To::All] {
            batch.add(to, b"hi");
        }
        let read: serde_json::Value = serde_json::from_str(&format!("{}]}}", batch.body)).unwrap();
        let targets: Vec<_> = read["messages"].as_array().unwrap().iter().map(|m| &m["target"]).collect();
        assert_eq!((batch.len(), targets[0]["token"].as_str()), (4, Some(&*token)));
        assert_eq!(targets[1]["tokens"].as_array().unwrap().len(), 2);
        assert_eq!((targets[2]["topic"].as_str(), targets[3]["all"].as_bool()), (Some("news"), Some(true)));
        assert_eq!(read["messages"][3]["payload_b64"], "aGk=");
        batch.clear();
        assert!(batch.is_empty());
    }

    #[test]
    fn only_an_answer_that_accepts_everything_will_do() {
        let accepted = br#"{"results":[{"index":0,"status":202,"id":"1"}]}"#;
        assert!(judge(accepted, 1).is_ok());
        assert!(matches!(judge(accepted, 3), Err(Error::Refused { refused: 0, unknown: 2, .. })));
        let mixed = br#"{"results":[{"status":202},{"status":507,"problem":{"code":"disk_full"}}]}"#;
        let refusal = judge(mixed, 2).unwrap_err().to_string();
        assert!(refusal.starts_with("1 messages refused") && refusal.contains("disk_full"), "{refusal}");
        assert!(matches!(judge(b"nonsense", 5), Err(Error::Refused { refused: 5, .. })));
    }
}
