//! How is a decision reported, as text or JSON?

use crate::observe::escape;
use serde::Serialize;
use std::fmt;

/// The explanation of one decision: `Display` writes text for people, `Serialize` writes JSON for programs.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Method, host and path: `GET api.example.com/v1/orders/7`.
    pub request: String,
    pub stages: Vec<StageReport>,
    pub outcome: Outcome,
    /// The status of the gate's own response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The reason of a refusal, as in metrics, access records and the refusal table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// The fields of the gate's own response; of a refusal, only those that tell the client how to proceed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
    /// The reason why the request would be refused if nothing were in shadow mode or report mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_deny: Option<WouldDeny>,
    /// The inputs that the decision lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Allowed,
    /// The gate or its control side answers the request, for instance a CORS preflight.
    Answered,
    Refused,
    /// The decision depends on missing keys, or on an introspection, which this command does not make.
    NeedsKeys,
    /// The decision depends on the content of the store, which could not be read.
    NeedsStore,
}

#[derive(Clone, Debug, Serialize)]
pub struct StageReport {
    pub stage: &'static str,
    pub reached: bool,
    pub facts: Vec<Fact>,
}

/// One finding of a stage.
#[derive(Clone, Debug, Serialize)]
pub struct Fact {
    /// `true` where a check holds; `None` for a note, which is not a check.
    pub holds: Option<bool>,
    pub text: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    pub r#type: String,
    pub title: String,
    pub detail: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct WouldDeny {
    pub reason: &'static str,
    /// The rule, limit or issuer behind the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Upstream {
    pub name: String,
    /// The key that decided for this upstream, where the route has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_by: Option<String>,
    pub target: String,
    pub headers: Vec<(String, String)>,
}

impl Fact {
    pub(in crate::explain) fn new(holds: Option<bool>, text: impl Into<String>) -> Self {
        Self {
            holds,
            text: text.into(),
        }
    }

    pub(in crate::explain) fn check(holds: bool, text: impl Into<String>) -> Self {
        Self::new(Some(holds), text)
    }

    pub(in crate::explain) fn note(text: impl Into<String>) -> Self {
        Self::new(None, text)
    }
}

/// Returns untrusted text for display: at most 200 characters of `text`, with hidden characters escaped.
pub(in crate::explain) fn display_text(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    let cut: String = text.chars().take(CHARS_MAX).collect();
    let mut out = Vec::with_capacity(cut.len());
    escape::push_escaped(&mut out, &cut);
    let mut out = String::from_utf8(out).expect("escapes are ASCII");
    if text.chars().nth(CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}\n", self.request)?;
        for stage in &self.stages {
            let not = if stage.reached { "" } else { ": not reached" };
            writeln!(out, "{}{not}", stage.stage)?;
            for fact in &stage.facts {
                let mark = match fact.holds {
                    Some(true) => "ok",
                    Some(false) => "NO",
                    None => "  ",
                };
                writeln!(out, "  {mark}  {}", fact.text)?;
            }
        }
        let outcome = match self.outcome {
            Outcome::Allowed => "allowed",
            Outcome::Answered => "answered",
            Outcome::Refused => "refused",
            Outcome::NeedsKeys | Outcome::NeedsStore => "cannot be told",
        };
        write!(out, "\n{outcome}")?;
        if let Some(status) = self.status {
            write!(out, ": {status}")?;
        }
        if let Some(reason) = self.reason {
            write!(out, " {reason}")?;
        }
        writeln!(out)?;
        if let Some(would) = &self.would_deny {
            let by = would.by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
            writeln!(out, "  would be refused: {}{by}, which only counts", would.reason)?;
        }
        if let Some(needs) = &self.needs {
            writeln!(out, "  {needs}")?;
        }
        if let Some(problem) = &self.problem {
            writeln!(out, "  {}: {}", problem.r#type, problem.title)?;
            writeln!(out, "  {}", problem.detail)?;
        }
        for (name, value) in &self.headers {
            writeln!(out, "  {name}: {value}")?;
        }
        if let Some(upstream) = &self.upstream {
            write!(out, "  to upstream {}", upstream.name)?;
            if let Some(key) = &upstream.split_by {
                write!(out, " (split by {key})")?;
            }
            writeln!(out, ": {}", upstream.target)?;
            for (name, value) in &upstream.headers {
                writeln!(out, "  {name}: {value}")?;
            }
        }
        Ok(())
    }
}
