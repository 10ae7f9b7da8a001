//! Which value does a scalar have, once the variables of the environment are in it?

use crate::config::error::UNSET_VARIABLE;
use crate::config::tree::Value;
use crate::config::tree::printable;

/// Returns the value of a plain scalar by the core schema of YAML 1.2.2 (section 10.3.2). `012` and the numbers in the
/// forms `0o7`, `0x7`, `+7`, `.7`, `.inf` and `.nan` stay text.
pub(in crate::config::tree) fn plain_value(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return Value::Text(text.to_owned());
    }
    let leading_zero = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    if leading_zero {
        return Value::Text(text.to_owned());
    }
    if let Ok(number) = text.parse() {
        return Value::Integer(number);
    }
    let float = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    match text.parse() {
        Ok(number) if float => Value::Float(number),
        _ => Value::Text(text.to_owned()),
    }
}

/// The code, the problem and the hint.
pub(in crate::config::tree) type ExpandError = (&'static str, String, &'static str);

/// Returns `text` with every `${NAME}` replaced; `None` if there is no variable in it.
///
/// # Errors
/// A `${` does not begin a variable, or a variable is not set or empty.
pub(in crate::config::tree) fn expand_variables(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, ExpandError> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let name = after.split_once('}').map(|(name, _)| name).filter(|name| {
            !name.is_empty()
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        });
        let Some(name) = name else {
            let problem = "`${` does not begin a variable".to_owned();
            return Err((
                "bad-variable",
                problem,
                "a variable is written `${NAME}`: letters, digits and `_`",
            ));
        };
        match env(name) {
            Some(value) if !value.is_empty() => {
                out.push_str(before);
                out.push_str(&value);
            }
            found => {
                let how = if found.is_some() { "empty" } else { "not set" };
                let problem = format!("the environment variable {} is {how}", printable(name));
                return Err((UNSET_VARIABLE, problem, "set it for the process that runs keygate"));
            }
        }
        rest = &after[name.len() + 1..];
    }
    if rest.len() == text.len() {
        return Ok(None);
    }
    out.push_str(rest);
    Ok(Some(out))
}
