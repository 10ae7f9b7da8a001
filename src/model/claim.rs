//! Which claim must have which value? JSON pointers into the claims of
//! a token (RFC 6901), and values to compare with.

use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A JSON pointer (RFC 6901) into the claims of a token or the members of an introspection response: `/department`,
/// `/realm_access/roles`, `/https:~1~1example.com~1tenant`. Never empty: the set of all claims is not a claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimPointer(Box<str>);

/// Why a text is not a [`ClaimPointer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimPointerError {
    #[error("a JSON pointer starts with `/`")]
    NoLeadingSlash,
    #[error("in a JSON pointer `~` is followed by `0` (for `~`) or `1` (for `/`)")]
    Escape,
    #[error("a claim has a name")]
    NoName,
    #[error("a claim's name has no control characters")]
    Control,
}

impl ClaimPointer {
    /// Returns the pointer to the whole value of the claim `name`.
    ///
    /// # Errors
    /// No pointer leads there: the name is empty or has a control character.
    pub fn of_claim(name: &str) -> Result<Self, ClaimPointerError> {
        format!("/{}", name.replace('~', "~0").replace('/', "~1")).parse()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of the claim, and the pointer into its value; an empty pointer means the entire value.
    pub fn split(&self) -> (Cow<'_, str>, &str) {
        let path = &self.0[1..];
        let (name, deeper) = path.split_at(path.find('/').unwrap_or(path.len()));
        if name.contains('~') {
            // RFC 6901 section 4: `~1` first, so that `~01` becomes `~1` and not `/`.
            (Cow::Owned(name.replace("~1", "/").replace("~0", "~")), deeper)
        } else {
            (Cow::Borrowed(name), deeper)
        }
    }

    /// Returns the value at this pointer. `claims` returns a claim by its name. `None` where the pointer leads nowhere.
    pub fn find(&self, claims: impl FnOnce(&str) -> Option<Value>) -> Option<Value> {
        let (name, deeper) = self.split();
        let mut claim = claims(&name)?;
        claim.pointer_mut(deeper).map(Value::take)
    }
}

impl FromStr for ClaimPointer {
    type Err = ClaimPointerError;

