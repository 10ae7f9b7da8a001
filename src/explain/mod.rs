//! Why is this request allowed or refused? One decision of the gate's own `decide`, step by step, without a server.
//! Nothing is sent, no limit of a running gate is spent, and no credential is printed.

mod question;
mod request;
mod report;
mod token;
mod stages;

pub use question::ExplainError;
pub use question::Question;
pub use question::QuestionSubject;
pub use report::Explanation;
pub use report::Outcome;
pub use token::date;

use crate::config;
use crate::config::KeySource;
use crate::config::ReferencedFiles;
use crate::config::SourceLines;
use crate::explain::request::RequestForms;
use crate::explain::stages::StageFacts;
use crate::fetch::file;
use crate::fetch::issuer_key_files::IssuerKeyFiles;
use crate::gate::accept::Inbound;
use crate::gate::decide;
use crate::gate::decision_trace::DecisionTrace;
use crate::gate::live::LiveState;
use crate::gate::snapshot::Snapshot;
use crate::gate::stage::Stage;
use crate::gate::stop::Stop;
use crate::model::clock::Now;
use crate::model::clock::Tick;
use crate::observe::log::ErrorChain;
use crate::proxy::head;
use crate::runtime::assemble;
use crate::runtime::config_files;
use crate::runtime::config_files::LoadError;
use crate::runtime::follow_store;
use crate::runtime::install;
use crate::runtime::issuer_key_files;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Decides a request and reports the findings of each stage. Compiles the configuration as `keygate run` does. Reads
/// files, but changes none.
///
/// # Errors
/// If the configuration, the key sets or the request cannot be read.
pub fn explain(question: &Question) -> Result<Explanation, ExplainError> {
    let (_, origins) = config::load_with_lines(&question.config, ReferencedFiles::MustExist)?;
    let mut loaded = config_files::load(&question.config)?;
    let config = loaded.config.clone();
    // Without `state_dir`, `install::compile_and_install` writes no signing key.
    loaded.config.state_dir = None;
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut live = LiveState::new(assemble::metrics(question.at), nowhere);
    let reached = record_stages(&mut live);
    let now = Now {
        wall: question.at,
        // An arbitrary value: all state in `live` is created at this tick.
        tick: Tick::from_nanos(1 << 60),
    };
    let snapshot = install::compile_and_install(&mut loaded, &live, now).map_err(LoadError::from)?;
    let unread_store = follow_store::read_only(&config, &live, &snapshot, now);
    let unread_store = unread_store.err().map(|error| ErrorChain(&error).to_string());
    set_keys(&snapshot, &question.jwks, now)?;
    if let Some(files) = config.state_dir.as_deref().and_then(IssuerKeyFiles::open_read_only) {
        issuer_key_files::restore(&snapshot, &files, now);
    }
    let forms = request::build(question, &config)?;
    Ok(decide_and_report(
        &forms,
        &snapshot,
        &live,
        now,
        question,
        (&config, &origins),
        (&reached, unread_store.as_deref()),
    ))
}

type StageLog = Arc<Mutex<Vec<Stage>>>;

/// Makes `live` record every stage that a decision enters, and returns the record.
fn record_stages(live: &mut LiveState) -> StageLog {
    let reached = StageLog::default();
    let log = Arc::clone(&reached);
    live.probe = Some(Box::new(move |stage| {
        log.lock().unwrap_or_else(PoisonError::into_inner).push(stage);
    }));
    reached
}

/// Installs the key sets that a background task of a running gate would read or fetch: for each issuer the file in
/// `key_sets`, or else the issuer's own JWK set file.
fn set_keys(snapshot: &Snapshot, key_sets: &[(String, PathBuf)], now: Now) -> Result<(), ExplainError> {
    let failed = |name: &str, problem: String| ExplainError::Jwks {
        name: name.to_owned(),
        problem,
    };
    for (name, _) in key_sets {
        if !snapshot.issuers.iter().any(|issuer| issuer.name().as_str() == name) {
            let known: Vec<&str> = snapshot.issuers.iter().map(|issuer| issuer.name().as_str()).collect();
            return Err(failed(
                name,
                format!("there is no such issuer; there are {}", known.join(", ")),
            ));
        }
    }
    for issuer in &snapshot.issuers {
        let name = issuer.name().as_str();
        let set: Option<&Path> = match key_sets.iter().find(|(given, _)| given == name) {
            Some((_, path)) => Some(path),
            None => match &issuer.settings().keys {
                KeySource::File(path) => Some(path),
                KeySource::Pem(_) | KeySource::Remote(_) | KeySource::Introspection(_) | KeySource::Own => None,
            },
        };
        if let Some(path) = set {
            let (text, jwks) = file::read_set(path).map_err(|error| failed(name, ErrorChain(&error).to_string()))?;
            let keys = issuer
                .keys()
                .ok_or_else(|| failed(name, "this issuer is asked, and has no keys".to_owned()))?;
            keys.start_attempt(now).succeed(&text, jwks, now);
        }
    }
    Ok(())
}

fn decide_and_report(
    forms: &RequestForms,
    snapshot: &Snapshot,
    live: &LiveState,
    now: Now,
    question: &Question,
    (config, origins): (&config::Config, &SourceLines),
    (reached, unread_store): (&StageLog, Option<&str>),
) -> Explanation {
    let mut decision_trace = DecisionTrace::default();
    let limits = request::head_limits(&config.requests);
    let inbound = head::check(&forms.head, &limits).map_err(Stop::from).and_then(|_| {
        let inbound = Inbound::new(&forms.parts, question.from, &snapshot.trusted_proxies, &snapshot.accept)?;
        Ok(inbound.with_client_certificate(question.client_certificate.as_ref()))
    });
    let (inbound, verdict) = match inbound {
        Ok(inbound) => {
            let verdict = decide::decide(snapshot, live, &inbound, now, &mut decision_trace);
            (Some(inbound), verdict)
        }
        Err(stop) => (None, Err(stop)),
    };
    let reached = reached.lock().unwrap_or_else(PoisonError::into_inner).clone();
    stages::report(&StageFacts {
        forms,
        inbound: inbound.as_ref(),
        verdict,
        decision_trace: &decision_trace,
        reached: &reached,
        snapshot,
        config,
        origins,
        unread_store,
        now,
    })
}
