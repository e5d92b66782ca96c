//! `[heartbeat]`

use crate::section::section;

section! {
    /// How often a silent phone must show that it is there.
    "heartbeat" => Heartbeat {
        /// Shortest interval a phone may ask for, in seconds.
        s_min: u64 = 30, 1..=86_400;
        /// Longest interval a phone may ask for, in seconds.
        s_max: u64 = 600, 1..=86_400;
        /// Interval for phones that ask for none, in seconds.
        s_default: u64 = 240, 1..=86_400;
        /// Grace on top of one and a half intervals before a silent phone is closed, in seconds.
        slack_s: u64 = 30, 1..=3600;
    }
}

impl Heartbeat {
    /// The interval agreed with a phone that asks for `s` seconds; 0 asks for the default.
    pub fn agreed_s(&self, s: u64) -> u64 {
        if s == 0 { self.s_default } else { s.clamp(self.s_min, self.s_max) }
    }
}
