//! Which answer does every row give on every kind of route? The answers are compared with
//! `tests/data/refusal-rows.txt`, which `UPDATE_GOLDEN=1` rewrites.

use super::*;
use crate::config;
use crate::config::MatchField;
use crate::gate::accept::AcceptError;
use crate::gate::accept::AmbiguousField;
use crate::gate::accept::HeadError;
use crate::gate::accept::fault::RequestPart;
use crate::gate::accept::matched_field::FieldFault;
use crate::gate::accept::normalize::PathError;
use crate::gate::admit;
use crate::gate::admit::CompiledLimit;
use crate::gate::admit::SpentLimit;
use crate::gate::admit::Subject;
use crate::gate::authenticate::Refusal;
use crate::gate::authenticate::api_key::ApiKeyError;
use crate::gate::authenticate::introspection::IntrospectionRefusal;
use crate::gate::authenticate::introspection::Unavailable;
use crate::gate::authenticate::own_token::OwnTokenError;
use crate::gate::authenticate::token::TokenError;
use crate::gate::authorize::CertificateError;
use crate::gate::authorize::Forbidden;
use crate::gate::authorize::SubscriptionError;
use crate::gate::denial::ConnectionError;
use crate::gate::denial::CorsError;
use crate::gate::intake::IntakeError;
use crate::gate::live::LiveState;
use crate::gate::snapshot::Snapshot;
use crate::jose::json::JsonError;
use crate::jose::jws::JwsError;
use crate::limit::LimitState;
use crate::model::algorithm::Algorithm;
use crate::model::api_key::KeyId;
use crate::model::client_address::ClientAddress;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::model::clock::Timestamp;
use crate::model::subscription::Standing;
use crate::runtime::assemble;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

const GOLDEN: &str = "tests/data/refusal-rows.txt";

/// Returns the values, one for each variant. With a variant missing, the `match` does not compile.
macro_rules! all {
    ($of:ty: $($pattern:pat => $value:expr),+ $(,)?) => {{
        let _is_listed = |value: &$of| match value { $($pattern => {})+ };
        vec![$($value),+]
    }};
}

fn heads() -> Vec<HeadError> {
    use HeadError as E;
    all!(HeadError:
        E::HeadTooLong => E::HeadTooLong, E::TooManyFields => E::TooManyFields, E::TargetTooLong => E::TargetTooLong,
        E::LineEnding => E::LineEnding, E::RequestLine => E::RequestLine, E::Version => E::Version, E::PlainHttp => E::PlainHttp,
        E::Connect => E::Connect, E::Target => E::Target, E::TargetControl => E::TargetControl,
        E::TargetFragment => E::TargetFragment, E::TargetUtf8 => E::TargetUtf8, E::TargetHost => E::TargetHost, E::FieldName => E::FieldName, E::ObsFold => E::ObsFold,
        E::FieldValue => E::FieldValue, E::HostMissing => E::HostMissing, E::HostRepeated => E::HostRepeated,
        E::HostInvalid => E::HostInvalid, E::HostMismatch => E::HostMismatch, E::ContentLength => E::ContentLength,
        E::ContentLengthRepeated => E::ContentLengthRepeated, E::TransferEncoding => E::TransferEncoding,
        E::TransferEncodingRepeated => E::TransferEncodingRepeated, E::TransferEncodingHttp10 => E::TransferEncodingHttp10, E::LengthAndEncoding => E::LengthAndEncoding,
        E::UpgradeWithBody => E::UpgradeWithBody, E::UpgradeHttp10 => E::UpgradeHttp10, E::Expectation => E::Expectation,
        E::Timeout => E::Timeout, E::RefusedByParser => E::RefusedByParser,
    )
}

fn paths() -> Vec<PathError> {
    use PathError as E;
    all!(PathError:
        E::NoLeadingSlash => E::NoLeadingSlash, E::InvalidEscape => E::InvalidEscape, E::Control => E::Control,
        E::NonAscii => E::NonAscii, E::Backslash => E::Backslash, E::Fragment => E::Fragment,
        E::InvalidUtf8 => E::InvalidUtf8, E::DotSegment => E::DotSegment, E::DoubleEncoding => E::DoubleEncoding,
        E::EncodedSlash => E::EncodedSlash, E::EmptySegment => E::EmptySegment,
    )
}

