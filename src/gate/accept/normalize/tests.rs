//! Does each path have one reading? Tables for S089 to S092, and the properties of the normal and the folded form.

use super::*;
use proptest::prelude::*;

#[track_caller]
fn check(raw: &str, expected: Result<&str, PathError>) {
    let found = path(raw);
    assert_eq!(
        found.as_ref().map(|found| &*found.text).map_err(|error| *error),
        expected,
        "{raw:?}"
    );
}

#[test]
fn unreserved_escapes_are_decoded_and_digits_are_upper_case() {
    check("/", Ok("/"));
    check("/v1/orders", Ok("/v1/orders"));
    check("/%7Euser", Ok("/~user"));
    check("/%61%62", Ok("/ab"));
    check("/caf%c3%a9", Ok("/caf%C3%A9"));
    check("/a%2b%3a", Ok("/a%2B%3A"));
    check("/a!$&'()*+,;=:@b", Ok("/a!$&'()*+,;=:@b"));
    check("/a|{b}", Ok("/a%7C%7Bb%7D"));
    check("/a%7cb", Ok("/a%7Cb"));
    check("/100%25", Ok("/100%25"));
    check("/%2541", Ok("/%2541"));
    check("/a.b/.well-known/x..y", Ok("/a.b/.well-known/x..y"));
    check("/...", Ok("/..."));
    check("/a/", Ok("/a/"));
}

#[test]
fn after_an_escape_in_normal_form_the_rest_is_still_normalized() {
    check("/orders%2F7|8", Ok("/orders%2F7%7C8"));
    check("/caf%C3%A9/%7euser", Ok("/caf%C3%A9/~user"));
}

#[test]
fn a_usual_path_is_plain() {
    for (raw, expected) in [
        ("/", true),
        ("/v1/orders/7", true),
        ("/v1.0/a..b/c.", true),
        ("/a//b", false),
        ("/.", false),
        ("/a/.well-known", false),
        ("/a%7Eb", false),
        ("/a b", false),
    ] {
        assert_eq!(is_plain(raw.as_bytes()), expected, "{raw:?}");
    }
}

#[test]
fn a_path_in_normal_form_is_borrowed() {
    for text in ["/v1/orders", "/caf%C3%A9", "/a%2Fb"] {
        assert!(matches!(path(text).unwrap().text, Cow::Borrowed(_)), "{text:?}");
    }
}

#[test]
fn s089_dot_segments_are_refused_in_every_spelling() {
    for raw in [
        "/.",
        "/..",
        "/api/../admin",
        "/api/./admin",
        "/api/%2e%2e/admin",
        "/api/%2E./admin",
        "/api/.%2e",
        "/api/..;/admin",
        "/api/..;x=1/admin",
        "/api/..%3b/admin",
        "/api/..%3Bx;y/admin",
        "/api/.;/admin",
        "/api/..%20/admin",
        "/..%2Fadmin",
        "/a%2F..%2Fadmin",
        "/a%2f%2e%2e",
        "/a/..",
        "/a/%2e",
    ] {
        check(raw, Err(PathError::DotSegment));
    }
}

#[test]
fn s090_backslashes_controls_and_broken_encodings_are_refused() {
    check("/a\\b", Err(PathError::Backslash));
    check("/a%5cb", Err(PathError::Backslash));
    check("/a%5C..%5Cb", Err(PathError::Backslash));
    for raw in [
        "/a\0",
        "/a%00",
        "/a%0d%0aX",
        "/a%1f",
        "/a%7F",
        "/a\tb",
        "/a b",
        "/a\u{7f}",
    ] {
        check(raw, Err(PathError::Control));
    }
    for raw in ["/%", "/%2", "/%zz", "/%2g", "/a%", "/%u002e", "/%-1", "/%+1"] {
        check(raw, Err(PathError::InvalidEscape));
    }
    check("/caf\u{e9}", Err(PathError::NonAscii));
    for raw in [
        "/%c0%ae",
        "/%c0%af",
        "/%e0%80%af",
        "/%ff",
        "/%ed%a0%80",
        "/%f0%80%80%ae",
        "/%c3",
    ] {
        check(raw, Err(PathError::InvalidUtf8));
    }
}

