//! Why does a head not become a request?

use crate::model::reason::reasons;

/// Why a head is refused. Every error closes the connection, because the start of the next request is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    #[error("head is too long")]
    HeadTooLong,
    #[error("too many header fields")]
    TooManyFields,
    #[error("target is too long")]
    TargetTooLong,
    #[error("line does not end in CRLF, or the head holds a bare CR or LF")]
    LineEnding,
    #[error("malformed request line")]
    RequestLine,
    #[error("HTTP without TLS on a listener with TLS")]
    PlainHttp,
    #[error("version is neither HTTP/1.1 nor HTTP/1.0")]
    Version,
    #[error("method CONNECT")]
    Connect,
    #[error("target is neither a path nor an absolute http URL")]
    Target,
    #[error("control byte in the target")]
    TargetControl,
    #[error("fragment in the target")]
    TargetFragment,
    #[error("target is not UTF-8")]
    TargetUtf8,
    #[error("authority of the target is not `host[:port]`")]
    TargetHost,
    #[error("header field name is not a token right before its colon")]
    FieldName,
    #[error("header field line is folded")]
    ObsFold,
    #[error("control byte in a header field value")]
    FieldValue,
    #[error("no host")]
    HostMissing,
    #[error("more than one host")]
    HostRepeated,
    #[error("host is not `host[:port]`")]
    HostInvalid,
    #[error("authority of the target is not the host")]
    HostMismatch,
    #[error("content-length is not a number")]
    ContentLength,
    #[error("more than one content-length")]
    ContentLengthRepeated,
    #[error("transfer-encoding is not exactly `chunked`")]
    TransferEncoding,
    #[error("more than one transfer-encoding")]
    TransferEncodingRepeated,
    #[error("transfer-encoding in HTTP/1.0")]
    TransferEncodingHttp10,
    #[error("content-length beside transfer-encoding")]
    LengthAndEncoding,
    #[error("upgrade with a body")]
    UpgradeWithBody,
    #[error("upgrade in HTTP/1.0")]
    UpgradeHttp10,
    #[error("unknown expectation")]
    Expectation,
    #[error("not complete in time")]
    Timeout,
    /// The head passed `head::check` but exceeds a limit of `httparse` or `http`.
    #[error("refused by the parser that reads it next")]
    RefusedByParser,
}

reasons! {
    HeadError {
        Self::HeadTooLong => "head_too_long",
        Self::TooManyFields => "header_count",
        Self::TargetTooLong => "target_too_long",
        Self::LineEnding => "line_ending",
        Self::RequestLine => "request_line",
        Self::PlainHttp => "plain_http",
        Self::Version => "http_version",
        Self::Connect => "method_refused",
        Self::Target => "target",
        Self::TargetControl => "target_control_byte",
        Self::TargetFragment => "target_fragment",
        Self::TargetUtf8 => "target_invalid_utf8",
        Self::TargetHost => "target_host",
        Self::FieldName => "header_name",
        Self::ObsFold => "header_folded",
        Self::FieldValue => "header_value",
        Self::HostMissing => "host_missing",
        Self::HostRepeated => "host_repeated",
        Self::HostInvalid => "host_invalid",
        Self::HostMismatch => "host_mismatch",
        Self::ContentLength => "content_length",
        Self::ContentLengthRepeated => "content_length_repeated",
        Self::TransferEncoding => "transfer_encoding",
        Self::TransferEncodingRepeated => "transfer_encoding_repeated",
        Self::TransferEncodingHttp10 => "transfer_encoding_http10",
        Self::LengthAndEncoding => "length_and_encoding",
        Self::UpgradeWithBody => "upgrade",
        Self::UpgradeHttp10 => "upgrade_http10",
        Self::Expectation => "expectation",
        Self::Timeout => "head_timeout",
        Self::RefusedByParser => "refused_by_parser",
    }
}
