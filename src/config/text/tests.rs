use super::*;
use crate::config::upstream::Endpoint;

#[track_caller]
fn refused<T: FromText + std::fmt::Debug>(texts: &[&str]) {
    for text in texts {
        assert!(T::from_text(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_duration_is_a_whole_number_and_a_unit() {
    let check = |text: &str, millis: u64| {
        assert_eq!(Duration::from_text(text), Ok(Duration::from_millis(millis)), "{text}");
    };
    check("500ms", 500);
    check("30s", 30_000);
    check("5m", 300_000);
    check("1h", 3_600_000);
    check("1d", 86_400_000);
    check("0s", 0);
    check("3653d", 3_653 * 86_400_000);
    refused::<Duration>(&["3654d", "99999999999999999999s", "18446744073709551615d"]);
    refused::<Duration>(&[
        "", "s", "30", "30 s", "-1s", "+1s", "1.5s", "1S", "1h30m", " 1s", "1s ", "1us", "1w",
    ]);
    refused::<Timeout>(&["0s", "0ms", "0d", "1"]);
}

#[test]
fn a_size_is_bytes_or_binary_multiples() {
    let check = |text: &str, bytes: u64| assert_eq!(Size::from_text(text).unwrap().0, bytes, "{text}");
    check("8192", 8_192);
    check("1KiB", 1_024);
    check("10MiB", 10_485_760);
    check("1GiB", 1_073_741_824);
    check("1048576GiB", 1 << 50);
    refused::<Size>(&[
        "0",
        "0KiB",
        "1048577GiB",
        "18446744073709551615KiB",
        "",
        "KiB",
        "1.5KiB",
        "-1",
    ]);
    refused::<Size>(&["1K", "1KB", "1kib", "1 KiB", "1B", "1TiB"]);
}

#[test]
fn a_rate_is_a_number_per_period() {
    let check = |text: &str, requests: u32, secs: u64| {
        let rate = Rate::from_text(text).unwrap();
        assert_eq!((rate.requests.get(), rate.period.as_secs()), (requests, secs), "{text}");
    };
    check("10/s", 10, 1);
    check("500/min", 500, 60);
    check("500/minute", 500, 60);
    check("10/second", 10, 1);
    check("5/hour", 5, 3_600);
    check("1000/day", 1_000, 86_400);
    check("10000/month", 10_000, 2_592_000);
    check("4294967295/s", u32::MAX, 1);
    refused::<Rate>(&[
        "0/s",
        "4294967296/s",
        "10",
        "10/",
        "/s",
        "10/m",
        "10/sec",
        "10 / s",
        "-1/s",
        "1.5/s",
        "",
    ]);
}

/// Asserts that the problem of `text` has the hint `hint`.
#[track_caller]
fn hint<T: FromText + std::fmt::Debug>(text: &str, hint: &str) {
    let problem = T::from_text(text).unwrap_err();
    assert_eq!(problem.split_once('\n').map_or("", |(_, hint)| hint), hint, "{text}");
}

#[test]
fn a_unit_that_people_write_gets_the_one_that_counts() {
    hint::<Duration>("5min", "write `5m`");
    hint::<Duration>("30 s", "write `30s`");
    hint::<Duration>("2hours", "write `2h`");
    hint::<Duration>("1w", "");
    hint::<Size>("10MB", "write `10MiB`");
    hint::<Size>("10Mi", "write `10MiB`");
    hint::<Size>("512 bytes", "write `512`");
    hint::<Size>("1TiB", "");
    for text in ["5/mins", "5/minutes", "5 / min", "5r/min", "5 per minute", "5/MIN"] {
        hint::<Rate>(text, "write `5/min`");
    }
    hint::<Rate>("5/h", "write `5/hour`");
    hint::<Rate>("5/m", "write `5/min` or `5/month`");
    hint::<Rate>("5/week", "");
    hint::<Rate>("5", "");
    hint::<PathBuf>("file:keys.yaml", "write `keys.yaml`");
}

#[test]
fn an_endpoint_with_a_scheme_gets_the_text_to_write() {
    hint::<Endpoint>("http://10.0.0.5:8080", "write `10.0.0.5:8080`");
    hint::<Endpoint>("http://orders.internal", "write `orders.internal:80`");
    hint::<Endpoint>("http://[fd00::5]/", "write `[fd00::5]:80`");
    hint::<Endpoint>(
        "http://a:80/v1",
        "write `a:80`; the path is that of the request, and a route changes it with `strip_prefix`, `add_prefix` or `rewrite`",
    );
    for text in ["https://a", "https://a:443", "https://a:8443/v1", "HTTPS://a"] {
        let problem = Endpoint::from_text(text).unwrap_err();
        assert!(
            problem.starts_with("this version connects to upstreams without TLS"),
            "{problem}"
        );
    }
    hint::<Endpoint>(
        "h2c://a:50051",
        "write `a:50051`, and `protocol: h2c` beside `endpoints`",
    );
    hint::<Endpoint>(
        "grpc://a:50051",
        "write `a:50051`, and `protocol: h2c` beside `endpoints`",
    );
    hint::<Endpoint>(
        "unix:/run/orders.sock",
        "have it listen on a loopback port: `127.0.0.1:3000`",
    );
    hint::<Endpoint>(
        "a:80/v1",
        "write `a:80`; the path is that of the request, and a route changes it with `strip_prefix`, `add_prefix` or `rewrite`",
    );
    hint::<Endpoint>("a", "write the port too, such as `a:8080`");
    hint::<Endpoint>("10.0.0.5", "write the port too, such as `10.0.0.5:8080`");
    hint::<Endpoint>("u@a:80", "");
}

#[test]
fn an_endpoint_is_a_host_and_a_port() {
    let check = |text: &str, host: &str, port: u16| {
        let host = host.to_owned();
        assert_eq!(Endpoint::from_text(text), Ok(Endpoint { host, port }), "{text}");
    };
    check("10.0.0.5:8080", "10.0.0.5", 8080);
    check("Orders.internal:1", "orders.internal", 1);
    check("order_db:65535", "order_db", 65535);
    check("[fd00::0005]:80", "fd00::5", 80);
    refused::<Endpoint>(&[
        "a",
        "a:",
        ":80",
        "a:0",
        "a:65536",
        "a:+80",
        "a:80/",
        "http://a:80",
        "a b:80",
        "u@a:80",
    ]);
    refused::<Endpoint>(&[
        "fd00::5:80",
        "[fd00::5]",
        "[a]:80",
        "10.0.0.256:80",
        "1.2.3:80",
        "a..b:80",
        "-a:80",
    ]);
}

#[test]
fn a_host_pattern_is_a_name_or_everything_below_one() {
    let exact = |text: &str, host: &str| {
        assert_eq!(
            HostPattern::from_text(text),
            Ok(HostPattern::Exact(host.to_owned())),
            "{text}"
        );
    };
    exact("API.Example.com", "api.example.com");
    exact("127.0.0.1", "127.0.0.1");
    exact("[::0001]", "[::1]");
    let below = HostPattern::from_text("*.Example.com");
    assert_eq!(below, Ok(HostPattern::Suffix("example.com".to_owned())));
    refused::<HostPattern>(&[
        "",
        "*",
        "*.",
        "*.*.a",
        "a*.b",
        "a.*",
        "*.10.0.0.1",
        "a.",
        ".a",
        "a:80",
        "http://a",
    ]);
    refused::<HostPattern>(&["::1", "[::1", "[a]", "a/b", "a b", "ü.example", "256.1.1.1"]);
}

#[test]
fn a_range_has_no_bits_beyond_its_prefix() {
    assert!(IpNet::from_text("10.0.0.0/8").is_ok() && IpNet::from_text("fd00::/8").is_ok());
    assert_eq!(IpNet::from_text("::ffff:10.0.0.0/104"), IpNet::from_text("10.0.0.0/8"));
    refused::<IpNet>(&[
        "10.0.0.1/8",
        "10.0.0.0",
        "10.0.0.0/33",
        "fd00::1/8",
        "a/8",
        "",
        "10.0.0.0/",
    ]);
}

#[test]
fn methods_are_spelt_as_registered() {
    for method in METHODS {
        assert_eq!(Method::from_text(method).unwrap().as_str(), *method);
    }
    for method in ["PURGE", "BAN", "LIST", "X-A"] {
        assert_eq!(Method::from_text(method).unwrap().as_str(), method);
    }
    refused::<Method>(&[
        "get", "Get", "GTE", "PSOT", "-A", "A_B", "", "GETS", "CONNECT", "TRACE", "PRI", "*", "G T",
    ]);
}

#[test]
fn a_misspelt_log_level_is_no_module() {
    for good in ["info", "off", "warn,keygate=debug", "keygate::proxy=trace"] {
        assert_eq!(LogFilter::from_text(good).unwrap().0, good);
    }
    refused::<LogFilter>(&[
        "",
        "inof",
        "INFO",
        "info,",
        "keygate",
        "keygate=",
        "=info",
        "a=b",
        "warn,keygat=debug",
        "info, warn",
    ]);
}

#[test]
fn small_texts_have_small_alphabets() {
    assert_eq!(TokenType::from_text("AT+JWT").unwrap().0, "at+jwt");
    assert_eq!(TokenType::from_text("absent").unwrap().0, "");
    refused::<TokenType>(&["", "at jwt", "at,jwt", "é"]);
    assert_eq!(KeyPrefix::from_text("kg2345678901234a").unwrap().0.len(), 16);
    refused::<KeyPrefix>(&["", "kg2345678901234ab", "2kg", "KG", "k_g", "k-g"]);
    refused::<ExactText>(&["", " ", " a", "a ", "a\nb", "a\0"]);
    refused::<HeaderName>(&["", "x_a", "x a", "x:a", "é"]);
    refused::<HeaderValue>(&[" a", "a ", "a\r\nb", "é", "\u{7f}"]);
    refused::<PathBuf>(&["", "a\nb", "a\0"]);
    refused::<Url>(&[
        "a",
        "/a",
        "ftp://a",
        "https://",
        "https://u@a",
        "https://a#b",
        "https://a b",
        "file:///a",
    ]);
    refused::<SocketAddr>(&["", "a:80", "127.0.0.1", ":80", "127.0.0.1:65536", "80"]);
}