fn accepts() -> Vec<AcceptError> {
    use AcceptError as E;
    let others = all!(AcceptError:
        E::Path(_) => E::Path(PathError::Control), E::QueryByte => E::QueryByte, E::HostMissing => E::HostMissing,
        E::HostRepeated => E::HostRepeated, E::HostInvalid => E::HostInvalid, E::HostMismatch => E::HostMismatch,
        E::MethodRefused => E::MethodRefused, E::MethodUnknown => E::MethodUnknown, E::Framing => E::Framing,
        E::HeaderAlias => E::HeaderAlias, E::ConnectionNomination => E::ConnectionNomination,
    );
    paths().into_iter().map(E::Path).chain(others).collect()
}

fn intakes() -> Vec<IntakeError> {
    use IntakeError as E;
    all!(IntakeError:
        E::TwoCredentials => E::TwoCredentials, E::AuthorizationRepeated => E::AuthorizationRepeated,
        E::ApiKeyRepeated => E::ApiKeyRepeated, E::AuthorizationMalformed => E::AuthorizationMalformed,
        E::ApiKeyMalformed => E::ApiKeyMalformed, E::TooLong => E::TooLong, E::OtherScheme => E::OtherScheme,
        E::TypeNotAccepted => E::TypeNotAccepted, E::InQuery => E::InQuery, E::TwoPlaces => E::TwoPlaces,
        E::TokenHeaderMalformed => E::TokenHeaderMalformed, E::TokenHeaderRepeated => E::TokenHeaderRepeated,
        E::ProtocolMalformed => E::ProtocolMalformed, E::ProtocolAlone => E::ProtocolAlone,
        E::ProtocolWithoutUpgrade => E::ProtocolWithoutUpgrade,
    )
}

fn jwss() -> Vec<JwsError> {
    use JwsError as E;
    all!(JwsError:
        E::TooLong => E::TooLong, E::Parts => E::Parts, E::Encrypted => E::Encrypted, E::Base64(_) => E::Base64("x"),
        E::Header(_) => E::Header(JsonError::NotAnObject), E::HeaderMember(_) => E::HeaderMember("x"),
        E::Algorithm => E::Algorithm, E::Critical => E::Critical, E::Nested => E::Nested,
    )
}

fn tokens() -> Vec<TokenError> {
    use TokenError as E;
    let others = all!(TokenError:
        E::Jws(_) => E::Jws(JwsError::Parts), E::Payload(_) => E::Payload(JsonError::NotAnObject),
        E::Issuer => E::Issuer, E::Algorithm(_) => E::Algorithm(Algorithm::Es256), E::Type => E::Type,
        E::UnknownKey => E::UnknownKey, E::KeyMismatch => E::KeyMismatch, E::AmbiguousKey => E::AmbiguousKey,
        E::BadSignature => E::BadSignature, E::Expired { .. } => E::Expired { late_secs: 1 },
        E::NotYetValid => E::NotYetValid, E::IssuedInFuture => E::IssuedInFuture, E::Lifetime => E::Lifetime,
        E::NotBearer(_) => E::NotBearer("cnf"), E::NotAccessToken(_) => E::NotAccessToken("nonce"), E::ClaimMissing(_) => E::ClaimMissing("exp"),
        E::ClaimInvalid(_) => E::ClaimInvalid("exp".to_owned()), E::RequiredClaim(_) => E::RequiredClaim("a".to_owned()),
    );
    jwss().into_iter().map(E::Jws).chain(others).collect()
}

fn api_keys() -> Vec<ApiKeyError> {
    use ApiKeyError as E;
    let id: KeyId = "0123456789abcdef".parse().unwrap();
    all!(ApiKeyError:
        E::Malformed => E::Malformed, E::Checksum => E::Checksum, E::Unknown => E::Unknown,
        E::WrongSecret => E::WrongSecret, E::Revoked(_) => E::Revoked(id), E::Expired(_) => E::Expired(id),
        E::Disabled(_) => E::Disabled(id), E::WrongAddress(_) => E::WrongAddress(id),
    )
}

fn introspection_refusals() -> Vec<IntrospectionRefusal> {
    use IntrospectionRefusal as E;
    all!(IntrospectionRefusal:
        E::Inactive => E::Inactive, E::Token(_) => E::Token(TokenError::Issuer),
    )
}

fn owns() -> Vec<OwnTokenError> {
    use OwnTokenError as E;
    all!(OwnTokenError:
        E::Unknown => E::Unknown, E::Expired => E::Expired, E::UnknownClient => E::UnknownClient,
        E::Revoked => E::Revoked, E::ClientRevoked => E::ClientRevoked,
    )
}

