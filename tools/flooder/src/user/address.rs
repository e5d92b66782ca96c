//! Which phone has which address.
//!
//! ```text
//!  phone i of queue q, in its life n     10.(64 + q).0.0/16 + 256 + i / 16,000  :  1024 + 4 (i mod 16,000) + n mod 4
//! ```
//!
//! A phone that comes back has another port, as behind a NAT: the server may still hold its last connection. After
//! four lives it has the first port again.

use std::net::Ipv4Addr;

/// Phones that share an address.
const PHONES_PER_ADDRESS: u32 = 16_000;
/// Ports of one phone.
pub const LIVES: u8 = 4;
const PORT_FIRST: u16 = 1024;
/// Addresses of a block before the phones': the network's, the device's own.
const ADDRESSES_RESERVED: u32 = 256;
/// Addresses of a block, at most.
const ADDRESSES: u32 = 65_536 - ADDRESSES_RESERVED - 1;
/// Phones of one queue, at most.
pub const PHONES_PER_QUEUE_MAX: u32 = 1 << 26;
/// Queues, at most.
pub const QUEUES_MAX: usize = 16;
/// Phones of a fleet, at most.
pub const PHONES_MAX: u32 = PHONES_PER_QUEUE_MAX;

const _: () = assert!(PHONES_PER_QUEUE_MAX / PHONES_PER_ADDRESS < ADDRESSES);
const _: () = assert!(PORT_FIRST as u32 + PHONES_PER_ADDRESS * LIVES as u32 <= 65_536);

/// The block of addresses of one queue.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    base: u32,
}

impl Block {
    /// That of this queue, below [`QUEUES_MAX`].
    pub fn new(queue: usize) -> Self {
        Self { base: u32::from(Ipv4Addr::new(10, 64 + queue as u8, 0, 0)) }
    }

    /// The device's own address; the block is its network, /16.
    pub fn device(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }

    /// Address and port of a phone in this life.
    pub fn of(self, phone: u32, life: u8) -> (u32, u16) {
        let address = self.base + ADDRESSES_RESERVED + phone / PHONES_PER_ADDRESS;
        let port =
            PORT_FIRST + (phone % PHONES_PER_ADDRESS) as u16 * u16::from(LIVES) + u16::from(life % LIVES);
        (address, port)
    }

    /// The phone with this address, and its life; of no phone where the address is not one of a phone's.
    pub fn phone(self, address: u32, port: u16) -> Option<(u32, u8)> {
        let host = address.wrapping_sub(self.base + ADDRESSES_RESERVED);
        let port = port.checked_sub(PORT_FIRST)?;
        let place = u32::from(port / u16::from(LIVES));
        (host < ADDRESSES && place < PHONES_PER_ADDRESS)
            .then(|| (host * PHONES_PER_ADDRESS + place, (port % u16::from(LIVES)) as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phone_is_found_by_its_address_and_no_other() {
        for queue in [0, 1, QUEUES_MAX - 1] {
            let block = Block::new(queue);
            for phone in (0..70_000).chain([PHONES_PER_QUEUE_MAX - 1]) {
                for life in 0..LIVES {
                    let (address, port) = block.of(phone, life);
                    assert_eq!(block.phone(address, port), Some((phone, life)));
                    assert_eq!(Ipv4Addr::from(address).octets()[..2], [10, 64 + queue as u8]);
                }
            }
            let (address, _) = block.of(0, 0);
            assert_eq!(block.phone(address, PORT_FIRST - 1), None);
            assert_eq!(block.phone(address, u16::MAX), None);
            assert_eq!(block.phone(u32::from(block.device()), 2000), None);
        }
    }
}
