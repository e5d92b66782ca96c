//! The whole `flooder demo` against a node of a few lines, which answers the HTTP API and pushes: an
//! honest one, and one that loses, repeats, swaps and spoils.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::fake::{Phones, device, node_with, push};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use wire::{STREAM_ALL, STREAM_INBOX};

const PHONES: u64 = 40;
const KEY: &str = "mk_1_secret";

/// What the node does to the inbox message on its way, besides delivering it.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Drop,
    Repeat,
    Swap,
    Spoil,
    RefuseOnce,
    RefuseAlways,
}

struct Api {
    phones: Arc<Mutex<Phones>>,
    fault: Fault,
    issued: u64,
    seqs: HashMap<(u8, u32), u64>,
    refused: bool,
    held: Option<Vec<u8>>,
}

impl Api {
    fn answer(&mut self, path: &str, body: &Value) -> (u16, Value) {
        match path {
            "/v1/apps/demo/devices:batch" => {
                let first = self.issued;
                self.issued += body["count"].as_u64().unwrap();
                let issue = |n| {
                    let device = device(u8::try_from(n).unwrap());
                    json!({"token": device.token_text(), "device": format!("{:016x}", device.id), "expires_at": 0})
                };
                (201, json!({"devices": (first..self.issued).map(issue).collect::<Vec<_>>()}))
            }
            "/v1/apps/demo/messages" => {
                assert_eq!(body["target"], json!({"all": true}));
                let payload = STANDARD.decode(body["payload_b64"].as_str().unwrap()).unwrap();
                (0..PHONES as u8).for_each(|n| self.deliver(n, STREAM_ALL, &payload));
                (202, json!({"id": "7", "state": "accepted", "durable": false, "targets": PHONES}))
            }
            "/v1/apps/demo/messages:batch" => {
                let messages = body["messages"].as_array().unwrap();
                let results: Vec<_> = messages.iter().enumerate().map(|(n, m)| self.one(n, m)).collect();
                (200, json!({"results": results}))
            }
            other => panic!("{other}"),
        }
    }

    fn one(&mut self, index: usize, message: &Value) -> Value {
        let refuses = self.fault == Fault::RefuseAlways || self.fault == Fault::RefuseOnce && !self.refused;
        if refuses && index == 3 {
            self.refused = true;
            let retryable = self.fault == Fault::RefuseOnce;
            let problem = json!({"code": "overloaded", "detail": "later", "retryable": retryable});
            return json!({"index": index, "status": 429, "problem": problem});
        }
        let token = URL_SAFE_NO_PAD.decode(message["target"]["token"].as_str().unwrap()).unwrap();
        let mut payload = STANDARD.decode(message["payload_b64"].as_str().unwrap()).unwrap();
        let phone = token[0];
        match (self.fault, phone) {
            (Fault::Drop, 5) => {}
            (Fault::Repeat, 5) => (0..2).for_each(|_| self.deliver(phone, STREAM_INBOX, &payload)),
            (Fault::Swap, 5) => match self.held.take() {
                None => self.held = Some(payload),
                Some(earlier) => {
                    self.deliver(phone, STREAM_INBOX, &payload);
                    self.deliver(phone, STREAM_INBOX, &earlier);
                }
            },
            (Fault::Spoil, 5) => {
                payload[50] ^= 4;
                self.deliver(phone, STREAM_INBOX, &payload);
            }
            _ => self.deliver(phone, STREAM_INBOX, &payload),
        }
        json!({"index": index, "status": 202, "id": "8"})
    }

    fn deliver(&mut self, phone: u8, stream: u32, payload: &[u8]) {
        let seq = self.seqs.entry((phone, stream)).or_default();
        *seq += 1;
        let bytes = push(stream, *seq, payload);
        (&self.phones.lock().unwrap().sockets[&phone]).write_all(&bytes).unwrap();
    }
}

fn api(api: Api) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let api = Arc::new(Mutex::new(api));
    thread::spawn(move || {
        for socket in listener.incoming() {
            let api = Arc::clone(&api);
            thread::spawn(move || serve(socket.unwrap(), &api));
        }
    });
    address
}

