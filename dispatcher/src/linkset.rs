//! A set of link numbers that is gone through in turns: each number is in it once, in the order it came.

/// The set. Adding to it while a round is under way is allowed, and is for the next one.
#[derive(Debug, Default)]
pub struct LinkSet {
    members: Vec<u16>,
    /// By number. A number of the round that is under way counts as in the set.
    present: Vec<bool>,
}

impl LinkSet {
    /// Adds a number; nothing happens if it is there.
    pub fn insert(&mut self, number: u16) {
        let at = usize::from(number);
        if at >= self.present.len() {
            self.present.resize(at + 1, false);
        }
        if !std::mem::replace(&mut self.present[at], true) {
            self.members.push(number);
        }
    }

    /// Takes a number out.
    pub fn remove(&mut self, number: u16) {
        if self.contains(number) {
            self.present[usize::from(number)] = false;
            self.members.retain(|member| *member != number);
        }
    }

    /// Whether a number is there.
    pub fn contains(&self, number: u16) -> bool {
        self.present.get(usize::from(number)).copied().unwrap_or(false)
    }

    /// Whether no number is there, but for those of a round that is under way.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Keeps the numbers that `keep` picks.
    pub fn retain(&mut self, mut keep: impl FnMut(u16) -> bool) {
        let present = &mut self.present;
        self.members.retain(|number| {
            let stays = keep(*number);
            present[usize::from(*number)] = stays;
            stays
        });
    }

    /// Moves all numbers into `round`, in order; each has to come back by [`LinkSet::end`].
    pub fn begin(&mut self, round: &mut Vec<u16>) {
        round.clear();
        round.append(&mut self.members);
    }

    /// A number of the round is done with, and stays in the set or not.
    pub fn end(&mut self, number: u16, stays: bool) {
        if !self.contains(number) {
            return;
        }
        self.present[usize::from(number)] = false;
        if stays {
            self.insert(number);
        }
    }

    /// The numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.members.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_during_a_round_is_for_the_next() {
        let (mut set, mut round) = (LinkSet::default(), Vec::new());
        [5, 2, 5].into_iter().for_each(|n| set.insert(n));
        set.begin(&mut round);
        assert_eq!(round, [5, 2]);
        // 2 is still to come in this round; 9 is new.
        set.insert(2);
        set.insert(9);
        set.end(5, true);
        set.end(2, false);
        assert_eq!(set.iter().collect::<Vec<_>>(), [9, 5]);
        set.insert(2);
        set.remove(9);
        assert_eq!(set.iter().collect::<Vec<_>>(), [5, 2]);
        set.retain(|n| n == 2);
        set.insert(5);
        assert_eq!(set.iter().collect::<Vec<_>>(), [2, 5], "once taken out, it may come back");
    }
}
