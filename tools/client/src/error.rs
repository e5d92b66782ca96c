//! Why a session cannot go on.

use wire::{FrameType, WireError};

/// The connection has to be closed; [`crate::Session::disconnected`] then says when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Bytes that are no frame.
    #[error("the server sent bytes the protocol forbids: {0}")]
    Wire(#[from] WireError),
    /// A frame that has no place in this state, or that only a device may send.
    #[error("the server sent {0:?} where the protocol has no place for it")]
    Unexpected(FrameType),
    /// The server chose a version this client does not speak.
    #[error("the server speaks protocol version {0}, this client speaks {version}: update the client", version = wire::VERSION)]
    Version(u8),
    /// More topics than a device may name in one Hello.
    #[error("the server uses more than {max} topic streams", max = crate::TOPICS_MAX)]
    TooManyStreams,
    /// No Welcome in time.
    #[error("no Welcome within {0} ms after Hello")]
    NoWelcome(u32),
    /// No answer to a Ping in time: the path is dead although the socket may look alive.
    #[error("nothing was heard for {0} ms after a Ping")]
    NoPong(u32),
}