fn serve(socket: TcpStream, api: &Mutex<Api>) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            head.push(line.trim().to_lowercase());
        }
        let header = |name: &str| head.iter().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
        assert_eq!(header("authorization:"), format!("bearer {KEY}"));
        let mut body = vec![0; header("content-length:").parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let path = head[0].split(' ').nth(1).unwrap().to_owned();
        let (status, answer) = api.lock().unwrap().answer(&path, &serde_json::from_slice(&body).unwrap());
        let answer = answer.to_string();
        let length = answer.len();
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{answer}");
        (&socket).write_all(answer.as_bytes()).unwrap();
    }
}

fn demo(fault: Fault, extra: &[&str]) -> Output {
    let phones = Arc::new(Mutex::new(Phones::default()));
    let target = node_with(|_, _| Vec::new(), Arc::clone(&phones));
    let (seqs, issued, refused, held) = (HashMap::new(), 0, false, None);
    let api = api(Api { phones, fault, issued, seqs, refused, held });
    Command::new(env!("CARGO_BIN_EXE_flooder"))
        .args(["demo", "--app", "demo", "--key", KEY, "--api", &format!("http://{api}")])
        .args(["--target", &target.to_string(), "--phones", &PHONES.to_string()])
        .args([
            "--unicast-rounds",
            "2",
            "--unicast-per-s",
            "0",
            "--broadcasts-per-s",
            "0",
            "--patience-s",
            "3",
        ])
        .args(extra)
        .output()
        .unwrap()
}

/// The exit status, and the last line of standard output.
fn outcome(fault: Fault) -> (bool, Value) {
    let output = demo(fault, &["--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let last = text.lines().last().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.success(), serde_json::from_str(last).unwrap())
}

#[test]
fn an_honest_node_passes() {
    let (passed, report) = outcome(Fault::None);
    assert!(passed, "{report}");
    assert_eq!(report["devices"], PHONES);
    assert_eq!(report["expected"], PHONES * 22);
    assert_eq!(report["delivered"], PHONES * 22);
    for fault in ["lost", "duplicated", "reordered", "corrupted", "not_offered"] {
        assert_eq!(report[fault], 0, "{fault}");
    }
    for figure in ["p50_ms", "p99_ms", "attach_per_s"] {
        assert!(report[figure].as_f64().unwrap() > 0.0, "{figure}");
    }
}

#[test]
fn a_refusal_that_may_be_retried_is_and_its_number_stays_in_order() {
    let (passed, report) = outcome(Fault::RefuseOnce);
    assert!(passed, "{report}");
    assert_eq!(
        (&report["retried"], &report["lost"], &report["reordered"]),
        (&json!(1), &json!(0), &json!(0))
    );
}

#[test]
fn every_fault_fails_the_demo() {
    for (fault, counter, count) in [
        (Fault::Drop, "lost", 2),
        (Fault::Repeat, "duplicated", 2),
        (Fault::Swap, "reordered", 1),
        (Fault::Spoil, "corrupted", 2),
        (Fault::RefuseAlways, "refused", 4),
    ] {
        let (passed, report) = outcome(fault);
        assert!(!passed, "{counter} must fail it: {report}");
        assert_eq!(report[counter], count, "{report}");
    }
}

#[test]
fn a_person_reads_first_what_was_not_done() {
    let output = demo(Fault::None, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("not offered 0, refused 0, unanswered 0, late 0, not attached 0"));
    assert_eq!(lines.last(), Some("clean"));
    let wrong = Command::new(env!("CARGO_BIN_EXE_flooder")).args(["demo", "--phones", "0"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_node_that_is_down_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_flooder"))
        .args([
            "demo",
            "--app",
            "demo",
            "--key",
            KEY,
            "--api",
            "http://127.0.0.1:1",
            "--target",
            "127.0.0.1:1",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("http://127.0.0.1:1/v1/apps/demo/devices:batch: no answer"), "{text}");
}
