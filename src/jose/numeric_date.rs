//! Which instant is a NumericDate (RFC 7519 section 2)? Fractions and exponents are numbers like others.

use crate::model::clock::Timestamp;
use serde_json::Number;

/// The direction in which the fraction of a NumericDate is rounded: the one in which less is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    Down,
    Up,
}

/// The largest NumericDate. Two parsers may read a larger number differently (S027).
const SECS_MAX: u64 = 1 << 53;

/// Returns the instant in whole seconds from 1970 on; `None` if the number is negative or larger than 2^53 (S027).
pub fn instant(number: &Number, rounding: Rounding) -> Option<Timestamp> {
    let secs = match (number.as_u64(), number.as_f64()) {
        (Some(secs), _) => secs,
        // In this range, the conversion loses the fraction alone.
        (None, Some(secs)) if (0.0..=SECS_MAX as f64).contains(&secs) => match rounding {
            Rounding::Down => secs.floor() as u64,
            Rounding::Up => secs.ceil() as u64,
        },
        (None, _) => return None,
    };
    (secs <= SECS_MAX).then_some(Timestamp::from_unix_secs(secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, rounding: Rounding, expected: Option<u64>) {
        let number: Number = serde_json::from_str(text).unwrap();
        assert_eq!(
            instant(&number, rounding),
            expected.map(Timestamp::from_unix_secs),
            "{text}"
        );
    }

    #[test]
    fn s027_a_numeric_date_is_a_number_from_0_to_2_to_the_53() {
        for (text, down, up) in [
            ("0", Some(0), Some(0)),
            ("1795890872.5", Some(1_795_890_872), Some(1_795_890_873)),
            ("1.7E9", Some(1_700_000_000), Some(1_700_000_000)),
            ("9007199254740992", Some(1 << 53), Some(1 << 53)),
            ("9007199254740993", None, None),
            ("1e300", None, None),
            ("-1", None, None),
            ("-0.5", None, None),
        ] {
            check(text, Rounding::Down, down);
            check(text, Rounding::Up, up);
        }
    }
}