fn standings() -> Vec<SubscriptionError> {
    use Standing as E;
    let standings = all!(Standing:
        // `NotInForce(Good)` is never made; its reason is `subscription_unknown`.
        E::Good => E::Good, E::Pending => E::Pending, E::ProvisioningFailed => E::ProvisioningFailed,
        E::Cancelled => E::Cancelled, E::PaymentDue => E::PaymentDue, E::NotReleased => E::NotReleased,
        E::SandboxOnly => E::SandboxOnly, E::PlanGone => E::PlanGone,
    );
    let others = all!(SubscriptionError:
        SubscriptionError::NotInForce(_) => SubscriptionError::NotInForce(Standing::Cancelled),
        SubscriptionError::NotInPlan => SubscriptionError::NotInPlan,
        SubscriptionError::Required => SubscriptionError::Required,
        SubscriptionError::Unknown => SubscriptionError::Unknown,
    );
    standings
        .into_iter()
        .map(SubscriptionError::NotInForce)
        .chain(others)
        .collect()
}

fn unavailables() -> Vec<Unavailable> {
    use Unavailable as E;
    all!(Unavailable: E::NoResponse => E::NoResponse, E::Suspended => E::Suspended, E::Busy => E::Busy)
}

fn refusals() -> Vec<Refusal> {
    use Refusal as E;
    let others = all!(Refusal:
        E::Token(_) => E::Token(TokenError::Type), E::Introspection(_) => E::Introspection(IntrospectionRefusal::Inactive),
        E::ApiKey(_) => E::ApiKey(ApiKeyError::Unknown), E::Own(_) => E::Own(OwnTokenError::Unknown),
        E::UnknownIssuer => E::UnknownIssuer, E::WrongAudience => E::WrongAudience,
    );
    let tokens = tokens().into_iter().map(E::Token);
    tokens
        .chain(introspection_refusals().into_iter().map(E::Introspection))
        .chain(api_keys().into_iter().map(E::ApiKey))
        .chain(owns().into_iter().map(E::Own))
        .chain(others)
        .collect()
}

fn spent() -> SpentLimit {
    let limit = config::Limit {
        name: "once".parse().unwrap(),
        by: vec![config::LimitBy::Route],
        quota: crate::model::plan::Quota {
            requests: std::num::NonZeroU32::MIN,
            period: Duration::from_secs(3600),
            burst: std::num::NonZeroU32::MIN,
        },
        window: config::LimitWindow::Refilling,
        mode: config::Mode::Enforce,
    };
    let limits = [CompiledLimit::compile(&limit, &Arc::new(LimitState::new()))];
    let now = SystemClock::new().now();
    let route = "a".parse().unwrap();
    let spend = || {
        let subject = Subject {
            identity: None,
            client: ClientAddress::Known([127, 0, 0, 1].into()),
            route: &route,
        };
        admit::spend(&limits, subject, now)
    };
    assert!(spend().is_ok());
    spend().err().unwrap()
}

fn ambiguous(fault: FieldFault) -> AmbiguousField {
    let field = match fault {
        FieldFault::HeaderRepeated => MatchField::Header(HeaderName::from_static("x-version")),
        FieldFault::ParameterRepeated | FieldFault::ParameterEncoding | FieldFault::ParameterSeparator => {
            MatchField::Parameter("a \"version\"".to_owned())
        }
    };
    AmbiguousField { field, fault }
}

