//! Which bytes would a client send for the explained request?

use crate::config::Config;
use crate::config::HostPattern;
use crate::config::MatchField;
use crate::config::RequestLimits;
use crate::config::Route;
use crate::config::ValuePattern;
use crate::explain::question::ExplainError;
use crate::explain::question::Question;
use crate::explain::question::QuestionSubject;
use crate::gate::accept::matched_field::encode;
use crate::proxy::forward::escape;
use crate::proxy::head::HeadLimits;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Version;
use http::request::Parts;

/// A request in the two forms that the gate checks.
pub(in crate::explain) struct RequestForms {
    /// The bytes of the request head as a client sends them.
    pub head: Vec<u8>,
    /// The fields as the HTTP parser returns them.
    pub parts: Parts,
    /// The method and the target of the request line.
    pub line: String,
    pub host: String,
}

pub(in crate::explain) fn head_limits(limits: &RequestLimits) -> HeadLimits {
    HeadLimits {
        head_bytes_max: limits.head_bytes_max,
        header_count_max: limits.header_count_max,
        target_bytes_max: limits.target_bytes_max,
    }
}

pub(in crate::explain) fn build(question: &Question, config: &Config) -> Result<RequestForms, ExplainError> {
    let (method, host, mut target) = match &question.subject {
        QuestionSubject::Route(name) => {
            let route = config.routes.iter().find(|route| route.name.as_str() == name);
            match route {
                Some(route) => of_route(route),
                None => {
                    let known: Vec<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
                    return Err(ExplainError::NoSuchRoute {
                        name: name.clone(),
                        known: known.join(", "),
                    });
                }
            }
        }
        QuestionSubject::Request(text) => of_text(text)?,
    };
    let mut lines: Vec<(String, String)> = Vec::new();
    for line in &question.headers {
        let Some((name, value)) = line.split_once(':') else {
            return Err(ExplainError::Request("--header: write `Name: value`".to_owned()));
        };
        lines.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
    if let QuestionSubject::Route(name) = &question.subject
        && let Some(route) = config.routes.iter().find(|route| route.name.as_str() == name)
    {
        meet_conditions(route, &mut lines, &mut target);
    }
    if !lines.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        lines.insert(0, ("host".to_owned(), host.clone()));
    }
    if let Some(token) = &question.token {
        lines.push(("authorization".to_owned(), format!("Bearer {}", token.expose())));
    }
    if let Some(key) = &question.key {
        lines.push((config.api_keys.header.as_str().to_owned(), key.expose().clone()));
    }
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    for (name, value) in &lines {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    Ok(RequestForms {
        parts: parts(&method, &target, &lines)?,
        head: head.into_bytes(),
        line: format!("{method} {target}"),
        host,
    })
}

fn parts(method: &str, target: &str, lines: &[(String, String)]) -> Result<Parts, ExplainError> {
    // The message does not contain the value, which may be a credential.
    let wrong = |part: &str| ExplainError::Request(format!("no HTTP parser would take this {part}"));
    let mut request = http::Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|_| wrong("method"))?;
    *request.uri_mut() = escape::target(target).parse().map_err(|_| wrong("target"))?;
    *request.version_mut() = Version::HTTP_11;
    for (name, value) in lines {
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("header name"))?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| wrong("header value"))?;
        request.headers_mut().append(field, value);
    }
    Ok(request.into_parts().0)
}

/// Splits `GET https://api.example.com/v1/orders/7?x=1` into method, host and target. Does not use a URL parser, which
/// would resolve `..`: the gate has to check the path as written.
fn of_text(text: &str) -> Result<(String, String, String), ExplainError> {
    let wrong = || {
        ExplainError::Request(
            "--request: write a method and a URL: `GET https://api.example.com/v1/orders/7`".to_owned(),
        )
    };
    let (method, url) = text.split_once(' ').ok_or_else(wrong)?;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let rest = rest.ok_or_else(wrong)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, target) = rest.split_at(end);
    if method.is_empty() || host.is_empty() {
        return Err(wrong());
    }
    let target = match target {
        "" => "/".to_owned(),
        target if target.starts_with('/') => target.to_owned(),
        target => format!("/{target}"),
    };
    Ok((method.to_owned(), host.to_owned(), target))
}

/// Adds headers and a query that meet the conditions of `route`, without the headers that the question has.
fn meet_conditions(route: &Route, lines: &mut Vec<(String, String)>, target: &mut String) {
    let mut separator = '?';
    for condition in route.conditions.iter() {
        let value = match &condition.pattern {
            ValuePattern::Exact(text) | ValuePattern::Prefix(text) => text.as_str(),
            ValuePattern::Present => "any",
        };
        match &condition.field {
            MatchField::Header(name) if lines.iter().any(|(line, _)| line.eq_ignore_ascii_case(name.as_str())) => {}
            MatchField::Header(name) => lines.push((name.as_str().to_owned(), value.to_owned())),
            MatchField::Parameter(name) => {
                target.push_str(&format!("{separator}{}={}", encode(name), encode(value)));
                separator = '&';
            }
        }
    }
}

/// Returns method, host and target of a request that `route` matches. A wildcard segment becomes the wildcard's name.
fn of_route(route: &Route) -> (String, String, String) {
    let method = route.methods.first().map_or("GET", Method::as_str);
    let host = match route.hosts.first() {
        None | Some(HostPattern::Any) => "gateway.example".to_owned(),
        Some(HostPattern::Exact(name)) => name.clone(),
        Some(HostPattern::Suffix(name)) => format!("any.{name}"),
    };
    let segment = |segment: &str| {
        let name = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
        name.map_or(segment, |name| name.trim_start_matches('*')).to_owned()
    };
    let path: Vec<String> = route.path.as_str().split('/').map(segment).collect();
    (method.to_owned(), host, path.join("/"))
}
