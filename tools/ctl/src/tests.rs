//! Command lines as an operator types them, against a directory of their own and a node that is a script.

mod fanout;
mod files;
mod remote;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::{Failure, run};

/// A directory with a configuration whose key file is in it; gone when the test is.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("moorline-ctl-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let place = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&place.0).unwrap();
        place.configure("");
        place
    }

    fn configure(&self, more: &str) {
        let state_dir = self.0.join("state");
        let text = format!("[node]\nstate_dir = {:?}\n{more}", state_dir.to_str().unwrap());
        fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.0.join("moorline.toml")
    }

    fn run(&self, line: &str) -> Result<String, Failure> {
        let mut out = Vec::new();
        let config = format!("--config={}", self.config().display());
        let words = ["moorctl", &config].into_iter().chain(line.split_whitespace());
        run(words, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(&format!("{line} --json")).unwrap()).unwrap()
    }

    /// The failure's text and exit code.
    #[track_caller]
    fn fails(&self, line: &str) -> (String, i32) {
        let failure = self.run(line).unwrap_err();
        let code = match &failure {
            Failure::Usage(error) => error.exit_code(),
            Failure::Missing { .. } => 2,
            Failure::Failed { .. } | Failure::Output(_) => 1,
        };
        (failure.to_string(), code)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the test made this directory");
    }
}

/// A request as the node saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    line: String,
    authorization: String,
    idempotency_key: String,
    body: String,
}

/// A node that answers the `n`th request with the `n`th reply, and the last one from then on.
struct Node {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    fn new(replies: &[(u16, String)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, stopping) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, stop, replies) = (Arc::clone(&asked), Arc::clone(&stopping), replies.to_vec());
        let thread = std::thread::spawn(move || {
            for (count, stream) in listener.incoming().enumerate() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (status, body) = &replies[count.min(replies.len() - 1)];
                answer(stream.unwrap(), *status, body, &seen);
            }
        });
        Self { address, asked, stopping, thread: Some(thread) }
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        TcpStream::connect(self.address).expect("the node listens until it is told to stop");
        let ended = self.thread.take().expect("it is stopped once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the node's thread failed");
    }
}

fn answer(stream: TcpStream, status: u16, body: &str, seen: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let found = head[1..].iter().filter_map(|line| line.split_once(": "));
        found.filter(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let mut sent = vec![0; header("content-length").map_or(0, |it| it.parse().unwrap())];
    reader.read_exact(&mut sent).unwrap();
    let (line, authorization) = (head[0].clone(), header("authorization").unwrap_or_default());
    let idempotency_key = header("idempotency-key").unwrap_or_default();
    let body_sent = String::from_utf8(sent).unwrap();
    seen.lock().unwrap().push(Asked { line, authorization, idempotency_key, body: body_sent });
    let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    reader.into_inner().write_all(format!("{head}{body}").as_bytes()).unwrap();
}
