//! How long is a key good for? `90d`, `6mo` or `never`; at most 730 days.

use crate::model::clock::Timestamp;
use jiff::Span;
use std::fmt;
use std::str::FromStr;

/// The longest a key may live unless it never expires.
pub const EXPIRY_DAYS_MAX: i64 = 730;

/// When a key expires, as a person says it. There is no default: a key that never expires is somebody's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expires {
    Never,
    Days(i64),
    Months(i64),
}

/// Why a lifetime is not one a key can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpiresError {
    #[error("an expiry is written `90d`, `6mo` or `never`")]
    Form,
    #[error("an expiry is at least one day")]
    TooShort,
    // Twenty-four months are 731 days when a leap day is among them.
    #[error("an expiry is at most {EXPIRY_DAYS_MAX} days from now; write fewer days or months, or `never`")]
    TooLong,
}

impl FromStr for Expires {
    type Err = ExpiresError;

    fn from_str(text: &str) -> Result<Self, ExpiresError> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let (number, unit): (&str, fn(i64) -> Self) = text
            .strip_suffix("mo")
            .map(|number| (number, Self::Months as fn(i64) -> Self))
            .or_else(|| {
                text.strip_suffix('d')
                    .map(|number| (number, Self::Days as fn(i64) -> Self))
            })
            .ok_or(ExpiresError::Form)?;
        // No sign, no spaces; six digits are beyond every limit and cannot overflow.
        if number.is_empty() || number.len() > 6 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ExpiresError::Form);
        }
        let number = number.parse().map_err(|_| ExpiresError::Form)?;
        match unit(number) {
            Self::Days(0) | Self::Months(0) => Err(ExpiresError::TooShort),
            Self::Days(number) | Self::Months(number) if number > EXPIRY_DAYS_MAX => Err(ExpiresError::TooLong),
            expires => Ok(expires),
        }
    }
}

impl Expires {
    /// The instant at which a key made `now` expires; months are those of the calendar, in UTC.
    ///
    /// # Errors
    /// So many months are more than 730 days from this `now`.
    pub fn after(self, now: Timestamp) -> Result<Option<Timestamp>, ExpiresError> {
        let span = match self {
            Self::Never => return Ok(None),
            Self::Days(days) => Span::new().try_days(days),
            Self::Months(months) => Span::new().try_months(months),
        };
        let span = span.map_err(|_| ExpiresError::TooLong)?;
        let start = i64::try_from(now.as_unix_secs())
            .ok()
            .and_then(|secs| jiff::Timestamp::from_second(secs).ok())
            .ok_or(ExpiresError::Form)?
            .to_zoned(jiff::tz::TimeZone::UTC);
        let end = start.checked_add(span).map_err(|_| ExpiresError::TooLong)?.timestamp();
        let secs = end.as_second() - start.timestamp().as_second();
        if secs > EXPIRY_DAYS_MAX * 86_400 {
            return Err(ExpiresError::TooLong);
        }
        Ok(u64::try_from(end.as_second()).ok().map(Timestamp::from_unix_secs))
    }
}

impl fmt::Display for Expires {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => out.write_str("never"),
            Self::Days(days) => write!(out, "{days}d"),
            Self::Months(months) => write!(out, "{months}mo"),
        }
    }
}