/// Returns every denial, with every error of every stage.
fn denials() -> Vec<Denial> {
    use Denial as D;
    let others = all!(Denial:
        D::Head(_) => D::Head(HeadError::Target),
        D::MalformedChunk => D::MalformedChunk, D::Connection(_) => D::Connection(ConnectionError::TooMany),
        D::Accept(_) => D::Accept(AcceptError::Framing), D::NoRoute => D::NoRoute, D::Misdirected => D::Misdirected, D::PathNearMiss => D::PathNearMiss,
        D::ConditionsUnmet => D::ConditionsUnmet, D::AddressNotAllowed => D::AddressNotAllowed, D::AmbiguousField(_) => D::AmbiguousField(ambiguous(FieldFault::HeaderRepeated)),
        D::MethodNotAllowed(_) => D::MethodNotAllowed([Method::GET, Method::PUT].into()),
        D::Cors(_) => D::Cors(CorsError::Origin),
        D::BodyTooLarge => D::BodyTooLarge, D::BodyTimeout => D::BodyTimeout, D::Pipelined => D::Pipelined,
        D::CredentialMissing => D::CredentialMissing, D::Intake(_) => D::Intake(IntakeError::InQuery),
        D::Authentication(_) => D::Authentication(Refusal::UnknownIssuer),
        D::TooManyFailures { .. } => D::TooManyFailures { retry_after: Duration::from_millis(1500) },
        D::KeysUnavailable => D::KeysUnavailable,
        D::IntrospectionUnavailable(_) => D::IntrospectionUnavailable(Unavailable::NoResponse),
        D::Forbidden(_) => D::Forbidden(Forbidden::each()[0]),
        D::ClientCertificate(_) => D::ClientCertificate(CertificateError::Missing),
        D::Subscription(_) => D::Subscription(SubscriptionError::Required), D::ClearText => D::ClearText,
        D::ControlUnavailable => D::ControlUnavailable,
        D::LimitSpent(_) => D::LimitSpent(spent()), D::IdentityTokenUnsigned => D::IdentityTokenUnsigned,
        D::NoUpstreamCredential => D::NoUpstreamCredential, D::NoEndpoint => D::NoEndpoint, D::EndpointsBusy => D::EndpointsBusy,
        D::ConnectFailed => D::ConnectFailed, D::NoResources => D::NoResources,
        D::ConnectTimeout => D::ConnectTimeout, D::UpstreamTimeout => D::UpstreamTimeout,
        D::UpstreamFailed => D::UpstreamFailed, D::ClientGone => D::ClientGone, D::Panicked => D::Panicked,
    );
    let heads = heads().into_iter().map(D::Head);
    let accepts = accepts().into_iter().map(D::Accept);
    let intakes = intakes().into_iter().map(D::Intake);
    let connections = all!(ConnectionError:
        ConnectionError::TooMany => ConnectionError::TooMany, ConnectionError::PeerAddress => ConnectionError::PeerAddress,
    );
    let cors = all!(CorsError:
        CorsError::Origin => CorsError::Origin, CorsError::Method => CorsError::Method, CorsError::Header => CorsError::Header,
    );
    let certificates = all!(CertificateError:
        CertificateError::Missing => CertificateError::Missing, CertificateError::NotAllowed => CertificateError::NotAllowed,
    );
    let faults = all!(FieldFault:
        FieldFault::HeaderRepeated => FieldFault::HeaderRepeated, FieldFault::ParameterRepeated => FieldFault::ParameterRepeated,
        FieldFault::ParameterEncoding => FieldFault::ParameterEncoding,
        FieldFault::ParameterSeparator => FieldFault::ParameterSeparator,
    );
    let refusals = refusals().into_iter().map(D::Authentication);
    let forbidden = Forbidden::each().into_iter().map(D::Forbidden);
    heads
        .chain(accepts)
        .chain(intakes)
        .chain(forbidden)
        .chain(certificates.into_iter().map(D::ClientCertificate))
        .chain(standings().into_iter().map(D::Subscription))
        .chain(refusals)
        .chain(connections.into_iter().map(D::Connection))
        .chain(cors.into_iter().map(D::Cors))
        .chain(faults.into_iter().map(|fault| D::AmbiguousField(ambiguous(fault))))
        .chain(unavailables().into_iter().map(D::IntrospectionUnavailable))
        .chain(others)
        .collect()
}

fn snapshot() -> Snapshot {
    let route = |name: &str, accept: &str| {
        format!("  - {{ name: {name}, match: {{ path: /{name} }}, upstream: echo, {accept} }}\n")
    };
    let scopes = "scopes: { all: [\"orders:write\"], any: [a, b] }";
    let routes = route("public", "public: true")
        + &route("jwt", &format!("accept: [jwt], {scopes}"))
        + &route("api-key", &format!("accept: [api_key], {scopes}"))
        + &route("both", &format!("accept: [jwt, api_key], {scopes}"));
    let yaml = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\napi_keys: {{ file: keys.yaml }}\nissuers:\n  main: {{ issuer: https://a.test, audiences: any, public_key_files: [dev-issuer.public.pem] }}\nupstreams:\n  echo: {{ builtin: echo }}\nroutes:\n{routes}"
    );
    let config = config::parse(&yaml, Path::new("conf/x.yaml"), &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let live = LiveState::new(assemble::metrics(Timestamp::default()), "127.0.0.1:1".parse().unwrap());
    Snapshot::compile(&config, &live).unwrap()
}

fn context<'a>(snapshot: &'a Snapshot, route: Option<&str>) -> RefusalContext<'a> {
    let named = |name| {
        snapshot
            .routes
            .iter()
            .find(|route| route.name.as_str() == name)
            .unwrap()
    };
    RefusalContext {
        accepted: route.map(|name| named(name).accepted()),
        scheme: None,
        api_key_header: &snapshot.api_key_header,
        request_id: "id",
        grpc: GrpcForm::Without,
        fault: None,
    }
}

