//! What a reader is told: stages, facts, answer; as text or JSON.

use crate::observe::escape;
use serde::Serialize;
use std::fmt;

/// One decision, told. Prints as text; serializes for programs.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// `GET api.example.com/v1/orders/7`.
    pub request: String,
    pub stages: Vec<StageReport>,
    pub outcome: Outcome,
    /// Of the answer that the gate would give itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The word in metric, access record and refusal table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Headers of that answer that tell a client what to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
    /// What would have refused the request, were it not in shadow mode or only reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_deny: Option<WouldDeny>,
    /// What would have to be there to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Allowed,
    /// The gate answers itself, and not with a refusal: a CORS preflight.
    Answered,
    Refused,
    /// It cannot be told without keys that are not here.
    NeedsKeys,
}

#[derive(Clone, Debug, Serialize)]
pub struct StageReport {
    pub stage: &'static str,
    pub reached: bool,
    pub facts: Vec<Fact>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Fact {
    /// `None` where there is nothing to hold.
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
    /// The rule, limit or issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Upstream {
    pub name: String,
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

/// A stranger's text, without what could change what an operator sees, at most 200 characters of it.
pub(in crate::explain) fn shown(text: &str) -> String {
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
        for told in &self.stages {
            let not = if told.reached { "" } else { ": not reached" };
            writeln!(out, "{}{not}", told.stage)?;
            for fact in &told.facts {
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
            Outcome::NeedsKeys => "cannot be told",
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
            writeln!(out, "  to upstream {}: {}", upstream.name, upstream.target)?;
            for (name, value) in &upstream.headers {
                writeln!(out, "  {name}: {value}")?;
            }
        }
        Ok(())
    }
}
