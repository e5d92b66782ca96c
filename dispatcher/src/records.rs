//! Workers' records, each to the use case that it is about; and new workers.

use crate::config::LINKS_MAX;
use crate::core::{Core, LinkSlot};
use crate::link::Link;
use bus::{Down, Up};
use route::Place;

impl Core {
    /// Carries out one record of a worker.
    pub fn record(&mut self, link: u16, record: Up<'_>) {
        match record {
            Up::Attach(attach) => self.attach(link, attach),
            Up::Ack { conn, route, stream, seq } => self.ack(Place { link, conn }, route, stream, seq),
            Up::Detach { conn, device, .. } => self.detach(link, conn, device),
            Up::Subscribe { conn, route, topic } => {
                self.device_topic(Place { link, conn }, route, topic, true)
            }
            Up::Unsubscribe { conn, route, topic } => {
                self.device_topic(Place { link, conn }, route, topic, false)
            }
            Up::ReattachDone => {
                if let Some(link) = self.link(link) {
                    link.reattached = true;
                }
                self.publish_recovery();
            }
            Up::Walked { fanouts } => self.walked(link, fanouts),
        }
    }

    /// A number for a new link; `None` when there are as many as may be.
    pub fn free_link(&mut self) -> Option<u16> {
        let free = self.links.iter().position(|slot| matches!(slot, LinkSlot::Free));
        let number = free.unwrap_or(self.links.len());
        if number >= LINKS_MAX {
            return None;
        }
        if free.is_none() {
            self.links.push(LinkSlot::Free);
        }
        Some(number as u16)
    }

    /// Takes a link in: its worker is told what it has to know before it lets anybody in.
    pub fn add_link(&mut self, number: u16, mut link: Link) {
        for (kid, secret) in &self.keys {
            link.tell(Down::TokenKey { kid: *kid, secret: *secret });
        }
        self.fanout.greet(&mut link);
        self.fanout.members_came(&mut link);
        self.links[usize::from(number)] = LinkSlot::Live(Box::new(link));
        // One more shares what there is.
        self.tell_admissions();
        if let Some(link) = self.link(number) {
            link.tell(Down::Linked);
        }
        self.publish_pages();
    }
}