#[test]
fn s090_double_encoding_is_refused() {
    for raw in [
        "/%252e",
        "/%252e%252e/admin",
        "/a%252fb",
        "/a%255cb",
        "/%2500",
        "/%25252e",
        "/%25%32%65",
        "/%2%35%32e",
        "/a%253bx",
        "/%2525252525",
        "/%25c0%25ae",
    ] {
        let found = path(raw);
        assert!(found.is_err(), "{raw:?} {found:?}");
    }
    check("/%252e", Err(PathError::DoubleEncoding));
}

#[test]
fn s092_a_fragment_or_a_missing_slash_is_refused() {
    check("/a#b", Err(PathError::Fragment));
    check("/a?b", Err(PathError::Fragment));
    for raw in ["", "*", "admin", "%2Fadmin", "http://a/"] {
        check(raw, Err(PathError::NoLeadingSlash));
    }
}

#[test]
fn oddities_are_left_for_the_route_to_allow() {
    let oddities = |raw: &str| {
        let found = path(raw).unwrap().oddities;
        (found.encoded_slash, found.empty_segment)
    };
    assert_eq!(oddities("/a/b/"), (false, false));
    assert_eq!(oddities("/a%2fb"), (true, false));
    assert_eq!(oddities("//a"), (false, true));
    assert_eq!(oddities("/a//"), (false, true));
    assert_eq!(oddities("/a%2F//"), (true, true));
}

#[track_caller]
fn check_fold(raw: &str, expected: &str) {
    assert_eq!(fold(raw), expected, "{raw:?}");
}

#[test]
fn s091_near_misses_fold_to_the_same_path() {
    for raw in [
        "/admin",
        "/ADMIN",
        "/admin/",
        "/admin.",
        "/admin..",
        "/admin;x",
        "/admin;x=1/",
        "//admin",
        "/;x/admin",
        "/admin%3Bx",
        "/admin%20",
        "/admin%3Fx",
        "/admin%23",
        "/%2541dmin",
        "/%2Fadmin",
        "/admin//",
    ] {
        check_fold(raw, "/admin");
    }
    check_fold("/", "/");
    check_fold("//", "/");
    check_fold("/;x", "/");
    check_fold("/users/%40me", "/users/@me");
    check_fold("/a/b.c", "/a/b.c");
    check_fold("/%E2%84%AAEY%C5%BF", "/keys");
    assert!(matches!(fold("/v1/orders/1.5"), Cow::Borrowed(_)));
}

/// Generates paths that look like attacks more often than random paths do.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-zA-Z0-9%/.;]{0,4}",
        prop::sample::select(vec![
            "/", "//", ".", "..", "%2e", "%2F", "%25", "%252e", "%5c", ";", "%3B", "%C3%A9", "%00", "a", "%20", "A",
            "%41", "|", "%c0", "\\", "é", "%32",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| format!("/{}", parts.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn normalizing_never_panics(raw in ".*") {
        let _ = path(&raw);
        let _ = fold(&raw);
    }

    #[test]
    fn a_plain_path_is_normal_and_has_nothing_odd(raw in "/[a-z/.%2fF;A:|?#]{0,8}|/.{0,6}") {
        if is_plain(raw.as_bytes()) {
            prop_assert!(is_normal(raw.as_bytes()), "{}", raw);
            prop_assert_eq!(inspect(&raw), Ok(Oddities::default()));
        }
    }

    #[test]
    fn folding_twice_changes_nothing(raw in hostile()) {
        if let Ok(found) = path(&raw) {
            let once = fold(&found.text).into_owned();
            prop_assert_eq!(fold(&once), once.as_str());
        }
    }

    #[test]
    fn is_folded_agrees_with_fold(raw in "/[a-z/.]{0,8}") {
        // `is_folded` must agree with `fold`, which a `;` forces to run in full.
        if is_folded(&raw) {
            let with_parameters = format!("{raw};");
            prop_assert_eq!(fold(&with_parameters), raw);
        }
    }
}
