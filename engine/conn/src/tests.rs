use super::*;
use proptest::prelude::*;
use wire::{Epoch, Push, STREAM_INBOX};

fn hello(version: u8) -> Hello<'static> {
    let positions = Positions::EMPTY;
    Hello { version, token: &[], heartbeat_s: 0, epoch: Epoch(0), positions }
}

fn attached() -> Session {
    let mut session = Session::default();
    assert_eq!(session.step(Input::Frame(Frame::Hello(hello(1)))), Output::Login(hello(1)));
    assert_eq!(session.step(Input::Attached { sync: false }), Output::Nothing);
    assert_eq!(session.state(), State::Attached(0));
    session
}

#[test]
fn an_idle_session_is_two_bytes() {
    assert_eq!(size_of::<Session>(), 2);
}

#[test]
fn probes_are_counted() {
    let mut session = Session::default();
    for _ in 0..limits::PROBES_MAX {
        assert_eq!(session.step(Input::Frame(Frame::Probe)), Output::ProbeReply);
    }
    assert_eq!(session.step(Input::Frame(Frame::Probe)), Output::Close(Reason::Protocol));
}

#[test]
fn nothing_but_greetings_before_login() {
    for frame in [Frame::Ack(Positions::EMPTY), Frame::Subscribe("t"), Frame::Pong] {
        assert_eq!(
            Session::default().step(Input::Frame(frame)),
            Output::Close(Reason::Protocol),
            "{frame:?}"
        );
    }
    assert_eq!(Session::default().step(Input::Frame(Frame::Hello(hello(9)))), Output::Close(Reason::Version));
}

#[test]
fn a_second_hello_and_server_frames_are_refused() {
    let push = Frame::Push(Push { stream: STREAM_INBOX, seq: 1, payload: b"" });
    for frame in [Frame::Hello(hello(1)), push, Frame::Probe] {
        assert_eq!(attached().step(Input::Frame(frame)), Output::Close(Reason::Protocol), "{frame:?}");
    }
}

#[test]
fn an_orphan_keeps_its_heartbeat_and_comes_back() {
    let mut session = attached();
    assert_eq!(session.step(Input::LinkLost), Output::Nothing);
    assert_eq!(session.step(Input::Frame(Frame::Ping)), Output::Pong);
    assert_eq!(session.step(Input::Frame(Frame::Ack(Positions::EMPTY))), Output::Nothing);
    assert_eq!(session.step(Input::Attached { sync: false }), Output::Nothing);
    assert_eq!(session.step(Input::Frame(Frame::Subscribe("t"))), Output::Subscribe("t"));
}

#[test]
fn acknowledgements_count_again_once_every_sync_is_answered() {
    let mut bytes = Vec::new();
    let ack = Frame::Ack(Positions::build([wire::Position { stream: STREAM_INBOX, seq: 5 }], &mut bytes));
    let answer = Frame::Ack(Positions::EMPTY);
    let mut session = attached();
    for _ in 0..2 {
        session.step(Input::LinkLost);
        session.step(Input::Attached { sync: true });
    }
    assert_eq!(session.step(Input::Frame(ack)), Output::Nothing, "of the first epoch");
    session.step(Input::Frame(answer));
    assert_eq!(session.step(Input::Frame(ack)), Output::Nothing, "of the second");
    session.step(Input::Frame(answer));
    assert!(matches!(session.step(Input::Frame(ack)), Output::Ack(_)), "of the third");
}

#[test]
fn deadlines_say_which() {
    assert_eq!(Session::default().step(Input::Deadline), Output::Close(Reason::HandshakeTimeout));
    assert_eq!(attached().step(Input::Deadline), Output::Close(Reason::HeartbeatTimeout));
}

fn any_input() -> impl Strategy<Value = Input<'static>> {
    let frame = prop_oneof![
        Just(Frame::Ping),
        Just(Frame::Pong),
        Just(Frame::Probe),
        Just(Frame::Hello(hello(1))),
        Just(Frame::Hello(hello(2))),
        Just(Frame::Ack(Positions::EMPTY)),
        Just(Frame::Subscribe("t")),
        Just(Frame::Unsubscribe("t")),
    ];
    prop_oneof![
        6 => frame.prop_map(Input::Frame),
        1 => Just(Input::Broken(WireError::Varint)),
        1 => Just(Input::End(Reason::Kicked)),
        3 => any::<bool>().prop_map(|sync| Input::Attached { sync }),
        2 => Just(Input::LinkLost),
        1 => Just(Input::Deadline),
    ]
}

proptest! {
    /// Whatever happens in whatever order: one login at most, nothing for the dispatcher unless attached,
    /// exactly one close, silence afterwards.
    #[test]
    fn a_life_has_one_login_and_one_end(inputs in prop::collection::vec(any_input(), 1..60)) {
        let (mut session, mut logins, mut closes) = (Session::default(), 0, 0);
        for input in inputs {
            let before = session.state();
            let output = session.step(input);
            match output {
                Output::Login(_) => logins += 1,
                Output::Close(_) => closes += 1,
                Output::Ack(_) | Output::Subscribe(_) | Output::Unsubscribe(_) => {
                    prop_assert!(matches!(before, State::Attached(_)));
                }
                Output::Nothing | Output::Pong | Output::ProbeReply => {}
            }
            prop_assert!(before != State::Closed || output == Output::Nothing);
            prop_assert!(logins == 1 || matches!(session.state(), State::Greeting(_) | State::Closed));
            prop_assert_eq!(closes == 1, session.state() == State::Closed);
        }
        prop_assert!(logins <= 1 && closes <= 1);
    }
}
