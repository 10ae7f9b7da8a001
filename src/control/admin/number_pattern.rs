//! How is a range of numbers written as a regular expression? For descriptions of texts that contain a number.

/// Returns a regular expression for the numbers from 1 to `max`, in decimal and without leading zeros.
pub(super) fn up_to(max: u64) -> String {
    let digits = max.to_string();
    let mut alternatives = Vec::new();
    match digits.len() {
        0 | 1 => {}
        2 => alternatives.push("[1-9]".to_owned()),
        length => alternatives.push(format!("[1-9][0-9]{{0,{}}}", length - 2)),
    }
    // The numbers that agree with `max` up to a digit, and have a lower one there.
    for (index, digit) in digits.bytes().enumerate() {
        let lowest = if index == 0 { b'1' } else { b'0' };
        if digit > lowest {
            let (same, rest) = digits.split_at(index);
            alternatives.push(format!("{same}{}{}", one_of(lowest, digit - 1), any(rest.len() - 1)));
        }
    }
    alternatives.push(digits);
    format!("({})", alternatives.join("|"))
}

/// Returns the pattern of one digit between two.
fn one_of(lowest: u8, highest: u8) -> String {
    let (lowest, highest) = (char::from(lowest), char::from(highest));
    if lowest == highest {
        lowest.to_string()
    } else {
        format!("[{lowest}-{highest}]")
    }
}

/// Returns the pattern of so many digits.
fn any(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => "[0-9]".to_owned(),
        count => format!("[0-9]{{{count}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonschema::Validator;
    use serde_json::json;

    fn matcher(max: u64) -> Validator {
        let pattern = format!("^{}$", up_to(max));
        jsonschema::validator_for(&json!({ "pattern": pattern })).unwrap()
    }

    #[test]
    fn a_pattern_has_every_number_up_to_the_greatest_and_no_other() {
        for max in [1, 9, 10, 24, 99, 100, 101, 730, 1_440] {
            let matcher = matcher(max);
            for number in 0..=max * 11 {
                let expected = (1..=max).contains(&number);
                assert_eq!(
                    matcher.is_valid(&json!(number.to_string())),
                    expected,
                    "{number} of {max}"
                );
            }
            for bad in ["", "01", "1 ", "-1", "a", "1a"] {
                assert!(!matcher.is_valid(&json!(bad)), "{bad:?}");
            }
        }
        let matcher = matcher(86_400_000);
        assert!(matcher.is_valid(&json!("86400000")) && matcher.is_valid(&json!("9999999")));
        assert!(!matcher.is_valid(&json!("86400001")) && !matcher.is_valid(&json!("100000000")));
    }
}
