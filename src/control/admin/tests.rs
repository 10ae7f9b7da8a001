//! Each path of the API: who may, with which method, and what comes back.

use super::*;
use crate::control::admin::issuers::IssuerHealth;
use crate::control::admin::issuers::Key;
use crate::control::admin::issuers::KeysFrom;
use crate::control::admin::issuers::Refreshed;
use crate::control::admin::issuers::Skipped;
use crate::control::admin::issuers::Source;
use crate::control::admin::issuers::State;
use crate::control::admin::issuers::Time;
use crate::model::clock::Tick;
use crate::model::clock::Timestamp;
use serde_json::Value;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Fake;

fn health(name: &str) -> IssuerHealth {
    IssuerHealth {
        name: name.to_owned(),
        issuer: "https://issuer.example".to_owned(),
        state: State::Failing,
        source: Source::JwksUrl {
            url: "https://issuer.example/jwks".to_owned(),
        },
        keys_from: Some(KeysFrom::Disk),
        last_good_at: Some(Time(Timestamp::from_unix_secs(0))),
        age_seconds: Some(7),
        usable_until: None,
        last_attempt_at: None,
        last_error: Some("no answer\u{1b}[31m".to_owned()),
        next_fetch_at: None,
        consecutive_failures: 2,
        fetches_good: 0,
        fetches_failed: 2,
        keys: vec![Key {
            kid: Some("a\u{202e}b\"".to_owned()),
            thumbprint: "t".to_owned(),
            algorithms: vec!["ES256"],
        }],
        skipped: vec![Skipped {
            kid: None,
            reason: "a symmetric key",
        }],
    }
}

impl Issuers for Fake {
    fn all(&self) -> Vec<IssuerHealth> {
        vec![health("good"), health("bad")]
    }

    fn one(&self, name: &Name) -> Option<IssuerHealth> {
        (name.as_str() == "good").then(|| health("good"))
    }

    fn refresh<'a>(&'a self, name: &'a Name) -> Pin<Box<dyn Future<Output = Refreshed> + Send + 'a>> {
        Box::pin(async move {
            match name.as_str() {
                "good" => Refreshed::Good(health("good")),
                "bad" => Refreshed::Failed(health("bad")),
                "files" => Refreshed::NotFetched(health("files")),
                "slow" => Refreshed::Unfinished(health("slow")),
                _ => Refreshed::Unknown,
            }
        })
    }
}

fn ask(method: &Method, path: &str, token: Option<&str>) -> (u16, Value, Answer) {
    let api = AdminApi::new(Some(Secret::new(TOKEN.into())), Arc::new(Fake));
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        headers.insert(header::AUTHORIZATION, value);
    }
    let asked = Asked {
        method,
        path,
        headers: &headers,
        peer: Ipv4Addr::LOCALHOST.into(),
        now: Now {
            wall: Timestamp::from_unix_secs(1_000_000_000),
            tick: Tick::ZERO,
        },
    };
    let mut answering = std::pin::pin!(api.answer(asked));
    // Nothing in here waits for anything.
    let Poll::Ready(answer) = answering.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("{path} waits");
    };
    let body = serde_json::from_slice(&answer.body).unwrap();
    (answer.status.as_u16(), body, answer)
}

const PATHS: [(&str, &Method); 3] = [
    ("/admin/v1/issuers", &Method::GET),
    ("/admin/v1/issuers/good", &Method::GET),
    ("/admin/v1/issuers/good/refresh", &Method::POST),
];

#[test]
fn every_path_asks_for_the_token_and_for_its_own_method() {
    for (path, method) in PATHS {
        assert_eq!(ask(method, path, Some(TOKEN)).0, 200, "{path}");
        for (token, error) in [(None, false), (Some("wrong"), true)] {
            let (status, body, answer) = ask(method, path, token);
            assert_eq!((status, &body["status"]), (401, &Value::from(401)), "{path}");
            assert_eq!(answer.content_type, "application/problem+json");
            let challenge = answer.headers.iter().find(|(name, _)| name == header::WWW_AUTHENTICATE);
            let challenge = challenge.unwrap().1.to_str().unwrap();
            assert!(
                challenge.starts_with("Bearer ") && challenge.contains("error=") == error,
                "{challenge}"
            );
        }
        for other in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD] {
            if other != *method {
                let (status, _, answer) = ask(&other, path, Some(TOKEN));
                assert_eq!(status, 405, "{other} {path}");
                assert!(
                    answer
                        .headers
                        .contains(&(header::ALLOW, method.as_str().parse().unwrap()))
                );
            }
        }
    }
}

#[test]
fn what_is_not_there_is_404_for_those_who_may_and_401_for_others() {
    for path in [
        "/admin/v1/",
        "/admin/v1/issuers/",
        "/admin/v1/issuers/none",
        "/admin/v1/issuers/good/",
        "/admin/v1/issuers/../issuers",
        "/admin/v1/issuers/GOOD",
        "/admin/v1/issuers/good/refresh/x",
        "/admin/v1//issuers",
    ] {
        assert_eq!(ask(&Method::GET, path, Some(TOKEN)).0, 404, "{path}");
        assert_eq!(ask(&Method::GET, path, None).0, 401, "{path}");
    }
}

#[test]
fn health_has_times_as_people_write_them_and_nothing_hidden() {
    let (_, body, answer) = ask(&Method::GET, "/admin/v1/issuers", Some(TOKEN));
    assert_eq!(body["at"], "2001-09-09T01:46:40.000Z");
    let good = &body["issuers"][0];
    assert_eq!(good["last_good_at"], "1970-01-01T00:00:00.000Z");
    assert_eq!(
        (&good["state"], &good["keys_from"]),
        (&"failing".into(), &"disk".into())
    );
    assert_eq!(good["source"]["kind"], "jwks_url");
    assert_eq!(good["keys"][0]["kid"], "a\u{202e}b\"");
    assert_eq!(good["skipped"][0]["reason"], "a symmetric key");
    let text = String::from_utf8(answer.body).unwrap();
    assert!(
        !text.trim_end().chars().any(crate::observe::escape::is_hidden),
        "{text}"
    );
}

#[test]
fn a_refresh_says_what_came_of_it_and_how_the_issuer_is() {
    for (name, status, outcome) in [
        ("good", 200, "good"),
        ("bad", 502, "failed"),
        ("files", 409, "not_fetched"),
        ("slow", 504, "unfinished"),
    ] {
        let (found, body, _) = ask(&Method::POST, &format!("/admin/v1/issuers/{name}/refresh"), Some(TOKEN));
        assert_eq!((found, &body["outcome"]), (status, &outcome.into()), "{name}");
        assert_eq!(body["issuer"]["name"], name);
    }
    assert_eq!(ask(&Method::POST, "/admin/v1/issuers/none/refresh", Some(TOKEN)).0, 404);
}

#[test]
fn without_a_token_in_the_configuration_the_answer_names_the_key_to_set() {
    let api = AdminApi::new(None, Arc::new(Fake));
    let refusal = api
        .access
        .check(&HeaderMap::new(), Ipv4Addr::LOCALHOST.into(), Tick::ZERO);
    let answer = refusal.unwrap_err().answer();
    assert_eq!(answer.status, 403);
    assert!(String::from_utf8(answer.body).unwrap().contains("`admin.token`"));
}
