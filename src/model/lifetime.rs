//! How long is a key valid? `90d`, `6mo`, `never` or until an instant; at most 730 days unless `never`.

use crate::model::clock::Timestamp;
use jiff::Span;
use std::fmt;
use std::str::FromStr;

/// The maximum lifetime of a key that expires.
pub const EXPIRY_DAYS_MAX: i64 = 730;
/// The same in months: with a leap day they are 731 days, and count as 730.
pub const EXPIRY_MONTHS_MAX: i64 = 24;

/// A key's lifetime, as a person writes it. There is no default: a key without an expiry must be a deliberate choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    Never,
    Days(i64),
    Months(i64),
}

/// Why a text or a number is not a valid lifetime of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifetimeError {
    #[error("an expiry is written `90d`, `6mo` or `never`")]
    Form,
    #[error("`m` stands for minutes, and an expiry is at least one day; months are written `6mo`")]
    Minutes,
    #[error("an expiry is at least one day")]
    TooShort,
    #[error(
        "an expiry is at most {EXPIRY_DAYS_MAX} days or {EXPIRY_MONTHS_MAX} months from now; write fewer, or `never`"
    )]
    TooLong,
}

impl FromStr for Lifetime {
    type Err = LifetimeError;

    fn from_str(text: &str) -> Result<Self, LifetimeError> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if text.strip_suffix('m').is_some_and(is_number) {
            return Err(LifetimeError::Minutes);
        }
        let (number, unit): (&str, fn(i64) -> Self) = text
            .strip_suffix("mo")
            .map(|number| (number, Self::Months as fn(i64) -> Self))
            .or_else(|| {
                text.strip_suffix('d')
                    .map(|number| (number, Self::Days as fn(i64) -> Self))
            })
            .ok_or(LifetimeError::Form)?;
        // No sign, no spaces. Seven digits are over every limit, and six cannot overflow.
        if number.len() > 6 || !is_number(number) {
            return Err(LifetimeError::Form);
        }
        let number = number.parse().map_err(|_| LifetimeError::Form)?;
        match unit(number) {
            Self::Days(0) | Self::Months(0) => Err(LifetimeError::TooShort),
            Self::Days(number) if number > EXPIRY_DAYS_MAX => Err(LifetimeError::TooLong),
            Self::Months(number) if number > EXPIRY_MONTHS_MAX => Err(LifetimeError::TooLong),
            expires => Ok(expires),
        }
    }
}

/// Why a text is not an expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpiryError {
    #[error("an expiry is written `90d`, `6mo`, `never`, or as an instant such as `2027-01-31T00:00:00Z` (RFC 3339)")]
    Form,
    #[error("an expiry lies in the future")]
    Past,
    #[error(transparent)]
    Span(#[from] LifetimeError),
}

/// Parses an instant of RFC 3339, or of the wider syntax of [`jiff::Timestamp`]; an instant before 1970 becomes 1970.
/// `None` for any other text.
pub fn rfc3339_instant(text: &str) -> Option<Timestamp> {
    let at = text.parse::<jiff::Timestamp>().ok()?;
    Some(Timestamp::from_unix_millis(
        u64::try_from(at.as_millisecond()).unwrap_or(0),
    ))
}

/// Parses `text`, a [`Lifetime`] that begins at `now` or an [`rfc3339_instant`]. `None` means never.
///
/// # Errors
/// `text` is neither, or the instant is not after `now` or more than 730 days after it.
pub fn instant(text: &str, now: Timestamp) -> Result<Option<Timestamp>, ExpiryError> {
    match text.parse::<Lifetime>() {
        Err(LifetimeError::Form) => {}
        span => return Ok(span?.after(now)?),
    }
    let at = rfc3339_instant(text).ok_or(ExpiryError::Form)?;
    if at <= now {
        return Err(ExpiryError::Past);
    }
    let longest = std::time::Duration::from_secs(EXPIRY_DAYS_MAX.unsigned_abs() * 86_400);
    if at > now.saturating_add(longest) {
        return Err(LifetimeError::TooLong.into());
    }
    Ok(Some(at))
}

