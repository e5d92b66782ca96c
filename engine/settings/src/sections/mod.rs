//! The sections, one file each.

mod admission;
mod api;
mod fanout;
mod goaway;
mod heartbeat;
mod node;
mod push;
mod store;
mod supervisor;
mod token;
mod worker;

pub use admission::Admission;
pub use api::Api;
pub use fanout::Fanout;
pub use goaway::Goaway;
pub use heartbeat::Heartbeat;
pub use node::Node;
pub use push::{Push, WaitingPolicy};
pub use store::{Durability, Store, StoreKind};
pub use supervisor::Supervisor;
pub use token::Token;
pub use worker::{Steering, Worker};

use std::net::{Ipv4Addr, SocketAddr};

/// A port on the loopback interface: nothing is open to the network until someone asks for it.
fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