#[test]
fn a_refusal_names_the_byte_that_breaks_the_rule() {
    let snapshot = snapshot();
    for (byte, expected) in [
        (b'|', "0x7C (`|`)"),
        (b'"', "0x22 (`\"`)"),
        (b'\\', "0x5C (`\\`)"),
        (0, "0x00"),
        (0xFF, "0xFF"),
    ] {
        let fault = ByteFault {
            byte,
            offset: 7,
            part: RequestPart::Path,
        };
        let of_byte = RefusalContext {
            fault: Some(fault),
            ..context(&snapshot, None)
        };
        let denial = Denial::Accept(AcceptError::Path(PathError::Control));
        let body: serde_json::Value = serde_json::from_slice(&answer(&denial, &of_byte).body).unwrap();
        let expected = format!("The path has a control character. The byte is {expected}, at offset 7 of the path.");
        assert_eq!(body["detail"], expected);
    }
}

#[test]
fn the_error_is_in_the_challenge_of_the_scheme_that_was_used() {
    let snapshot = snapshot();
    let denials: BTreeMap<&str, Denial> = denials().into_iter().map(|denial| (denial.reason(), denial)).collect();
    // The schemes with an error, by the scheme of the credential that was read.
    let faulty = |reason: &str, scheme: Option<Scheme>| {
        let both = RefusalContext {
            scheme,
            ..context(&snapshot, Some("both"))
        };
        let answer = answer(&denials[reason], &both);
        let challenges = answer.headers.iter().filter(|(name, _)| name == "www-authenticate");
        let texts: Vec<&str> = challenges.map(|(_, value)| value.to_str().unwrap()).collect();
        assert_eq!(texts.len(), 2, "each accepted scheme has its challenge: {texts:?}");
        let with_error = texts.into_iter().filter(|text| text.contains("error=\""));
        let schemes: Vec<String> = with_error
            .map(|text| text.split(' ').next().unwrap().to_owned())
            .collect();
        schemes.join(" ")
    };
    for (reason, scheme, expected) in [
        ("bad_signature", None, "Bearer"),
        ("token_expired", None, "Bearer"),
        ("api_key_revoked", None, "ApiKey"),
        ("authorization_malformed", None, "Bearer"),
        ("api_key_header_malformed", None, "ApiKey"),
        ("two_credentials", None, "Bearer ApiKey"),
        ("insufficient_scope", Some(Scheme::Bearer), "Bearer"),
        ("insufficient_scope", Some(Scheme::ApiKey), "ApiKey"),
        ("credential_missing", None, ""),
    ] {
        assert_eq!(faulty(reason, scheme), expected, "{reason} {scheme:?}");
    }
}

/// Returns status, header fields and body, a line each, except the lines in `without`.
fn lines(answer: &Answer, without: &[String]) -> Vec<String> {
    let headers = answer
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    let body = std::str::from_utf8(&answer.body).unwrap().trim_end().to_owned();
    let status = format!(
        "{}{}",
        answer.status.as_u16(),
        if answer.close { ", close" } else { "" }
    );
    let all = [status].into_iter().chain(headers).chain([body]);
    all.filter(|line| !without.contains(line)).collect()
}

