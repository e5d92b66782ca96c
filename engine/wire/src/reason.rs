//! Why a connection ends, as one closed list: in GoAway frames, logs, metrics and documents.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $text:literal, reconnect: $again:literal;)+) => {
        /// The reason in a GoAway frame and in the worker's close counters.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Reason { $($(#[doc = $doc])+ $name = $code,)+ }

        impl Reason {
            /// Every reason, by rising code.
            pub const ALL: &[Reason] = &[$(Reason::$name,)+];

            /// The reason with this code; `None` for codes of a later version.
            pub const fn from_code(code: u8) -> Option<Reason> {
                match code { $($code => Some(Reason::$name),)+ _ => None }
            }

            /// The stable word for logs, metrics and documents.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$name => $text,)+ }
            }

            /// Whether a device may come back by itself with the same token, after `retry_after_ms`.
            pub const fn may_reconnect(self) -> bool {
                match self { $(Reason::$name => $again,)+ }
            }
        }
    };
}

reasons! {
    /// The device sent bytes the protocol forbids.
    Protocol = 1, "protocol", reconnect: true;
    /// The device speaks a version this server does not.
    Version = 2, "version", reconnect: false;
    /// The token's form or its MAC is wrong, or its key has been retired.
    TokenInvalid = 3, "token_invalid", reconnect: false;
    /// The token was genuine and is past its expiry: fetch a new one.
    TokenExpired = 4, "token_expired", reconnect: false;
    /// The device was revoked.
    Revoked = 5, "revoked", reconnect: false;
    /// Another connection logged in as this device; coming back would only kick that one.
    Replaced = 6, "replaced", reconnect: false;
    /// No Hello in time.
    HandshakeTimeout = 7, "handshake_timeout", reconnect: true;
    /// Nothing was heard for 1.5 heartbeat intervals and the slack.
    HeartbeatTimeout = 8, "heartbeat_timeout", reconnect: true;
    /// The device read too slowly and its unsent bytes met the bound; resume from the position it holds.
    SlowConsumer = 9, "slow_consumer", reconnect: true;
    /// This worker holds as many connections as it may, or the machine has no memory for more.
    ServerFull = 10, "server_full", reconnect: true;
    /// The server is stopping or moving its phones; others serve.
    Draining = 11, "draining", reconnect: true;
    /// A queue inside the node met its bound, or logins come faster than they may.
    Overload = 12, "overload", reconnect: true;
    /// A frame announced a body over the limit.
    FrameTooLarge = 13, "frame_too_large", reconnect: true;
    /// An operator or the business back end asked for it.
    Kicked = 14, "kicked", reconnect: true;
    /// The device closed the connection; never on the wire, only counted.
    PeerClosed = 15, "peer_closed", reconnect: true;
    /// The socket failed; never on the wire, only counted.
    SocketError = 16, "socket_error", reconnect: true;
}
