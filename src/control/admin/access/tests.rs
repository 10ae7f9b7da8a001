//! Which callers are admitted, with which credential, and how many guesses does a source have?

use super::*;
use std::net::Ipv6Addr;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Tokens that name their organization and rights: `own:acme:r`, `own:operators:rw`; and `expired`.
struct Fake;

impl AccessTokenVerifier for Fake {
    fn are_issued(&self) -> bool {
        true
    }

    fn verify(&self, token: &str, _: Timestamp) -> Result<TokenHolder, TokenProblem> {
        if token == "expired" {
            return Err(TokenProblem::Expired);
        }
        let mut words = token.split(':');
        let (Some("own"), Some(organization), Some(rights)) = (words.next(), words.next(), words.next()) else {
            return Err(TokenProblem::Unknown);
        };
        Ok(TokenHolder {
            client_id: "client_1".to_owned(),
            organization: organization.parse().unwrap(),
            read: rights.contains('r'),
            write: rights.contains('w'),
        })
    }
}

fn access() -> Access {
    Access::new(Some(Secret::new(TOKEN.into())))
}

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn with(token: &str) -> HeaderMap {
    headers(&[&format!("Bearer {token}")])
}

fn at(tick: Tick) -> Now {
    Now {
        wall: Timestamp::default(),
        tick,
    }
}

/// Returns the result of a GET at a gate that issues no access tokens.
fn admit(access: &Access, headers: &HeaderMap, peer: IpAddr, tick: Tick) -> Result<(), Refusal> {
    let admitted = access.admit(headers, Right::Read, Peer::Network(peer), at(tick), None);
    admitted.map(|actor| assert_eq!(actor, Actor::admin_token(peer)))
}

const WRONG: Refusal = Refusal::Wrong(TokenProblem::Unknown);

#[test]
fn only_one_bearer_token_equal_to_the_configured_one_is_admitted() {
    let check = |values: &[&str], expected| {
        assert_eq!(
            admit(&access(), &headers(values), HERE, Tick::ZERO),
            expected,
            "{values:?}"
        );
    };
    let good = format!("Bearer {TOKEN}");
    check(&[&good], Ok(()));
    check(&[&format!("bearer {TOKEN}")], Ok(()));
    for missing in [&[][..], &["Basic abc"], &["Bearer"], &[""], &[&good, &good]] {
        check(missing, Err(Refusal::Missing));
    }
    for wrong in [
        "Bearer ",
        "Bearer x",
        &format!("Bearer {TOKEN} "),
        &format!("Bearer {TOKEN}0"),
        &format!("Bearer {}", &TOKEN[1..]),
        &format!("Bearer  {TOKEN}"),
        &format!("Bearer {}", TOKEN.to_uppercase()),
    ] {
        check(&[wrong], Err(WRONG));
    }
}

#[test]
fn without_a_configured_token_the_api_is_off_and_a_replaced_token_is_refused() {
    let access = Access::new(None);
    let check = |token: &str, expected| assert_eq!(admit(&access, &with(token), HERE, Tick::ZERO), expected);
    check("", Err(Refusal::AdminApiOff));
    assert_eq!(
        admit(&access, &headers(&[]), HERE, Tick::ZERO),
        Err(Refusal::AdminApiOff)
    );
    access.replace_token(Some(Secret::new(TOKEN.into())));
    check(TOKEN, Ok(()));
    access.replace_token(Some(Secret::new(b"another token of 32 characters!!".to_vec())));
    check(TOKEN, Err(WRONG));
}

#[test]
fn an_own_token_has_the_rights_of_its_scopes_and_its_client_is_the_actor() {
    let access = access();
    let check = |token: &str, method: &Method, expected: Result<Actor, Refusal>| {
        let peer = Peer::Network(HERE);
        let found = access.admit(
            &with(token),
            Right::of(method, "/admin/v1/keys"),
            peer,
            at(Tick::ZERO),
            Some(&Fake),
        );
        assert_eq!(found, expected, "{token} {method}");
    };
    let actor = |organization: &str| Ok(Actor::client("client_1", &organization.parse().unwrap(), HERE));
    check("own:acme:r", &Method::GET, actor("acme"));
    check("own:acme:r", &Method::HEAD, actor("acme"));
    check("own:operators:rw", &Method::DELETE, actor("operators"));
    for method in [
        Method::POST,
        Method::PATCH,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
    ] {
        check("own:acme:w", &method, actor("acme"));
        check("own:acme:r", &method, Err(Refusal::InsufficientScope(Right::Write)));
    }
    // The right to write does not include the right to read.
    check("own:acme:w", &Method::GET, Err(Refusal::InsufficientScope(Right::Read)));
    check("own:acme:", &Method::GET, Err(Refusal::InsufficientScope(Right::Read)));
    check("not ours", &Method::GET, Err(WRONG));
    check(TOKEN, &Method::POST, Ok(Actor::admin_token(HERE)));
}

