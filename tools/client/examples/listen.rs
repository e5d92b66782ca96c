//! A device: prints every message, and comes back when its connection ends.
//!
//! ```text
//! cargo run -p client --example listen -- TOKEN [ADDRESS [TOPIC...]]
//! ```
//!
//! A real device saves its positions together with the messages; this one forgets them when it is stopped.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use client::blocking::{Connection, ConnectionError, Received};
use client::{Config, Reconnect, Session};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let token = arguments.next().ok_or("usage: listen TOKEN [ADDRESS [TOPIC...]]")?;
    let home = arguments.next().unwrap_or("127.0.0.1:7070".to_owned());
    let topics: Vec<String> = arguments.collect();

    let mut session = Session::new(Config::new(URL_SAFE_NO_PAD.decode(token)?));
    let mut address = home.clone();
    loop {
        match TcpStream::connect(&address) {
            Ok(socket) => {
                let mut connection = Connection::new(session, socket);
                let ended = listen(&mut connection, &topics);
                println!("connection ended: {ended}");
                session = connection.end();
            }
            Err(error) => println!("{address}: {error}"),
        }
        match session.disconnected(RandomState::new().hash_one(())) {
            Reconnect::Never(reason) => return Err(format!("not wanted back: {}", reason.as_str()).into()),
            Reconnect::After { ms, addresses } => {
                println!("back in {ms} ms");
                sleep(Duration::from_millis(ms));
                address = addresses.into_iter().next().unwrap_or(home.clone());
            }
        }
    }
}

/// Receives until the connection is over; why it ended.
fn listen(connection: &mut Connection, topics: &[String]) -> ConnectionError {
    loop {
        match connection.receive(Duration::from_secs(10)) {
            Ok(Some(received)) => {
                if let Err(error) = show(connection, received, topics) {
                    return error;
                }
            }
            Ok(None) => {}
            Err(error) => return error,
        }
    }
}

fn show(connection: &mut Connection, received: Received, topics: &[String]) -> Result<(), ConnectionError> {
    match received {
        Received::Attached { heartbeat_s, .. } => {
            println!("attached, heartbeat {heartbeat_s} s");
            topics.iter().try_for_each(|topic| connection.subscribe(topic))?;
        }
        Received::Message { stream, seq, payload } => {
            println!("stream {stream}, {seq}: {}", String::from_utf8_lossy(&payload));
        }
        other => println!("{other:?}"),
    }
    Ok(())
}
