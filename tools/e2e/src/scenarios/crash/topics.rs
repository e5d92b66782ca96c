//! Who is a member of which topic, so that everybody knows who is owed a message.
//!
//! While a push to a topic is under way, nobody joins or leaves it; while somebody joins or leaves, nobody
//! pushes to it; and nobody leaves who is still owed a message. So the audience of each message is certain,
//! whatever dies meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One topic.
#[derive(Debug, Default)]
struct Topic {
    members: BTreeSet<u16>,
    /// Pushes that are not accepted yet.
    pushing: u32,
    /// Phones whose membership is neither begun nor ended for certain.
    changing: BTreeSet<u16>,
    /// Messages on their way, by member.
    owed: BTreeMap<u16, u64>,
}

/// All topics of a campaign, by their place.
#[derive(Debug)]
pub struct Topics(Mutex<Vec<Topic>>);

impl Topics {
    /// So many, and one that is fixed; none has members.
    pub fn new(count: usize) -> Self {
        Self(Mutex::new((0..=count).map(|_| Topic::default()).collect()))
    }

    /// How many there are to join and to leave.
    pub fn count(&self) -> usize {
        self.fixed()
    }

    /// The one whose members stay, as it has messages that may never arrive.
    pub fn fixed(&self) -> usize {
        self.lock().len() - 1
    }

    /// The name of one.
    pub fn name(topic: usize) -> String {
        format!("topic-{topic}")
    }

    /// The one with this name.
    pub fn find(name: &str) -> Option<usize> {
        name.strip_prefix("topic-")?.parse().ok()
    }

    /// Begins a push: its audience, who are owed the message from now on. `None` if it has to be another topic.
    pub fn begin_push(&self, topic: usize) -> Option<Vec<u16>> {
        let mut topics = self.lock();
        let topic = &mut topics[topic];
        if !topic.changing.is_empty() || topic.members.is_empty() {
            return None;
        }
        topic.pushing += 1;
        for member in &topic.members {
            *topic.owed.entry(*member).or_default() += 1;
        }
        Some(topic.members.iter().copied().collect())
    }

    /// Ends one, accepted or given up.
    pub fn end_push(&self, topic: usize) {
        self.lock()[topic].pushing -= 1;
    }

    /// A member got a message.
    pub fn arrived(&self, topic: usize, phone: u16) {
        if let Some(owed) = self.lock()[topic].owed.get_mut(&phone) {
            // A message that comes twice is the ledger's business.
            *owed = owed.saturating_sub(1);
        }
    }

    /// Whether it is a member, as far as is known.
    pub fn is_member(&self, topic: usize, phone: u16) -> bool {
        self.lock()[topic].members.contains(&phone)
    }

    /// Begins to join or to leave; `false` if this is not the moment.
    pub fn begin_change(&self, topic: usize, phone: u16) -> bool {
        let mut topics = self.lock();
        let topic = &mut topics[topic];
        let is_owed = topic.owed.get(&phone).is_some_and(|owed| *owed > 0);
        topic.pushing == 0 && !is_owed && topic.changing.insert(phone)
    }

    /// The node has confirmed it.
    pub fn end_change(&self, topic: usize, phone: u16, is_member: bool) {
        let mut topics = self.lock();
        let topic = &mut topics[topic];
        topic.changing.remove(&phone);
        if is_member {
            topic.members.insert(phone);
        } else {
            topic.members.remove(&phone);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Topic>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audiences_are_certain() {
        let topics = Topics::new(1);
        assert_eq!(topics.begin_push(0), None, "nobody is there");
        assert!(topics.begin_change(0, 4));
        assert_eq!(topics.begin_push(0), None, "somebody may be there");
        assert!(!topics.begin_change(0, 4), "it is at it already");
        topics.end_change(0, 4, true);
        assert_eq!(topics.begin_push(0), Some(vec![4]));
        assert!(!topics.begin_change(0, 5), "a push is under way");
        topics.end_push(0);
        assert!(topics.begin_change(0, 5) && !topics.begin_change(0, 4), "a message is owed to 4");
        topics.arrived(0, 4);
        assert!(topics.begin_change(0, 4));
        topics.end_change(0, 4, false);
        topics.end_change(0, 5, true);
        assert_eq!(topics.begin_push(0), Some(vec![5]));
        assert_eq!(Topics::find(&Topics::name(12)), Some(12));
    }
}
