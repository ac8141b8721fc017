//! The date of an answer that has none (RFC 9110, 6.6.1).

use std::{io::Write, time::SystemTime};

use time::OffsetDateTime;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Appends a `Date` header for `time` (RFC 9110, 5.6.7).
pub(super) fn push(head: &mut Vec<u8>, time: SystemTime) {
    let time = OffsetDateTime::from(time);
    let day = DAYS.get(usize::from(time.weekday().number_days_from_monday())).unwrap_or(&"");
    let month = MONTHS.get(usize::from(u8::from(time.month())) - 1).unwrap_or(&"");
    // A Vec takes whatever it is given.
    let _ = write!(
        head,
        "date: {day}, {:02} {month} {:04} {:02}:{:02}:{:02} GMT\r\n",
        time.day(),
        time.year(),
        time.hour(),
        time.minute(),
        time.second()
    );
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn dates_look_as_http_has_them() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
        ] {
            let mut head = Vec::new();
            push(&mut head, UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(String::from_utf8(head).unwrap(), format!("date: {text}\r\n"));
        }
    }
}
