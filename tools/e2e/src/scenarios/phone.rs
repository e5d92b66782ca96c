//! One phone at a time, step by step.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use client::blocking::{Connection, ConnectionError, Received};
use client::{Config, Session};
use flooder::Device;
use wire::{Epoch, Reason};

use super::PATIENCE;
use crate::Failure;

/// A topic nobody is a member of. The answer about it comes from the dispatcher, behind all that it has sent, and
/// asking acknowledges nothing.
const NO_TOPIC: &str = "nobody is a member";

/// Between two looks at whether more is wanted.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a login brought: a phone, or the reason why it was sent away.
pub type Login = Result<Phone, Option<Reason>>;

/// A phone that is connected.
pub struct Phone {
    connection: Connection,
    epoch: Epoch,
}

/// A session of this device that was never connected.
pub fn session(device: &Device) -> Session {
    Session::new(Config::new(device.token))
}

/// Logs in.
pub fn login(target: SocketAddr, session: Session) -> Result<Login, Failure> {
    let mut connection = Connection::new(session, TcpStream::connect(target)?);
    match connection.receive(PATIENCE)? {
        Some(Received::Attached { epoch, .. }) => Ok(Ok(Phone { connection, epoch })),
        Some(Received::GoAway { reason, .. }) => Ok(Err(reason)),
        other => Err(format!("the node answers a login with {other:?}").into()),
    }
}

/// Logs in where nothing else would do.
pub fn must_login(target: SocketAddr, session: Session) -> Result<Phone, Failure> {
    login(target, session)?.map_err(|reason| format!("a login is refused: {reason:?}").into())
}

/// Why a login is refused; `None` when it is not.
pub fn refusal(target: SocketAddr, device: &Device) -> Option<Reason> {
    login(target, session(device)).ok()?.err()?
}

impl Phone {
    /// Everything that happens until this text has arrived, and then until the node has answered a question, for
    /// what should not come. Messages are shown as their text, everything else as it prints.
    pub fn hear_until(&mut self, last: &str) -> Result<Vec<String>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        while heard.last().is_none_or(|text| text != last) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next(left)? {
                Some(received) => heard.push(shown(&received)),
                None => return Err(format!("{last} does not arrive, only {heard:?}").into()),
            }
        }
        self.connection.unsubscribe(NO_TOPIC)?;
        loop {
            match self.next(PATIENCE)? {
                Some(Received::Subscription { topic, .. }) if topic == NO_TOPIC => return Ok(heard),
                Some(received) => heard.push(shown(&received)),
                None => return Err("the node does not answer".into()),
            }
        }
    }

    /// All messages as their text, as long as more are wanted and then until the node has answered a question, for
    /// what should not come.
    pub fn hear_while(
        &mut self,
        mut wants_more: impl FnMut(&[String]) -> bool,
    ) -> Result<Vec<String>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let mut texts = Vec::new();
        let mut is_asked = false;
        loop {
            if !is_asked && !wants_more(&texts) {
                is_asked = true;
                self.connection.unsubscribe(NO_TOPIC)?;
            }
            match self.next(LOOK_EVERY)? {
                Some(received @ Received::Message { .. }) => texts.push(shown(&received)),
                Some(Received::Subscription { topic, .. }) if topic == NO_TOPIC => return Ok(texts),
                Some(_) => {}
                None if Instant::now() >= deadline => {
                    return Err(format!("no more comes than {texts:?}").into());
                }
                None => {}
            }
        }
    }

    /// The epoch it logged in to.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Waits for what `wanted` accepts, and drops what comes before.
    pub fn await_event(&mut self, wanted: impl Fn(&Received) -> bool) -> Result<Received, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now()))? {
                Some(received) if wanted(&received) => return Ok(received),
                Some(_) => {}
                None => return Err("the node does not say what it should".into()),
            }
        }
    }

    /// Waits for the GoAway and its reason; `None` when the connection ends without.
    pub fn await_goaway(&mut self) -> Option<Reason> {
        match self.await_event(|received| matches!(received, Received::GoAway { .. })) {
            Ok(Received::GoAway { reason, .. }) => reason,
            _ => None,
        }
    }

    /// Becomes a member of a topic.
    pub fn subscribe(&mut self, topic: &str) -> Result<(), Failure> {
        self.connection.subscribe(topic)?;
        self.await_event(|received| matches!(received, Received::Subscription { .. })).map(drop)
    }

    /// Acknowledges everything heard.
    pub fn acknowledge(&mut self) -> Result<(), Failure> {
        Ok(self.connection.acknowledge()?)
    }

    /// Ends the connection, acknowledging nothing more, and keeps what a phone keeps.
    pub fn leave(self) -> Session {
        let mut session = self.connection.end();
        // The time to come back is the test's business.
        session.disconnected(0);
        session
    }

    fn next(&mut self, patience: Duration) -> Result<Option<Received>, ConnectionError> {
        self.connection.receive(patience)
    }
}

fn shown(received: &Received) -> String {
    match received {
        Received::Message { payload, .. } => String::from_utf8_lossy(payload).into_owned(),
        other => format!("{other:?}"),
    }
}
