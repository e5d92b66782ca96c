//! A connection's whole life as the worker leads it: bytes in pieces, decoded and stepped, with the
//! dispatcher's answers and its death in between. What comes out keeps the session's promises.
#![no_main]

use conn::{Input, Output, Session, State};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use wire::{Decoded, Limits, Reason, decode};

#[derive(Arbitrary, Debug)]
enum Event<'a> {
    Bytes(&'a [u8]),
    Attached { sync: bool },
    End(u8),
    LinkLost,
    Deadline,
}

fuzz_target!(|events: Vec<Event<'_>>| {
    let mut life = Life::default();
    for event in events {
        match event {
            Event::Bytes(bytes) => life.read(bytes),
            Event::Attached { sync } => life.step(Input::Attached { sync }),
            Event::End(code) => life.step(Input::End(Reason::from_code(code).unwrap_or(Reason::Kicked))),
            Event::LinkLost => life.step(Input::LinkLost),
            Event::Deadline => life.step(Input::Deadline),
        }
    }
});

#[derive(Default)]
struct Life {
    session: Session,
    kept: Vec<u8>,
    logins: u32,
    probes: u8,
}

impl Life {
    fn read(&mut self, bytes: &[u8]) {
        let mut buffer = std::mem::take(&mut self.kept);
        buffer.extend_from_slice(bytes);
        let mut at = 0;
        while self.session.state() != State::Closed {
            let input = match decode(&buffer[at..], Limits::FROM_DEVICE) {
                Ok(Decoded::Frame(frame, used)) => {
                    at += used;
                    Input::Frame(frame)
                }
                Ok(Decoded::Skip(used)) => {
                    at += used;
                    continue;
                }
                Ok(Decoded::Need(_)) => break,
                Err(error) => Input::Broken(error),
            };
            self.step(input);
        }
        self.kept = buffer.split_off(at);
        let open = self.session.state() != State::Closed;
        let partial = wire::limits::BODY_BYTES_MAX_FROM_DEVICE + wire::limits::FRAME_HEAD_BYTES_MAX;
        assert!(!open || self.kept.len() < partial, "{} bytes wait for a frame", self.kept.len());
    }

    fn step(&mut self, input: Input<'_>) {
        let before = self.session.state();
        let output = self.session.step(input);
        let after = self.session.state();
        match output {
            Output::Nothing | Output::Pong => {}
            Output::ProbeReply => self.probes += 1,
            Output::Login(hello) => {
                assert!(hello.version == wire::VERSION && hello.token.len() <= wire::limits::TOKEN_BYTES_MAX);
                assert_eq!(after, State::Attaching);
                self.logins += 1;
            }
            Output::Ack(positions) => {
                assert_eq!((before, after), (State::Attached(0), State::Attached(0)));
                assert!(!positions.is_empty());
            }
            Output::Subscribe(topic) | Output::Unsubscribe(topic) => {
                assert!(matches!(before, State::Attached(_)) && before == after);
                assert!(topic.len() <= wire::limits::TOPIC_BYTES_MAX);
            }
            Output::Close(_) => assert_eq!(after, State::Closed),
        }
        assert!(before != State::Closed || (output == Output::Nothing && after == State::Closed));
        assert!(after != State::Closed || before == State::Closed || matches!(output, Output::Close(_)));
        assert!(self.logins <= 1 && self.probes <= wire::limits::PROBES_MAX);
        assert!(self.logins == 1 || matches!(after, State::Greeting(_) | State::Closed));
    }
}
