//! The time of a record: RFC 3339 in UTC with milliseconds, `2026-01-31T23:59:59.123Z`.

use std::{io::Write, time::SystemTime};

use time::OffsetDateTime;

/// Bytes of a stamp of any year up to 9999.
const LEN: usize = 24;

/// Formats times; those of one millisecond share the work.
#[derive(Debug)]
pub(super) struct Stamp {
    milliseconds: i128,
    text: [u8; LEN],
}

impl Stamp {
    pub(super) fn new() -> Self {
        let mut stamp = Self { milliseconds: 0, text: [b'0'; LEN] };
        stamp.render(OffsetDateTime::UNIX_EPOCH);
        stamp
    }

    /// The text of `at`.
    pub(super) fn text(&mut self, at: SystemTime) -> &[u8] {
        let at = OffsetDateTime::from(at);
        let milliseconds = at.unix_timestamp_nanos().div_euclid(1_000_000);
        if milliseconds != self.milliseconds {
            self.milliseconds = milliseconds;
            self.render(at);
        }
        &self.text
    }

    fn render(&mut self, at: OffsetDateTime) {
        let (year, month, day) = at.to_calendar_date();
        let (hour, minute, second, milli) = at.to_hms_milli();
        // A clock beyond the year 9999 doesn't fit; what fits is still one field of the line.
        drop(write!(
            &mut self.text[..],
            "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z",
            u8::from(month),
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn writes_utc_to_the_millisecond() {
        let mut stamp = Stamp::new();
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1, "1970-01-01T00:00:00.001Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_769_903_999_123, "2026-01-31T23:59:59.123Z"),
            (1_769_903_999_123, "2026-01-31T23:59:59.123Z"),
            (1_769_903_999_999, "2026-01-31T23:59:59.999Z"),
        ] {
            let at = UNIX_EPOCH + Duration::from_millis(millis) + Duration::from_nanos(999);
            assert_eq!(stamp.text(at), text.as_bytes());
        }
    }
}