    fn from_str(text: &str) -> Result<Self, ClaimPointerError> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(ClaimPointerError::NoLeadingSlash);
        };
        if text.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
            return Err(ClaimPointerError::Escape);
        }
        if text.chars().any(char::is_control) {
            return Err(ClaimPointerError::Control);
        }
        if path.split('/').any(str::is_empty) {
            return Err(ClaimPointerError::NoName);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ClaimPointer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A value that a claim may have. Compared exactly: texts byte by byte, `1` is neither `"1"` nor `true` nor `1.0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClaimValue {
    Text(Box<str>),
    /// Between -(2^53 - 1) and 2^53 - 1, where every JSON reader means the same number (RFC 8259 section 6).
    Integer(i64),
    Bool(bool),
}

impl ClaimValue {
    /// 2^53 - 1.
    pub const INTEGER_MAX: i64 = (1 << 53) - 1;

    /// Returns whether `claim` is this value, or an array that contains it.
    pub fn is_in(&self, claim: &Value) -> bool {
        match claim {
            Value::Array(members) => members.iter().any(|member| self.is(member)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => self.is(claim),
        }
    }

    fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text(text), Value::String(found)) => **text == **found,
            (Self::Integer(number), Value::Number(found)) => found.as_i64() == Some(*number),
            (Self::Bool(yes), Value::Bool(found)) => yes == found,
            (Self::Text(_) | Self::Integer(_) | Self::Bool(_), _) => false,
        }
    }
}

impl fmt::Display for ClaimValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => out.write_str(text),
            Self::Integer(number) => write!(out, "{number}"),
            Self::Bool(yes) => write!(out, "{yes}"),
        }
    }
}

/// A claim together with a value of it: the condition of a rule, or a proved fact about a principal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimFact {
    pub pointer: ClaimPointer,
    pub value: ClaimValue,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Map;
    use serde_json::json;

    #[track_caller]
    fn check(pointer: &str, expected: Result<(), ClaimPointerError>) {
        assert_eq!(pointer.parse::<ClaimPointer>().map(drop), expected, "{pointer:?}");
    }

    #[test]
    fn a_pointer_is_one_of_rfc6901_and_names_a_claim() {
        for good in [
            "/a",
            "/a/b",
            "/a/0",
            "/a~0b",
            "/a~1b",
            "/~01",
            "/é ü",
            "/https:~1~1x.example~1y",
        ] {
            check(good, Ok(()));
        }
        for bad in ["", "a", "a/b", "#/a", " /a"] {
            check(bad, Err(ClaimPointerError::NoLeadingSlash));
        }
        for bad in ["/~", "/a~", "/~2", "/a~/b", "/~~0"] {
            check(bad, Err(ClaimPointerError::Escape));
        }
        for bad in ["/", "//", "/a/", "//a", "/a//b"] {
            check(bad, Err(ClaimPointerError::NoName));
        }
        check("/a\nb", Err(ClaimPointerError::Control));
    }

    #[test]
    fn a_pointer_finds_what_rfc6901_says_and_nothing_beside_it() {
        let claims = json!({ "a": { "b": [1, 2], "": 9 }, "a/b": 3, "a~b": 4, "~1": 5, "a.b": 6, "null": null });
        let claims = claims.as_object().unwrap();
        let find = |pointer: &str| {
            let pointer: ClaimPointer = pointer.parse().unwrap();
            pointer.find(|name| claims.get(name).cloned())
        };
        assert_eq!(find("/a/b"), Some(json!([1, 2])));
        assert_eq!(find("/a/b/1"), Some(json!(2)));
        assert_eq!(find("/a~1b"), Some(json!(3)));
        assert_eq!(find("/a~0b"), Some(json!(4)));
        assert_eq!(find("/~01"), Some(json!(5)));
        assert_eq!(find("/null"), Some(json!(null)));
        for absent in [
            "/A", "/b", "/a/b/2", "/a/b/01", "/a/b/-", "/a/c", "/a.b/c", "/null/a", "/a~1b/c",
        ] {
            assert_eq!(find(absent), None, "{absent}");
        }
    }

    #[test]
    fn s152_a_value_is_met_by_that_value_alone() {
        let text = ClaimValue::Text("admin".into());
        for claim in [json!("admin"), json!(["user", "admin"])] {
            assert!(text.is_in(&claim), "{claim}");
        }
        for other in [
            json!("Admin"),
            json!("admin "),
            json!("admins"),
            json!(""),
            json!(null),
            json!([]),
            json!({}),
            json!({ "admin": true }),
            json!(["user"]),
            json!([["admin"]]),
            json!("user admin"),
            json!(true),
            json!(0),
        ] {
            assert!(!text.is_in(&other), "{other}");
        }
        let one = ClaimValue::Integer(1);
        assert!(one.is_in(&json!(1)) && one.is_in(&json!([true, 1])));
        for other in [
            json!("1"),
            json!(true),
            json!(1.0),
            json!(1.5),
            json!(-1),
            json!([2]),
            json!(u64::MAX),
        ] {
            assert!(!one.is_in(&other), "{other}");
        }
        let yes = ClaimValue::Bool(true);
        assert!(yes.is_in(&json!(true)) && yes.is_in(&json!([false, true])));
        for other in [json!("true"), json!(1), json!(false), json!([]), json!(null)] {
            assert!(!yes.is_in(&other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_pointer_made_of_a_name_finds_that_member(name in "[^\\p{Cc}]{1,12}") {
            let pointer = ClaimPointer::of_claim(&name).unwrap();
            prop_assert_eq!(pointer.split(), (name.as_str().into(), ""));
            let claims = Map::from_iter([(name, json!(7))]);
            prop_assert_eq!(pointer.find(|name| claims.get(name).cloned()), Some(json!(7)));
        }

        #[test]
        fn parsing_a_pointer_never_panics_nor_does_finding(text in ".*") {
            if let Ok(pointer) = text.parse::<ClaimPointer>() {
                prop_assert_eq!(pointer.as_str(), &text);
                pointer.find(|_| Some(json!({ "a": [1] })));
            }
        }
    }
}
