//! `keygate explain`: why is a request allowed or refused?

use crate::cli::args::Explain;
use crate::cli::args::ReportForm;
use crate::cli::secret_text;
use crate::config::certificate;
use crate::explain;
use crate::explain::Explanation;
use crate::explain::Outcome;
use crate::explain::Question;
use crate::explain::QuestionSubject;
use crate::model::certificate::ClientCertificate;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::model::clock::Timestamp;
use crate::model::secret::Secret;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

const UNDECIDED: u8 = 2;

/// Prints the explanation on `out`, or the reason why there is none on `err`. Returns exit code 0 if the request is
/// allowed or Keygate itself answers it, 1 if the request is refused, and 2 if the question is invalid, or keys or the
/// store are missing.
pub fn explain(arguments: &Explain, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    match question(arguments).and_then(|question| Ok(explain::explain(&question)?)) {
        Ok(explanation) => {
            // Ignore errors of writing: the result is the exit code, and a closed pipe does not change it.
            let _ = match arguments.output {
                ReportForm::Text => write!(out, "{explanation}"),
                ReportForm::Json => writeln!(out, "{}", json(&explanation)),
            };
            match explanation.outcome {
                Outcome::Allowed | Outcome::Answered => ExitCode::SUCCESS,
                Outcome::Refused => ExitCode::FAILURE,
                Outcome::NeedsKeys | Outcome::NeedsStore => ExitCode::from(UNDECIDED),
            }
        }
        Err(error) => {
            let _ = writeln!(err, "{error}");
            ExitCode::from(UNDECIDED)
        }
    }
}

fn json(explanation: &Explanation) -> String {
    serde_json::to_string_pretty(explanation).expect("texts, numbers and lists are JSON")
}

fn question(arguments: &Explain) -> Result<Question, Box<dyn Error>> {
    let subject = match (&arguments.route, &arguments.request) {
        (Some(route), _) => QuestionSubject::Route(route.clone()),
        (None, Some(request)) => QuestionSubject::Request(request.clone()),
        (None, None) => return Err("say which request: --route NAME or --request 'GET https://host/path'".into()),
    };
    let secret = |text: &Option<String>, file: &Option<PathBuf>| match (text, file) {
        (Some(text), _) => Ok(Some(Secret::new(text.clone()))),
        (None, Some(file)) => read(file).map(Some),
        (None, None) => Ok(None),
    };
    let split = |pair: &String| match pair.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), PathBuf::from(file))),
        _ => Err(format!("--jwks {}: write ISSUER=FILE", secret_text::shown(pair))),
    };
    Ok(Question {
        config: arguments.place.config_path()?,
        subject,
        token: secret(&arguments.token, &arguments.token_file)?,
        key: secret(&arguments.key, &arguments.key_file)?,
        headers: arguments.headers.clone(),
        client_certificate: arguments
            .client_certificate
            .as_deref()
            .map(read_certificate)
            .transpose()?,
        from: arguments.from,
        at: match &arguments.at {
            Some(at) => instant(at)?,
            None => SystemClock::new().now().wall,
        },
        jwks: arguments.jwks.iter().map(split).collect::<Result<_, _>>()?,
    })
}

/// Returns a credential from a file, or from stdin for `-`, without line ends at its end.
fn read(file: &Path) -> Result<Secret<String>, String> {
    let failed = |problem: String| format!("{}: {problem}", secret_text::place(file));
    let bytes = secret_text::read(file).map_err(|error| failed(error.to_string()))?;
    let text = std::str::from_utf8(bytes.expose());
    let text = text.map_err(|_| failed("stream did not contain valid UTF-8".to_owned()))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Returns the first certificate of a PEM file: a client sends its own before those of its issuers.
fn read_certificate(file: &Path) -> Result<ClientCertificate, String> {
    let failed = |problem: String| format!("--client-certificate {}: {problem}", file.display());
    let pem = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
    certificate::read_client_certificate(&pem).map_err(failed)
}

/// Parses `2026-11-22T08:00:00Z`, or seconds since 1970.
fn instant(text: &str) -> Result<Timestamp, Box<dyn Error>> {
    if let Ok(secs) = text.parse() {
        return Ok(Timestamp::from_unix_secs(secs));
    }
    let at: jiff::Timestamp = text
        .parse()
        .map_err(|_| "--at: write 2026-11-22T08:00:00Z, or seconds since 1970")?;
    let secs = u64::try_from(at.as_second()).map_err(|_| "--at: before 1970")?;
    Ok(Timestamp::from_unix_secs(secs))
}
