//! Why bytes are no message that may be passed on.

use thiserror::Error;

/// Why a message is refused. From a client the answer is [`Refusal::status`]; from an upstream it
/// is a 502, whatever the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The request line or the status line is none.
    #[error("the first line is malformed")]
    FirstLine,
    /// HTTP/1.0 and HTTP/1.1 are read here.
    #[error("the HTTP version is not supported")]
    Version,
    /// The head is longer than [`super::head::Limits::bytes`].
    #[error("the head is longer than {limit} bytes")]
    HeadTooLong {
        /// The limit.
        limit: usize,
    },
    /// There are more fields than [`super::head::Limits::fields`].
    #[error("the head has more than {limit} fields")]
    TooManyFields {
        /// The limit.
        limit: usize,
    },
    /// The target is longer than [`super::head::Limits::target`].
    #[error("the target is longer than {limit} bytes")]
    TargetTooLong {
        /// The limit.
        limit: usize,
    },
    /// A line ends with LF alone, or a CR stands without its LF.
    #[error("a line does not end with CR LF")]
    LineEnd,
    /// A field's name or value has bytes that it may not have, a space before the colon, or is
    /// continued on the next line.
    #[error("a field is malformed")]
    Field,
    /// The target is in no form that its method may have.
    #[error("the target is malformed")]
    Target,
    /// There is no Host, several, or one that is no host.
    #[error("there is not exactly one well-formed Host")]
    Host,
    /// The target names another host than Host does.
    #[error("the target and Host name different hosts")]
    HostMismatch,
    /// There are several lengths, or one that is no number.
    #[error("there is not exactly one well-formed Content-Length")]
    ContentLength,
    /// The transfer coding is another one than `chunked`, or stands in HTTP/1.0.
    #[error("the transfer coding is not supported")]
    TransferEncoding,
    /// There are a length and a transfer coding.
    #[error("there are Content-Length and Transfer-Encoding")]
    TwoFramings,
    /// A chunk's size or its end is malformed.
    #[error("the chunked coding is malformed")]
    Chunk,
    /// A trailer section is malformed or too long.
    #[error("the trailer section is malformed or too long")]
    Trailer,
}

impl Refusal {
    /// The status of the answer to a client.
    pub const fn status(self) -> u16 {
        match self {
            Self::TargetTooLong { .. } => 414,
            Self::HeadTooLong { .. } | Self::TooManyFields { .. } => 431,
            Self::Version => 505,
            _ => 400,
        }
    }

    /// The name that the access log and metrics show.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::FirstLine => "first-line",
            Self::Version => "version",
            Self::HeadTooLong { .. } => "head-too-long",
            Self::TooManyFields { .. } => "too-many-fields",
            Self::TargetTooLong { .. } => "target-too-long",
            Self::LineEnd => "line-end",
            Self::Field => "field",
            Self::Target => "target",
            Self::Host => "host",
            Self::HostMismatch => "host-mismatch",
            Self::ContentLength => "content-length",
            Self::TransferEncoding => "transfer-encoding",
            Self::TwoFramings => "two-framings",
            Self::Chunk => "chunk",
            Self::Trailer => "trailer",
        }
    }
}
