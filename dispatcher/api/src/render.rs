//! JSON by hand where many small objects leave in one buffer.

use wire::MessageId;

use crate::backend::Durability;
use crate::parse::InvalidToken;

/// Appends formatted text; the arguments need no escaping.
macro_rules! put {
    ($out:expr, $($text:tt)*) => {{
        use std::io::Write as _;
        write!($out, $($text)*).expect("a Vec takes every byte")
    }};
}

pub(crate) use put;

impl Durability {
    /// As replies say it: in the words of `store.durability`, and `memory` for what is not stored on disk.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Process => "none",
            Self::Interval => "interval",
            Self::Fsync => "fsync",
        }
    }
}

/// Appends a decimal number, without the machinery of a formatter.
pub(crate) fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends `{"index":…,"status":202,"id":"…"` and leaves the object open.
pub(crate) fn put_accepted(out: &mut Vec<u8>, index: u32, id: MessageId) {
    out.extend_from_slice(b"{\"index\":");
    put_u64(out, index.into());
    out.extend_from_slice(b",\"status\":202,\"id\":\"");
    put_u64(out, id.0);
    out.push(b'"');
}

/// Appends `,"invalid":[…]` if there are any.
pub(crate) fn put_invalid(out: &mut Vec<u8>, invalid: &[InvalidToken]) {
    if invalid.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"invalid\":[");
    for (place, bad) in invalid.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        put!(out, "{comma}{{\"index\":{},\"code\":\"{}\"}}", bad.index, bad.code.as_str());
    }
    out.push(b']');
}

/// Unix time in milliseconds as RFC 3339 in UTC: `2026-08-24T09:00:00.000Z`. The year ends at 9999.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    const LAST_MS: u64 = 253_402_300_799_999;
    let unix_ms = unix_ms.min(LAST_MS);
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

/// The Gregorian date of a day since 1970, by counting in years that begin in March, so that the leap day
/// is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    let days = days + DAYS_TO_1970;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_dates() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(unix_ms), text);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = civil(0);
        for day in 1..200_000 {
            let (year, month, date) = civil(day);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let follows = match (last, (year, month, date)) {
                ((y0, m0, d0), (y, m, d)) if y == y0 && m == m0 => d == d0 + 1,
                ((y0, 12, 31), (y, 1, 1)) => y == y0 + 1,
                ((y0, m0, d0), (y, m, 1)) => {
                    let length = match m0 {
                        2 => 28 + u64::from(leap),
                        4 | 6 | 9 | 11 => 30,
                        _ => 31,
                    };
                    y == y0 && m == m0 + 1 && d0 == length
                }
                _ => false,
            };
            assert!(follows, "{last:?} then {:?}", (year, month, date));
            last = (year, month, date);
        }
    }

    proptest! {
        #[test]
        fn numbers(value: u64) {
            let mut out = Vec::new();
            put_u64(&mut out, value);
            prop_assert_eq!(out, value.to_string().into_bytes());
        }
    }
}
