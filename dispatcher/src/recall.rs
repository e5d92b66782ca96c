//! A message is taken back: whoever has not acknowledged it does not get it any more.

use crate::core::Core;
use crate::receipts::Audience;
use api::Recalled;
use route::Handle;
use store::{Outcome, Stream};
use wire::{AppId, MessageId, Seq};

impl Core {
    /// Takes a message back; `None` if nobody remembers it.
    pub fn recall(&mut self, app: AppId, id: MessageId) -> Option<Recalled> {
        let (receipt, audience) = self.receipts.audience(app, id)?;
        let (mut recalled, mut in_flight) = (0, 0);
        match audience {
            Audience::Topic(stream) => {
                if let Some(seq) = self.seq_of(Stream::Topic(app, stream), id) {
                    (recalled, in_flight) = self.give_up_topic_entry((app, stream), seq, Outcome::Recalled);
                    self.trim_done((app, stream));
                }
            }
            Audience::Device(handle) => self.recall_from(handle, id, &mut recalled, &mut in_flight),
            Audience::List => {
                for handle in self.receipts.targets(receipt).to_vec() {
                    self.recall_from(handle, id, &mut recalled, &mut in_flight);
                }
            }
        }
        Some(Recalled { recalled, in_flight })
    }

    fn recall_from(&mut self, handle: Handle, id: MessageId, recalled: &mut u32, in_flight: &mut u32) {
        let route = &self.routes[handle];
        let (device, sent) = (route.device(), route.inbox_sent());
        let Some(seq) = self.seq_of(Stream::Inbox(device), id) else { return };
        if self.give_up_entry(handle, seq, Outcome::Recalled) {
            *recalled += 1;
            *in_flight += u32::from(seq <= sent);
        }
    }

    fn seq_of(&self, stream: Stream, id: MessageId) -> Option<Seq> {
        let mut found = None;
        self.store.read(stream, 0, self.now_ms, &mut |entry| {
            if entry.id == id {
                found = Some(entry.seq);
            }
            found.is_none()
        });
        found
    }
}
