//! Which actions does the cache of keys return, from its state and a given `now`?

use super::*;
use crate::config::issuer::ConnectSettings;
use crate::config::issuer::JwksLocation;
use crate::config::issuer::RemoteKeys;
use crate::model::clock::Clock;
use crate::model::clock::ManualClock;
use std::path::PathBuf;

/// The RSA key of RFC 7638 section 3.1 and the P-256 key of RFC 7517 appendix A.1.
const RSA: &str = r#"{"kty":"RSA","alg":"RS256","kid":"old","e":"AQAB","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}"#;
const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"new","use":"sig","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;

const COOLDOWN: Duration = Duration::from_secs(30);
const MAX_STALE: Duration = Duration::from_secs(3600);
const MIN_REFRESH: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_nanos(1);

struct Fixture {
    keys: IssuerKeys,
    clock: ManualClock,
}

impl Fixture {
    fn new() -> Self {
        Self {
            keys: IssuerKeys::new(&KeySource::Remote(Box::new(RemoteKeys {
                bearer_token_file: None,
                start_wait: Duration::from_secs(5),
                at: JwksLocation::JwksUrl("https://issuer.example/jwks".parse().unwrap()),
                connect: ConnectSettings {
                    allow_http: false,
                    allow_private_addresses: false,
                    ca_file: None,
                    proxy: None,
                    timeout: Duration::from_secs(5),
                },
                min_refresh: MIN_REFRESH,
                max_refresh: Duration::from_secs(3600),
                cooldown: COOLDOWN,
                wait: Duration::from_millis(500),
                max_stale: MAX_STALE,
            }))),
            clock: ManualClock::at(Timestamp::from_unix_secs(1_000_000)),
        }
    }