impl Lifetime {
    /// Returns the instant at which a key made at `now` expires. Months are calendar months in UTC; 24 months are at most
    /// 730 days.
    ///
    /// # Errors
    /// The lifetime is more than 730 days or 24 months, or ends after the year 9999.
    pub fn after(self, now: Timestamp) -> Result<Option<Timestamp>, LifetimeError> {
        let span = match self {
            Self::Never => return Ok(None),
            Self::Days(days) => Span::new().try_days(days),
            Self::Months(months) => Span::new().try_months(months),
        };
        let span = span.map_err(|_| LifetimeError::TooLong)?;
        let start = i64::try_from(now.as_unix_secs())
            .ok()
            .and_then(|secs| jiff::Timestamp::from_second(secs).ok())
            .ok_or(LifetimeError::Form)?
            .to_zoned(jiff::tz::TimeZone::UTC);
        let end = start.checked_add(span).map_err(|_| LifetimeError::TooLong)?.timestamp();
        let longest = start.timestamp().as_second() + EXPIRY_DAYS_MAX * 86_400;
        let end = match self {
            Self::Months(..=EXPIRY_MONTHS_MAX) => end.as_second().min(longest),
            Self::Never | Self::Days(_) | Self::Months(_) => end.as_second(),
        };
        if end > longest {
            return Err(LifetimeError::TooLong);
        }
        Ok(u64::try_from(end).ok().map(Timestamp::from_unix_secs))
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => out.write_str("never"),
            Self::Days(days) => write!(out, "{days}d"),
            Self::Months(months) => write!(out, "{months}mo"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // 2026-01-01T00:00:00Z.
    const NOW: Timestamp = Timestamp::from_unix_secs(1_767_225_600);

    #[track_caller]
    fn check(text: &str, expected: Result<Option<u64>, ExpiryError>) {
        let found = instant(text, NOW).map(|at| at.map(|at| at.as_unix_secs() - NOW.as_unix_secs()));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn s068_an_expiry_is_a_span_an_instant_or_never_and_at_most_730_days_away() {
        const DAY: u64 = 86_400;
        check("never", Ok(None));
        check("1d", Ok(Some(DAY)));
        check("730d", Ok(Some(730 * DAY)));
        check("731d", Err(LifetimeError::TooLong.into()));
        check("0d", Err(LifetimeError::TooShort.into()));
        check("12m", Err(LifetimeError::Minutes.into()));
        check("24mo", Ok(Some(730 * DAY)));
        check("25mo", Err(LifetimeError::TooLong.into()));
        check("2026-01-01T00:00:01Z", Ok(Some(1)));
        check("2026-01-01T02:00:01+02:00", Ok(Some(1)));
        check("2026-01-01T00:00:00Z", Err(ExpiryError::Past));
        check("2025-12-31T23:59:59Z", Err(ExpiryError::Past));
        check("1969-01-01T00:00:00Z", Err(ExpiryError::Past));
        check("2028-01-01T00:00:00Z", Ok(Some(730 * DAY)));
        check("2028-01-01T00:00:01Z", Err(LifetimeError::TooLong.into()));
        for bad in [
            "",
            "2026-06-01",
            "2026-06-01T00:00:00",
            "tomorrow",
            "1767225600",
            "-1d",
            "90 d",
            "90D",
        ] {
            check(bad, Err(ExpiryError::Form));
        }
    }

    #[test]
    fn twenty_four_months_are_730_days_where_a_leap_day_is_among_them() {
        const DAY: u64 = 86_400;
        // From 2026-03-01, 2027-02-28 and 2027-03-01 it is 731 days, from 2028-02-29 it is 730.
        for start in [1_772_323_200, 1_803_772_800, 1_803_859_200, 1_835_395_200] {
            let now = Timestamp::from_unix_secs(start);
            let end = Lifetime::Months(24).after(now).unwrap().unwrap();
            assert_eq!(end.as_unix_secs() - start, 730 * DAY, "{start}");
        }
    }
}
