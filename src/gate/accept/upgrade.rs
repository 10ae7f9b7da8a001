//! Does the request ask to switch protocols?

use crate::gate::accept::syntax;
use http::HeaderName;
use http::Method;
use http::Version;
use http::header;
use http::request::Parts;

/// Returns whether `request` asks to switch to WebSocket, the
/// only protocol that Keygate switches to (RFC 6455 section 4.1).
pub fn is_websocket(request: &Parts) -> bool {
    let lists = |name: &HeaderName, member: &[u8]| {
        let mut values = request.headers.get_all(name).iter();
        values.any(|value| syntax::members(value.as_bytes()).any(|option| option.eq_ignore_ascii_case(member)))
    };
    let mut upgrades = request.headers.get_all(header::UPGRADE).iter();
    let Some(upgrade) = upgrades.next() else {
        return false;
    };
    upgrades.next().is_none()
        && upgrade.as_bytes().eq_ignore_ascii_case(b"websocket")
        && request.version == Version::HTTP_11
        && request.method == Method::GET
        && lists(&header::CONNECTION, b"upgrade")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(fields: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_one_upgrade_to_websocket_by_get_and_http_1_1_is_a_websocket_upgrade() {
        let usual = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert!(is_websocket(&parts(&usual)));
        for fields in [
            &[][..],
            &[usual[0]],
            &[usual[1]],
            &[usual[1], ("connection", "keep-alive")],
            &[usual[0], ("upgrade", "h2c")],
            &[usual[0], usual[1], usual[1]],
        ] {
            assert!(!is_websocket(&parts(fields)), "{fields:?}");
        }
        let mut post = parts(&usual);
        post.method = Method::POST;
        assert!(!is_websocket(&post));
        for version in [Version::HTTP_10, Version::HTTP_2] {
            let mut other = parts(&usual);
            other.version = version;
            assert!(!is_websocket(&other), "{version:?}");
        }
    }
}
