//! The driver's hand on a floor.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::order::{Order, Reply};

/// Longest wait for a reply: the largest order is written in a tenth of it.
const REPLY_PATIENCE: Duration = Duration::from_secs(30);
/// Orders that may be under way; with more, [`Hand::order`] waits for the oldest.
const ORDERS_UNDER_WAY_MAX: usize = 64;

/// Why the floor cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HandError {
    /// The process could not be started, or did not say where it listens.
    #[error("the floor did not start: {0}")]
    Start(#[source] io::Error),
    /// The process is gone; it has said why on standard error.
    #[error("the floor takes no orders any more, see its words above: {0}")]
    Gone(#[source] io::Error),
}

/// A running floor. It ends when this is dropped.
#[derive(Debug)]
pub struct Hand {
    child: Child,
    socket: UnixStream,
    address: SocketAddr,
    under_way: usize,
}

impl Hand {
    /// Starts `command`, which must come to [`super::serve`].
    ///
    /// # Errors
    /// [`HandError::Start`].
    pub fn start(mut command: Command) -> Result<Self, HandError> {
        let start = |command: &mut Command| {
            let (socket, theirs) = UnixStream::pair()?;
            socket.set_read_timeout(Some(REPLY_PATIENCE))?;
            let child = command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).spawn()?;
            Ok((child, socket))
        };
        let (mut child, socket) = start(&mut command).map_err(HandError::Start)?;
        // The command holds their end of the pair; with it open, a dead floor would look silent.
        drop(command);
        let mut line = String::new();
        let output = child.stdout.take().expect("asked for above");
        let said = BufReader::new(output).read_line(&mut line);
        let address = line.trim().strip_prefix("ready listen=").and_then(|a| a.parse().ok());
        let unset = SocketAddr::from(([0, 0, 0, 0], 0));
        let hand = Self { child, socket, address: address.unwrap_or(unset), under_way: 0 };
        match said {
            Ok(_) if address.is_some() => Ok(hand),
            Ok(_) => Err(HandError::Start(io::Error::other(format!("it said {line:?}")))),
            Err(error) => Err(HandError::Start(error)),
        }
    }

    /// Where phones connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends an order, and returns before it is carried out.
    ///
    /// # Errors
    /// [`HandError::Gone`].
    pub fn order(&mut self, order: &Order) -> Result<(), HandError> {
        while self.under_way >= ORDERS_UNDER_WAY_MAX {
            self.reply()?;
        }
        self.socket.write_all(order.as_bytes()).map_err(HandError::Gone)?;
        self.under_way += 1;
        Ok(())
    }

    /// Waits until all orders were carried out; how many phones there are then.
    ///
    /// # Errors
    /// [`HandError::Gone`].
    pub fn phones(&mut self) -> Result<u32, HandError> {
        self.order(&Order::new(0))?;
        let mut phones = 0;
        while self.under_way > 0 {
            phones = self.reply()?.phones;
        }
        Ok(phones)
    }

    fn reply(&mut self) -> Result<Reply, HandError> {
        let mut bytes = [0; Reply::BYTES];
        self.socket.read_exact(&mut bytes).map_err(HandError::Gone)?;
        self.under_way -= 1;
        Ok(Reply::from_bytes(bytes))
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        // Both fail only when the process has ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
