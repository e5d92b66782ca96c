//! The blocking connection against a server of a few lines.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use client::blocking::{Connection, ConnectionError, Received};
use client::{Config, Reconnect, Session};
use wire::{Decoded, Epoch, Frame, GoAway, Limits, Positions, Push, Reason, STREAM_INBOX, Welcome};

const PATIENCE: Duration = Duration::from_secs(20);

/// Reads the next frame and shows it to `see`.
fn hear<T>(socket: &mut TcpStream, held: &mut Vec<u8>, see: impl FnOnce(Frame<'_>) -> T) -> T {
    loop {
        if let Decoded::Frame(frame, used) = wire::decode(held, Limits::FROM_DEVICE).unwrap() {
            let seen = see(frame);
            held.drain(..used);
            return seen;
        }
        let mut bytes = [0; 256];
        let n = socket.read(&mut bytes).unwrap();
        assert!(n > 0, "the device left early");
        held.extend_from_slice(&bytes[..n]);
    }
}

fn say(socket: &mut TcpStream, frames: &[Frame<'_>]) {
    let mut out = Vec::new();
    frames.iter().for_each(|f| f.encode(&mut out));
    socket.write_all(&out).unwrap();
}

fn positions(list: Positions<'_>) -> Vec<(u32, u64)> {
    list.iter().map(|p| (p.stream, p.seq)).collect()
}

fn serve(listener: TcpListener) {
    let (mut socket, _) = listener.accept().unwrap();
    let mut held = Vec::new();
    hear(&mut socket, &mut held, |frame| match frame {
        Frame::Hello(hello) => assert_eq!(hello.token, [7; 32]),
        other => panic!("{other:?}"),
    });
    let welcome = Welcome {
        version: 1,
        epoch: Epoch(3),
        heartbeat_s: 60,
        ack_delay_ms: 60_000,
        ack_every: 2,
        positions: Positions::EMPTY,
    };
    let message = |seq, payload| Frame::Push(Push { stream: STREAM_INBOX, seq, payload });
    say(&mut socket, &[Frame::Welcome(welcome), message(1, b"one"), message(2, b"two")]);
    hear(&mut socket, &mut held, |frame| match frame {
        Frame::Ack(list) => assert_eq!(positions(list), [(STREAM_INBOX, 2)]),
        other => panic!("{other:?}"),
    });
    hear(&mut socket, &mut held, |frame| assert_eq!(frame, Frame::Ping));
    say(&mut socket, &[Frame::Pong, Frame::GoAway(GoAway::new(Reason::Replaced, 0))]);
}

#[test]
fn logs_in_receives_acknowledges_and_leaves() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = thread::spawn(|| serve(listener));

    let mut phone = Connection::new(Session::new(Config::new([7; 32])), socket);
    let mut next = || phone.receive(PATIENCE).unwrap().expect("something arrives");
    assert_eq!(next(), Received::Attached { epoch: Epoch(3), epoch_changed: false, heartbeat_s: 60 });
    for (seq, text) in [(1, "one"), (2, "two")] {
        assert_eq!(next(), Received::Message { stream: STREAM_INBOX, seq, payload: text.into() });
    }
    // Asking again acknowledges both; nothing more comes until the Ping.
    assert_eq!(phone.receive(Duration::from_millis(5)).unwrap(), None);
    phone.ping().unwrap();
    assert_eq!(phone.receive(PATIENCE).unwrap(), Some(Received::Pong));
    let goaway = Received::GoAway { reason: Some(Reason::Replaced), retry_after_ms: 0 };
    assert_eq!(phone.receive(PATIENCE).unwrap(), Some(goaway));
    assert!(matches!(phone.receive(PATIENCE), Err(ConnectionError::Closed)));
    assert_eq!(phone.end().disconnected(1), Reconnect::Never(Reason::Replaced));
    server.join().unwrap();
}
