//! What a fleet in user space is told, and what it tells.

use std::net::SocketAddrV4;

use token::TokenKeys;

use crate::stats::Latency;

use super::path::Profile;

/// How a fleet in user space is made.
#[derive(Clone, Debug)]
pub struct UserConfig {
    /// How many phones.
    pub phones: u32,
    /// Where they connect; reachable from the network namespace of the caller.
    pub target: SocketAddrV4,
    /// Threads, each with a TUN device, a block of addresses and a share of the phones of its own; 1 to 16.
    pub queues: usize,
    /// The app of all devices.
    pub app: u16,
    /// The node's token keys: tokens are made when they are sent, as millions would not fit.
    pub keys: TokenKeys,
    /// The first device's number; the others follow.
    pub device_first: u64,
    /// The heartbeat that phones ask for, in seconds; 0: the node's default.
    pub heartbeat_s: u32,
    /// New connections a second, all queues together; 0: no limit.
    pub connect_per_s: u32,
    /// Logins under way at one time, all queues together; 0: no limit, as in a storm.
    pub under_way_max: u32,
    /// Longest first back-off of a phone that lost its connection, in milliseconds; it doubles with each failure.
    pub back_off_ms: u32,
    /// What lies between phones and server.
    pub profile: Profile,
    /// Seed of everything that is random.
    pub seed: u64,
    /// Scheduling priority of the threads, as `nice`: phones have processors of their own in the world.
    pub nice: i32,
}

/// How phones go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// With a FIN, as when the app is closed.
    Fin,
    /// With a RST, as when the phone's system kills it.
    Reset,
    /// Without a word, as in a tunnel. What the server sends then is lost.
    Silent,
}

/// Phones `from..to` of a thousand, of each queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The first thousandth.
    pub from: u32,
    /// The thousandth behind the last.
    pub to: u32,
}

impl Share {
    /// Everybody.
    pub const ALL: Self = Self { from: 0, to: 1000 };
    /// Half of them,
    pub const FIRST_HALF: Self = Self { from: 0, to: 500 };
    /// and the others.
    pub const SECOND_HALF: Self = Self { from: 500, to: 1000 };
}

/// What a running fleet can be told.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// These phones go and stay away.
    Vanish(Share, How),
    /// Those that stay away come back, each at a moment of its own within this many milliseconds.
    Return {
        /// The range of moments.
        within_ms: u32,
    },
    /// New limits, of all queues together; see [`UserConfig`].
    Pace {
        /// New connections a second; 0: no limit.
        connect_per_s: u32,
        /// Logins under way at one time; 0: no limit.
        under_way_max: u32,
    },
    /// This many phones a second change their address: they leave without a word and come back from another.
    Roam {
        /// Phones a second, all queues together; 0: none.
        per_s: u32,
    },
    /// These phones stop reading for so many milliseconds: their window is zero.
    Freeze(Share, u32),
    /// The network is another one from here on.
    Network(Profile),
}

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counts of a fleet in user space, all queues together.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts { $($(#[doc = $doc])+ pub $name: u64,)+ }

        impl Counts {
            /// How many there are.
            pub(super) const LEN: usize = [$(stringify!($name)),+].len();

            /// Adds another queue's.
            pub fn add(&mut self, other: &Self) { $(self.$name += other.$name;)+ }

            pub(super) fn to_words(self) -> [u64; Self::LEN] { [$(self.$name),+] }

            pub(super) fn from_words(words: [u64; Self::LEN]) -> Self {
                let [$($name),+] = words;
                Self { $($name),+ }
            }
        }
    };
}

counts! {
    /// Phones that are established now: by their TCP, whether logged in or not.
    established,
    /// Phones that are logged in now.
    attached,
    /// Phones whose connection or login is under way now.
    under_way,
    /// Phones that wait for the end of their back-off now.
    waiting,
    /// Phones that stay away now.
    away,
    /// Connections begun.
    connects,
    /// Connections that were not established, or got no Welcome in time.
    connects_failed,
    /// Logins answered with Welcome.
    attaches,
    /// GoAway frames received.
    goaways,
    /// GoAway frames that told a login to come back later: overload, or full.
    put_off,
    /// Connections that the server reset.
    resets,
    /// Connections that the server ended without GoAway.
    ended,
    /// Messages to all, each counted once a phone.
    delivered_all,
    /// Messages to one phone, each counted once.
    delivered_inbox,
    /// Sequence numbers that were jumped over and not declared gone.
    lost,
    /// Messages that came again.
    duplicated,
    /// Messages that are not as the back end made them.
    corrupted,
    /// Messages for another phone.
    misdelivered,
    /// Messages that the server declared gone.
    gaps,
    /// Logins after which the server began again before the phone's position.
    rewound,
    /// Connections that the server ended with the word never to come back.
    sent_off,
    /// Logged-in phones that gave their connection up, as nothing they sent was acknowledged.
    gave_up,
    /// Frames that are no frames, or not for phones.
    broken,
    /// Pings sent.
    pings,
    /// Pongs received.
    pongs,
    /// Pings without a Pong in time.
    missed,
    /// Acks sent.
    acks,
    /// Packets from the server.
    packets_in,
    /// Packets to the server.
    packets_out,
    /// Packets that the device did not take.
    packets_refused,
    /// Packets that the simulated network lost, both ways.
    packets_lost,
    /// Segments that came although their bytes were here: the server sent again for nothing, or its
    /// acknowledgement was lost.
    segments_again,
    /// Segments that came before their turn.
    segments_early,
    /// Segments sent again.
    retransmits,
    /// Phones that were given another address.
    roamed,
    /// Phones that stopped reading.
    frozen,
    /// Mappings of the NAT that died of idleness.
    mappings_lost,
}

/// Latencies of a fleet in user space.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// From the first SYN of the attempt that succeeded to the Welcome.
    pub attach: Latency,
    /// From Ping to Pong.
    pub pong: Latency,
    /// Of messages to all, from when they were meant to leave.
    pub broadcast: Latency,
    /// Of messages to one phone.
    pub unicast: Latency,
    /// Of the fleet itself: how far its phones' timers were behind, in each of its turns.
    pub lag: Latency,
}

impl Latencies {
    /// Adds another queue's.
    pub fn add(&mut self, other: &Self) {
        self.attach.merge(&other.attach);
        self.pong.merge(&other.pong);
        self.broadcast.merge(&other.broadcast);
        self.unicast.merge(&other.unicast);
        self.lag.merge(&other.lag);
    }
}

/// Why there is no fleet in user space.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The numbers do not fit.
    #[error("a fleet in user space has 1 to {phones_max} phones on 1 to 16 queues, not {phones} on {queues}")]
    Size {
        /// What was asked for.
        phones: u32,
        /// Queues that were asked for.
        queues: usize,
        /// The most.
        phones_max: u32,
    },
    /// There is no key to make tokens with.
    #[error("no token key: the node has made none yet, start it first")]
    NoKey,
    /// A TUN device cannot be had.
    #[error(
        "{step}: {source}; a fleet in user space needs root, /dev/net/tun, and a network namespace of its own"
    )]
    Device {
        /// What was tried.
        step: &'static str,
        /// What happened.
        source: std::io::Error,
    },
    /// A thread ended.
    #[error("queue {0} of the fleet has ended; its last words are on standard error")]
    Gone(usize),
}