    fn loaded() -> Self {
        let fixture = Self::new();
        fixture.good(&[RSA]);
        fixture
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn good(&self, keys: &[&str]) -> Success {
        let attempt = self.keys.start_attempt(self.now());
        self.finish(attempt, keys)
    }

    fn finish(&self, attempt: Attempt<'_>, keys: &[&str]) -> Success {
        let text = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        attempt.succeed(text.as_bytes(), Jwks::parse(text.as_bytes()).unwrap(), self.now())
    }

    fn bad(&self) -> u32 {
        self.keys.start_attempt(self.now()).fail("connection refused").in_a_row
    }

    fn current(&self) -> Arc<KeySet> {
        self.keys.current(self.now()).unwrap()
    }

    fn unknown(&self, kid: &str) -> UnknownKid {
        let seen = self.keys.set.load_full().unwrap();
        self.keys.unknown_kid(&seen, Some(kid), self.now())
    }

    #[track_caller]
    fn asks_for(&self, kid: &str, attempt: u64) {
        let wait = Duration::from_millis(500);
        assert_eq!(self.unknown(kid), UnknownKid::Fetch { attempt, wait });
    }

    fn key_ids(&self) -> Vec<String> {
        self.current().jwks.key_ids().map(str::to_owned).collect()
    }
}

#[test]
fn s050_before_the_first_good_fetch_there_are_no_keys() {
    let fixture = Fixture::new();
    assert_eq!(fixture.keys.current(fixture.now()).unwrap_err(), NoKeys::NeverLoaded);
    fixture.bad();
    assert_eq!(fixture.keys.current(fixture.now()).unwrap_err(), NoKeys::NeverLoaded);
    let health = fixture.keys.health(fixture.now());
    assert!(health.keys.is_none());
    assert_eq!(health.usable, Err(NoKeys::NeverLoaded));
}

#[test]
fn the_last_good_set_serves_for_max_stale_and_not_a_tick_longer() {
    let fixture = Fixture::loaded();
    fixture.clock.advance(MAX_STALE);
    assert_eq!(fixture.key_ids(), ["old"]);
    fixture.clock.advance(TICK);
    let age = MAX_STALE + TICK;
    assert_eq!(
        fixture.keys.current(fixture.now()).unwrap_err(),
        NoKeys::TooStale { age }
    );
    assert_eq!(fixture.keys.health(fixture.now()).usable, Err(NoKeys::TooStale { age }));
    assert!(fixture.keys.health(fixture.now()).keys.is_some());
    fixture.good(&[RSA]);
    assert_eq!(fixture.key_ids(), ["old"]);
}

#[test]
fn staleness_does_not_follow_a_wall_clock_that_somebody_sets() {
    let fixture = Fixture::loaded();
    fixture.clock.set_wall(Timestamp::MAX);
    assert!(fixture.keys.current(fixture.now()).is_ok());
    fixture.clock.set_wall(Timestamp::from_unix_secs(0));
    fixture.clock.advance(MAX_STALE + TICK);
    assert!(fixture.keys.current(fixture.now()).is_err());
}

#[test]
fn s042_a_failure_keeps_the_set_and_is_counted() {
    let fixture = Fixture::loaded();
    let before = fixture.current();
    fixture.clock.advance(COOLDOWN);
    assert_eq!(fixture.bad(), 1);
    assert_eq!(fixture.bad(), 2);
    assert!(Arc::ptr_eq(&before, &fixture.current()));
    let health = fixture.keys.health(fixture.now());
    assert_eq!(
        (health.fetches_ok, health.fetches_failed, health.consecutive_failures),
        (1, 2, 2)
    );
    assert_eq!(health.last_error.as_deref(), Some("connection refused"));
    assert_eq!(health.last_attempt, Some(fixture.now().wall));
    assert_eq!(health.keys.unwrap().confirmed, Timestamp::from_unix_secs(1_000_000));

    assert_eq!(fixture.good(&[RSA]).failures_before, 2);
    let health = fixture.keys.health(fixture.now());
    assert_eq!(
        (health.fetches_ok, health.fetches_failed, health.consecutive_failures),
        (2, 2, 0)
    );
    assert_eq!(health.last_error, None);
}

#[test]
fn s051_a_removed_key_is_gone_with_the_next_set() {
    let fixture = Fixture::new();
    fixture.good(&[RSA, EC]);
    let success = fixture.good(&[EC]);
    assert!(success.changed);
    assert_eq!(fixture.key_ids(), ["new"]);
}

#[test]
fn the_generation_rises_exactly_when_the_set_differs() {
    let fixture = Fixture::loaded();
    let first = fixture.current();
    fixture.clock.advance(COOLDOWN);
    assert!(!fixture.good(&[RSA]).changed);
    let again = fixture.current();
    assert_eq!(again.generation, first.generation);
    assert!(Arc::ptr_eq(&again.jwks, &first.jwks));
    assert_eq!(
        (again.confirmed, again.age(fixture.now())),
        (fixture.now().wall, Duration::ZERO)
    );
    assert!(fixture.good(&[RSA, EC]).changed);
    assert!(fixture.current().generation > first.generation);
    assert!(fixture.good(&[RSA]).changed);
    assert!(
        fixture.current().generation > again.generation + 1,
        "an old set that comes back is a new one"
    );
}

#[test]
fn no_two_caches_share_a_generation() {
    assert_ne!(
        Fixture::loaded().current().generation,
        Fixture::loaded().current().generation
    );
}

#[test]
fn s039_the_first_token_with_a_new_kid_wakes_one_fetch_that_brings_its_key() {
    let fixture = Fixture::loaded();
    fixture.clock.advance(COOLDOWN);
    fixture.asks_for("new", 2);
    fixture.asks_for("new", 2);
    let attempt = fixture.keys.start_attempt(fixture.now());
    fixture.asks_for("new", 2);
    fixture.finish(attempt, &[RSA, EC]);
    assert_eq!(fixture.key_ids(), ["old", "new"]);
}

#[test]
fn s039_a_request_that_saw_the_set_from_before_the_rotation_decides_again() {
    let fixture = Fixture::loaded();
    let seen = fixture.current();
    fixture.good(&[RSA, EC]);
    let answer = fixture.keys.unknown_kid(&seen, Some("new"), fixture.now());
    assert!(matches!(answer, UnknownKid::Fetch { attempt: 2, .. }), "{answer:?}");
    // Attempt 2 has finished, so no request waits, and every request that sees the new set gets a definite result.
    assert_eq!(fixture.unknown("third"), UnknownKid::Recent { retry_in: COOLDOWN });
}

#[test]
fn within_the_cooldown_of_a_good_fetch_an_unknown_kid_wakes_no_fetch() {
    let fixture = Fixture::loaded();
    assert_eq!(fixture.unknown("x"), UnknownKid::Recent { retry_in: COOLDOWN });
    fixture.clock.advance(COOLDOWN - TICK);
    assert_eq!(fixture.unknown("x"), UnknownKid::Recent { retry_in: TICK });
    fixture.clock.advance(TICK);
    fixture.asks_for("x", 2);
}

#[test]
fn the_cooldown_counts_from_the_start_of_the_attempt() {
    let fixture = Fixture::loaded();
    fixture.clock.advance(COOLDOWN);
    let attempt = fixture.keys.start_attempt(fixture.now());
    // A slow response need not contain keys that were published after the request.
    fixture.clock.advance(COOLDOWN);
    fixture.finish(attempt, &[RSA]);
    fixture.asks_for("x", 3);
}

#[test]
fn s043_a_failed_attempt_is_never_an_absent_key() {
    let fixture = Fixture::loaded();
    fixture.clock.advance(MIN_REFRESH);
    fixture.asks_for("x", 2);
    fixture.bad();
    assert_eq!(fixture.unknown("x"), UnknownKid::Unavailable { retry_in: COOLDOWN });
    assert_eq!(fixture.unknown("y"), UnknownKid::Unavailable { retry_in: COOLDOWN });
    fixture.clock.advance(COOLDOWN - TICK);
    assert_eq!(fixture.unknown("x"), UnknownKid::Unavailable { retry_in: TICK });
    fixture.clock.advance(TICK);
    fixture.asks_for("x", 3);
}

#[test]
fn a_stopped_attempt_counts_as_failed_and_holds_nothing_up() {
    let fixture = Fixture::loaded();
    fixture.clock.advance(COOLDOWN);
    drop(fixture.keys.start_attempt(fixture.now()));
    assert!(matches!(fixture.unknown("x"), UnknownKid::Unavailable { .. }));
    assert_eq!(fixture.keys.health(fixture.now()).fetches_failed, 1);
    fixture.clock.advance(COOLDOWN);
    fixture.asks_for("x", 3);
}

#[test]
fn a_confirmed_miss_lasts_for_min_refresh_and_starts_no_fetch() {
    let fixture = Fixture::loaded();
    fixture.clock.advance(COOLDOWN);
    fixture.asks_for("x", 2);
    fixture.good(&[RSA]);
    fixture.clock.advance(MIN_REFRESH - TICK);
    assert_eq!(fixture.unknown("x"), UnknownKid::Absent);
    fixture.clock.advance(TICK);
    fixture.asks_for("x", 3);
}

#[test]
fn a_fetch_confirms_a_miss_that_is_repeated_while_it_is_under_way() {
    let fixture = Fixture::loaded();
    fixture.clock.advance(COOLDOWN);
    fixture.asks_for("x", 2);
    let attempt = fixture.keys.start_attempt(fixture.now());
    fixture.clock.advance(TICK);
    fixture.asks_for("x", 2);
    fixture.finish(attempt, &[RSA]);
    assert_eq!(fixture.unknown("x"), UnknownKid::Absent);
}

#[test]
fn a_confirmed_miss_does_not_apply_to_another_kid() {
    let fixture = Fixture::loaded();
    fixture.clock.advance(COOLDOWN);
    fixture.asks_for("x", 2);
    fixture.good(&[RSA]);
    fixture.clock.advance(COOLDOWN);
    assert_eq!(fixture.unknown("x"), UnknownKid::Absent);
    fixture.asks_for("y", 3);
}

#[test]
fn a_key_that_the_last_fetch_withdrew_is_absent_at_once() {
    let fixture = Fixture::loaded();
    fixture.good(&[EC]);
    assert_eq!(fixture.unknown("old"), UnknownKid::Absent);
    assert_eq!(fixture.unknown("older"), UnknownKid::Recent { retry_in: COOLDOWN });
    // It may have come back.
    fixture.clock.advance(COOLDOWN);
    fixture.asks_for("old", 3);
}

#[test]
fn tokens_without_a_kid_confirm_nothing_about_each_other() {
    let fixture = Fixture::loaded();
    let nameless = || fixture.keys.unknown_kid(&fixture.current(), None, fixture.now());
    fixture.clock.advance(COOLDOWN);
    assert!(matches!(nameless(), UnknownKid::Fetch { attempt: 2, .. }));
    fixture.good(&[RSA]);
    assert_eq!(nameless(), UnknownKid::Recent { retry_in: COOLDOWN });
    fixture.clock.advance(COOLDOWN);
    assert!(matches!(nameless(), UnknownKid::Fetch { attempt: 3, .. }));
}

#[test]
fn an_absent_kid_differs_from_an_empty_kid() {
    assert_ne!(miss_key(None), miss_key(Some("")));
    assert_ne!(miss_key(Some("a")), miss_key(Some("b")));
    assert_eq!(miss_key(Some(&"a".repeat(4096))), miss_key(Some(&"a".repeat(4096))));
}

#[test]
fn a_different_set_clears_the_misses() {
    let fixture = Fixture::loaded();
    fixture.clock.advance(COOLDOWN);
    fixture.asks_for("x", 2);
    assert_eq!(fixture.keys.misses.len(), 1);
    fixture.good(&[RSA]);
    assert_eq!(fixture.keys.misses.len(), 1);
    fixture.good(&[EC]);
    assert_eq!(fixture.keys.misses.len(), 0);
}

#[test]
fn s040_a_flood_of_invented_kids_wakes_one_fetch_per_cooldown_and_keeps_memory_flat() {
    for failing in [false, true] {
        let fixture = Fixture::loaded();
        let mut woken = 0;
        // 10 000 key ids in 10 s, for two minutes.
        for n in 0..120_000_u32 {
            fixture.clock.advance(Duration::from_millis(1));
            let answer = fixture.unknown(&format!("invented-{n}"));
            if matches!(answer, UnknownKid::Fetch { .. }) {
                woken += 1;
                if failing {
                    fixture.bad();
                } else {
                    fixture.good(&[RSA]);
                }
            }
        }
        assert_eq!(woken, 4, "failing: {failing}");
        assert!(fixture.keys.misses.len() <= MISSES_MAX);
    }
}

#[test]
fn s040_misses_stay_bounded_while_a_fetch_hangs() {
    let fixture = Fixture::loaded();
    fixture.clock.advance(COOLDOWN);
    let _hanging = fixture.keys.start_attempt(fixture.now());
    for n in 0..20_000_u32 {
        fixture.asks_for(&format!("invented-{n}"), 2);
    }
    assert!(fixture.keys.misses.len() <= MISSES_MAX, "{}", fixture.keys.misses.len());
    assert!(fixture.keys.misses.len() > MISSES_MAX / 2);
}

#[test]
fn keys_in_files_are_absent_at_once_and_never_stale() {
    for source in [
        KeySource::File(PathBuf::from("jwks.json")),
        KeySource::Pem(vec![PathBuf::from("key.pem")]),
    ] {
        let fixture = Fixture {
            keys: IssuerKeys::new(&source),
            clock: ManualClock::at(Timestamp::from_unix_secs(1_000_000)),
        };
        assert_eq!(fixture.keys.current(fixture.now()).unwrap_err(), NoKeys::NeverLoaded);
        fixture.good(&[RSA]);
        fixture.clock.advance(Duration::from_secs(10 * 365 * 24 * 3600));
        assert_eq!(fixture.key_ids(), ["old"]);
        assert_eq!(fixture.unknown("x"), UnknownKid::Absent);
    }
}

#[test]
fn the_next_fetch_is_due_at_once_until_one_is_scheduled() {
    let fixture = Fixture::new();
    assert_eq!(fixture.keys.next_fetch_in(fixture.now()), Duration::ZERO);
    fixture.keys.schedule(Duration::from_secs(9), fixture.now());
    fixture.clock.advance(Duration::from_secs(4));
    assert_eq!(fixture.keys.next_fetch_in(fixture.now()), Duration::from_secs(5));
    let health = fixture.keys.health(fixture.now());
    assert_eq!(health.next_fetch, Some(Timestamp::from_unix_secs(1_000_009)));
    fixture.clock.advance(Duration::from_secs(6));
    assert_eq!(fixture.keys.next_fetch_in(fixture.now()), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_attempt_or_with_time() {
    let fixture = Fixture::loaded();
    let long = Duration::from_secs(3600);
    let start = tokio::time::Instant::now();
    // Attempt 1 has finished already.
    fixture.keys.wait_for_attempt(1, long).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    // Attempt 2 does not finish in time.
    fixture.keys.wait_for_attempt(2, COOLDOWN).await;
    assert_eq!(start.elapsed(), COOLDOWN);
    // Attempt 2 fails while the request waits.
    let waiting = async {
        fixture.keys.wait_for_attempt(2, long).await;
        assert!(fixture.keys.has_finished(2));
    };
    let finishing = async {
        fixture.bad();
    };
    tokio::join!(waiting, finishing);
    assert_eq!(start.elapsed(), COOLDOWN);
}

#[tokio::test(start_paused = true)]
async fn keys_are_loaded_with_the_first_good_attempt() {
    let fixture = Fixture::new();
    let waiting = async {
        fixture.keys.loaded().await;
        assert!(fixture.keys.is_loaded());
    };
    let finishing = async {
        fixture.bad();
        assert!(!fixture.keys.is_loaded());
        fixture.good(&[RSA]);
    };
    let both = async { tokio::join!(waiting, finishing) };
    assert!(tokio::time::timeout(COOLDOWN, both).await.is_ok());
    let again = tokio::time::timeout(COOLDOWN, fixture.keys.loaded()).await;
    assert!(again.is_ok());
}

#[test]
fn the_last_attempt_and_the_request_for_the_next_are_known() {
    let fixture = Fixture::loaded();
    assert!(!fixture.keys.last_failed() && !fixture.keys.is_fetch_requested());
    fixture.keys.request_fetch();
    assert!(fixture.keys.is_fetch_requested());
    fixture.bad();
    assert!(fixture.keys.last_failed() && !fixture.keys.is_fetch_requested());
    fixture.good(&[RSA]);
    assert!(!fixture.keys.last_failed());
}

#[test]
fn a_failure_with_another_message_is_another_failure() {
    let fixture = Fixture::new();
    let fail = |error: &str| fixture.keys.start_attempt(fixture.now()).fail(error);
    let failure = |in_a_row, same_as_before| FetchFailure {
        in_a_row,
        same_as_before,
    };
    assert_eq!(fail("refused"), failure(1, false));
    assert_eq!(fail("refused"), failure(2, true));
    assert_eq!(fail("timeout"), failure(3, false));
}

#[test]
fn health_has_the_place_where_the_set_was_found() {
    let fixture = Fixture::new();
    assert_eq!(fixture.keys.health(fixture.now()).fetched_from, None);
    let attempt = fixture
        .keys
        .start_attempt(fixture.now())
        .from("https://issuer.example/jwks");
    fixture.finish(attempt, &[RSA]);
    let health = fixture.keys.health(fixture.now());
    assert_eq!(health.fetched_from.as_deref(), Some("https://issuer.example/jwks"));
    let printed = format!("{:?}", fixture.keys);
    assert!(printed.contains("fetches_ok: 1"), "{printed}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_scheduled_fetch_has_met_wakes_no_second_fetch() {
    let fixture = Fixture::loaded();
    fixture.clock.advance(COOLDOWN);
    fixture.asks_for("x", 2);
    let requested = || tokio::time::timeout(Duration::from_secs(3600), fixture.keys.fetch_requested());
    assert!(requested().await.is_ok());
    fixture.good(&[RSA]);
    assert!(requested().await.is_err());
}

const RSA_SET: &str = "the text of the set; only its hash counts here";

/// Returns a fixture with a set that an earlier process stored and that was confirmed `age` ago.
fn restored(age: Duration) -> Fixture {
    let fixture = Fixture::new();
    let jwks = || Jwks::parse(format!(r#"{{"keys":[{RSA}]}}"#).as_bytes()).unwrap();
    let now = fixture.now();
    let confirmed = now.wall.saturating_sub(age);
    fixture.keys.restore(RSA_SET.as_bytes(), jwks(), confirmed, age, now);
    fixture
}

#[test]
fn a_restart_does_not_make_a_set_younger() {
    let half = MAX_STALE / 2;
    let fixture = restored(half);
    assert_eq!(fixture.current().age(fixture.now()), half);
    assert_eq!(fixture.current().origin, KeySetOrigin::Disk);
    fixture.clock.advance(MAX_STALE - half);
    assert_eq!(fixture.key_ids(), ["old"]);
    fixture.clock.advance(TICK);
    let age = MAX_STALE + TICK;
    assert_eq!(
        fixture.keys.current(fixture.now()).unwrap_err(),
        NoKeys::TooStale { age }
    );
    // After any number of restarts, and with a wall clock that was set back.
    let fixture = restored(MAX_STALE);
    assert_eq!(fixture.key_ids(), ["old"]);
    fixture.clock.set_wall(Timestamp::from_unix_secs(5));
    fixture.clock.advance(TICK);
    assert!(fixture.keys.current(fixture.now()).is_err());
}

#[test]
fn a_fetch_that_confirms_a_set_from_disk_changes_its_origin() {
    let fixture = restored(MAX_STALE);
    let generation = fixture.current().generation;
    let attempt = fixture.keys.start_attempt(fixture.now());
    let jwks = Jwks::parse(format!(r#"{{"keys":[{RSA}]}}"#).as_bytes()).unwrap();
    let success = attempt.succeed(RSA_SET.as_bytes(), jwks, fixture.now());
    assert!(!success.changed);
    let now = fixture.current();
    assert_eq!(
        (now.generation, now.origin, now.age(fixture.now())),
        (generation, KeySetOrigin::Source, Duration::ZERO)
    );
    // `restore` does not replace a loaded set.
    let jwks = Jwks::parse(format!(r#"{{"keys":[{EC}]}}"#).as_bytes()).unwrap();
    fixture
        .keys
        .restore(b"other", jwks, Timestamp::from_unix_secs(1), MAX_STALE, fixture.now());
    assert_eq!(fixture.key_ids(), ["old"]);
}

#[test]
fn an_unknown_kid_requests_a_fetch_also_with_a_set_from_disk() {
    let fixture = restored(Duration::from_secs(60));
    fixture.asks_for("new", 1);
    fixture.bad();
    assert!(matches!(fixture.unknown("new"), UnknownKid::Unavailable { .. }));
    assert_eq!(fixture.key_ids(), ["old"]);
}

#[test]
fn health_has_the_time_until_which_the_set_is_usable() {
    let fixture = restored(Duration::from_secs(100));
    let health = fixture.keys.health(fixture.now());
    let left = MAX_STALE - Duration::from_secs(100);
    assert_eq!(health.usable_until, Some(fixture.now().wall.saturating_add(left)));
    assert_eq!(Fixture::new().keys.health(fixture.now()).usable_until, None);
}

#[test]
fn an_operators_fetch_ignores_the_cooldown_and_joins_an_attempt_under_way() {
    let fixture = Fixture::loaded();
    assert_eq!(fixture.keys.request_fetch(), 2);
    assert!(!fixture.keys.has_finished(2));
    let attempt = fixture.keys.start_attempt(fixture.now());
    assert_eq!(fixture.keys.request_fetch(), 2, "that one is under way");
    fixture.finish(attempt, &[EC]);
    assert!(fixture.keys.has_finished(2));
    assert_eq!(fixture.keys.request_fetch(), 3);
}

#[test]
fn another_interval_keeps_the_set_and_its_age() {
    let fixture = restored(Duration::from_secs(100));
    let after = Fixture::new();
    after.keys.take_over(&fixture.keys);
    assert_eq!(after.key_ids(), ["old"]);
    assert_eq!(after.current().age(fixture.now()), Duration::from_secs(100));
    assert_eq!(after.keys.next_fetch_in(after.now()), Duration::ZERO);
}