#[test]
fn to_verify_a_key_is_to_read_and_nothing_else_with_a_body_is() {
    assert_eq!(Right::of(&Method::POST, VERIFY_KEY), Right::Read);
    for (method, path) in [
        (Method::POST, "/admin/v1/keys"),
        (Method::POST, "/admin/v1/keys/verify/"),
        (Method::POST, "/admin/v1/keys/import"),
        (Method::PATCH, VERIFY_KEY),
    ] {
        assert_eq!(Right::of(&method, path), Right::Write, "{method} {path}");
    }
}

#[test]
fn own_tokens_need_no_configured_token_and_have_the_same_limit_of_guesses() {
    let access = Access::new(None);
    let admit = |token: &str| {
        let peer = Peer::Network(HERE);
        access.admit(&with(token), Right::Read, peer, at(Tick::ZERO), Some(&Fake))
    };
    assert!(admit("own:acme:r").is_ok());
    // Neither a missing scope nor a token that was good counts as a guess.
    for _ in 0..GUESSES.burst.get() + 1 {
        assert_eq!(admit("own:acme:w"), Err(Refusal::InsufficientScope(Right::Read)));
        assert_eq!(admit("expired"), Err(Refusal::Wrong(TokenProblem::Expired)));
    }
    for _ in 0..GUESSES.burst.get() {
        assert_eq!(admit("x"), Err(WRONG));
    }
    assert!(matches!(admit("x"), Err(Refusal::TooManyFailures { .. })));
    assert!(admit("own:acme:r").is_ok());
    // Its client must learn that it needs a new one, whoever guesses at its address.
    assert_eq!(admit("expired"), Err(Refusal::Wrong(TokenProblem::Expired)));
}

#[test]
fn every_refusal_has_a_reason_of_the_closed_set() {
    let problems = [
        TokenProblem::Unknown,
        TokenProblem::Expired,
        TokenProblem::NotYetValid,
        TokenProblem::Revoked,
        TokenProblem::OtherAudience,
        TokenProblem::ClientRefused,
    ];
    let retry_after = GUESSES.period;
    let refusals = [
        Refusal::AdminApiOff,
        Refusal::TooManyFailures { retry_after },
        Refusal::Missing,
    ]
    .into_iter();
    let refusals = refusals.chain(problems.map(Refusal::Wrong));
    let refusals = refusals.chain([Refusal::InsufficientScope(Right::Read)]);
    let reasons = refusals.map(Refusal::reason).chain([RefusalReason::NO_PEER]);
    let reasons: Vec<_> = reasons.map(|reason| reason.0).collect();
    assert_eq!(reasons, RefusalReason::ALL);
}

#[test]
fn the_socket_needs_no_token() {
    let admitted = Access::new(None).admit(
        &headers(&[]),
        Right::Write,
        Peer::Local(LocalUser::default()),
        at(Tick::ZERO),
        None,
    );
    assert_eq!(admitted, Ok(Actor::local(&LocalUser::default())));
}

#[test]
fn wrong_tokens_are_limited_and_never_lock_the_right_one_out() {
    let access = access();
    for _ in 0..GUESSES.burst.get() {
        assert_eq!(admit(&access, &with("x"), HERE, Tick::ZERO), Err(WRONG));
    }
    // A refused token costs no further guess, and the right one none at all.
    for _ in 0..3 {
        let retry_after = GUESSES.period;
        assert_eq!(
            admit(&access, &with("x"), HERE, Tick::ZERO),
            Err(Refusal::TooManyFailures { retry_after })
        );
        assert_eq!(admit(&access, &with(TOKEN), HERE, Tick::ZERO), Ok(()));
        assert_eq!(admit(&access, &headers(&[]), HERE, Tick::ZERO), Err(Refusal::Missing));
    }
    let elsewhere = "192.0.2.1".parse().unwrap();
    assert_eq!(admit(&access, &with("x"), elsewhere, Tick::ZERO), Err(WRONG));
    let almost = Tick::ZERO.saturating_add(GUESSES.period - Duration::from_nanos(1));
    assert_ne!(admit(&access, &with("x"), HERE, almost), Err(WRONG));
    let then = Tick::ZERO.saturating_add(GUESSES.period);
    assert_eq!(admit(&access, &with("x"), HERE, then), Err(WRONG));
    assert_ne!(admit(&access, &with("x"), HERE, then), Err(WRONG));
}

#[test]
fn many_addresses_buy_neither_guesses_nor_memory() {
    let access = access();
    let guess = |number: u128| {
        let peer = IpAddr::V6(Ipv6Addr::from_bits(number));
        admit(&access, &with("x"), peer, Tick::ZERO)
    };
    // One /64 is one source.
    for low in 0..u128::from(GUESSES.burst.get()) {
        assert_eq!(guess(1 << 127 | low), Err(WRONG));
    }
    assert!(matches!(guess(1 << 127 | 77), Err(Refusal::TooManyFailures { .. })));
    let mut compared = 0;
    for high in 1..5_000_u128 {
        compared += usize::from(guess(high << 64) == Err(WRONG));
    }
    assert!(compared <= SOURCES_MAX + GUESSES.burst.get() as usize, "{compared}");
    assert!(access.failures.lock().unwrap().len() <= SOURCES_MAX + 1);
    let mapped = |text: &str| source_of(text.parse().unwrap());
    assert_eq!(mapped("::ffff:192.0.2.1"), mapped("192.0.2.1"));
}
