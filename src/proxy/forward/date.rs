//! How is `Date` written (RFC 9110 section 6.6.1)?

use crate::model::clock::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use std::cell::RefCell;

/// A Unix time in seconds, and its date as text; the text is empty where the time has no date.
struct Second {
    unix: u64,
    text: String,
}

/// Calls `write` with the date of `wall`, unless the year has more than four digits. Each thread caches the text of the
/// last second that it formatted.
pub fn with(wall: Timestamp, write: impl FnOnce(&str)) {
    thread_local! {
        static LAST: RefCell<Second> = const { RefCell::new(Second { unix: u64::MAX, text: String::new() }) };
    }
    let unix = wall.as_unix_secs();
    LAST.with_borrow_mut(|last| {
        if last.unix != unix {
            let time = i64::try_from(unix)
                .ok()
                .and_then(|unix| jiff::Timestamp::from_second(unix).ok());
            let text = time.and_then(|time| DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok());
            *last = Second {
                unix,
                text: text.unwrap_or_default(),
            };
        }
        if !last.text.is_empty() {
            write(&last.text);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(secs: u64) -> Option<String> {
        let mut text = None;
        with(Timestamp::from_unix_secs(secs), |date| text = Some(date.to_owned()));
        text
    }

    #[test]
    fn a_date_is_in_the_one_format_that_may_be_sent() {
        assert_eq!(date(784_111_777).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(784_111_777).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(0).unwrap(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(u64::MAX / 1000), None);
    }
}