#[test]
fn s142_every_row_reads_as_written_down_on_every_kind_of_route() {
    let snapshot = snapshot();
    let denials: BTreeMap<&str, Denial> = denials().into_iter().map(|denial| (denial.reason(), denial)).collect();
    let mut golden = String::new();
    for row in ROWS {
        let denial = &denials[row.reason];
        let without = lines(&answer(denial, &context(&snapshot, None)), &[]);
        let _ = writeln!(golden, "== {}\n{}", row.reason, without.join("\n"));
        for route in ["public", "jwt", "api-key", "both"] {
            for line in lines(&answer(denial, &context(&snapshot, Some(route))), &without) {
                let _ = writeln!(golden, "-- {route}: {line}");
            }
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &golden).unwrap();
    }
    let expected = std::fs::read_to_string(GOLDEN).unwrap();
    for (actual, expected) in golden.split("\n== ").zip(expected.split("\n== ")) {
        assert_eq!(actual, expected);
    }
    assert_eq!(golden.len(), expected.len());
}

#[test]
fn s142_every_reason_has_a_row_and_every_row_a_reason() {
    let reasons: BTreeSet<&str> = denials().iter().map(Denial::reason).collect();
    let rows: BTreeSet<&str> = ROWS.iter().map(|row| row.reason).collect();
    assert_eq!(reasons, rows);
    assert_eq!(rows.len(), ROWS.len(), "a reason has two rows");
    let listed: BTreeSet<&str> = Denial::REASONS.iter().copied().collect();
    assert_eq!(listed, rows, "what metrics have labels for");
}

/// `problem` and `challenges` write the texts of the table between quotes without escaping them.
#[test]
fn rows_hold_statuses_and_words_that_need_no_escaping() {
    for row in ROWS {
        assert!((400..600).contains(&row.status), "{}", row.reason);
        for text in [row.slug, row.title, row.detail, row.error.unwrap_or("x")] {
            let plain = text
                .bytes()
                .all(|byte| (0x20..0x7F).contains(&byte) && byte != b'"' && byte != b'\\');
            assert!(plain && !text.is_empty(), "{}: {text}", row.reason);
        }
        // RFC 6750 section 3.1.
        let expected = match (row.status, row.error) {
            (_, None) => true,
            (400, Some("invalid_request")) | (401, Some("invalid_token")) | (403, Some("insufficient_scope")) => true,
            (_, Some(_)) => false,
        };
        assert!(expected, "{}", row.reason);
        assert!(row.status != 401 || row.challenge != Challenge::None, "{}", row.reason);
    }
    assert_eq!(ROWS.last().map(|row| row.reason), Some("internal_error"));
    assert_eq!(row("no such reason").status, 500);
}

/// A client cannot tell why its API key is invalid.
#[test]
fn s077_all_invalid_api_keys_get_the_same_answer() {
    let snapshot = snapshot();
    let faces: BTreeSet<Vec<String>> = api_keys()
        .into_iter()
        .map(|error| {
            let denial = Denial::Authentication(Refusal::ApiKey(error));
            lines(&answer(&denial, &context(&snapshot, Some("both"))), &[])
        })
        .collect();
    assert_eq!(faces.len(), 1, "{faces:?}");
}

#[test]
fn grpc_clients_get_their_status_as_well() {
    let snapshot = snapshot();
    for (denial, expected) in [
        (Denial::Pipelined, "3"),
        (Denial::CredentialMissing, "16"),
        (Denial::Forbidden(Forbidden::each()[4]), "7"),
        (Denial::NoRoute, "12"),
        (Denial::LimitSpent(spent()), "8"),
        (Denial::KeysUnavailable, "14"),
        (Denial::UpstreamTimeout, "4"),
        (Denial::Panicked, "2"),
    ] {
        let mut context = context(&snapshot, None);
        assert!(
            !answer(&denial, &context)
                .headers
                .iter()
                .any(|(name, _)| name == "grpc-status")
        );
        for form in [GrpcForm::Beside, GrpcForm::TrailersOnly] {
            context.grpc = form;
            let answer = answer(&denial, &context);
            let status = answer.headers.iter().find(|(name, _)| name == "grpc-status");
            assert_eq!(status.unwrap().1, expected, "{denial:?}");
            let is_whole = form == GrpcForm::Beside;
            assert_eq!(
                (answer.status != 200, !answer.body.is_empty()),
                (is_whole, is_whole),
                "{denial:?}"
            );
            let types: Vec<_> = answer
                .headers
                .iter()
                .filter(|(name, _)| name == "content-type")
                .collect();
            let content_type = if is_whole {
                "application/problem+json"
            } else {
                "application/grpc"
            };
            assert_eq!((types.len(), types[0].1.to_str().unwrap()), (1, content_type));
            assert_eq!(
                answer.headers.iter().any(|(name, _)| name == "content-length"),
                is_whole
            );
        }
    }
}
