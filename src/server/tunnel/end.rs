//! The end of a WebSocket: why it closes, and the close code that each side gets.
//!
//! It knows the codes of RFC 6455 (7.4) and of its registry, and not how they are sent.

use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Who asked for the tunnel.
    Caller,
    /// Whom it leads to.
    Provider,
}

/// CloseReason a tunnel ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// One end has closed it, with a code and a reason or without.
    Closed(Who, Option<CloseFrame>),
    /// One end's connection is gone.
    Gone(Who),
    /// One end sent what is no message, or too large a one; the code says which.
    Nonsense(Who, CloseCode),
    /// One end does not answer.
    Silent(Who),
    /// One end does not read.
    Stalled(Who),
    /// Nobody has said anything for too long.
    Idle,
    /// It has lasted as long as it may.
    Old,
    /// The gateway shuts down.
    Leaving,
}

/// What one end is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// This.
    Say(Option<CloseFrame>),
    /// It has said it itself and gets its answer.
    Answer,
    /// Nothing would reach it.
    Nothing,
}

/// What the provider's end is told when the caller is to blame, or nobody: it needs no reasons that are not its own.
const AWAY: &str = "the caller has gone";

impl CloseReason {
    /// What an error of a WebSocket means.
    pub(super) fn of(who: Who, error: &Error) -> Self {
        match error {
            Error::Capacity(_) => CloseReason::Nonsense(who, CloseCode::Size),
            Error::Utf8(_) => CloseReason::Nonsense(who, CloseCode::Invalid),
            Error::Protocol(tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
                CloseReason::Gone(who)
            }
            Error::Protocol(_) | Error::AttackAttempt => CloseReason::Nonsense(who, CloseCode::Protocol),
            Error::WriteBufferFull(_) => CloseReason::Stalled(who),
            _ => CloseReason::Gone(who),
        }
    }

    /// A word for logs.
    pub(super) fn word(&self) -> &'static str {
        match self {
            CloseReason::Closed(Who::Caller, _) => "caller",
            CloseReason::Closed(Who::Provider, _) => "provider",
            CloseReason::Gone(Who::Caller) => "caller_gone",
            CloseReason::Gone(Who::Provider) => "provider_gone",
            CloseReason::Nonsense(Who::Caller, _) => "caller_nonsense",
            CloseReason::Nonsense(Who::Provider, _) => "provider_nonsense",
            CloseReason::Silent(Who::Caller) => "caller_silent",
            CloseReason::Silent(Who::Provider) => "provider_silent",
            CloseReason::Stalled(Who::Caller) => "caller_stalled",
            CloseReason::Stalled(Who::Provider) => "provider_stalled",
            CloseReason::Idle => "idle",
            CloseReason::Old => "lifetime",
            CloseReason::Leaving => "shutdown",
        }
    }

    /// What went wrong at the provider, if something did. Codes 1011 to 1014 say that its server did.
    pub(super) fn provider_fault(&self) -> Option<String> {
        match self {
            CloseReason::Closed(Who::Provider, Some(frame)) => {
                let code = u16::from(frame.code);
                (1011..=1014).contains(&code).then(|| format!("it closed the WebSocket with {code}"))
            }
            CloseReason::Gone(Who::Provider) => Some("the WebSocket was cut".into()),
            CloseReason::Nonsense(Who::Provider, CloseCode::Size) => Some("a message larger than is allowed".into()),
            CloseReason::Nonsense(Who::Provider, _) => Some("what it sent through the WebSocket is no message".into()),
            CloseReason::Silent(Who::Provider) => Some("it does not answer pings".into()),
            CloseReason::Stalled(Who::Provider) => Some("it does not read what it is sent".into()),
            _ => None,
        }
    }

    /// True when the caller has left without a close frame.
    pub(super) fn is_desertion(&self) -> bool {
        matches!(
            self,
            CloseReason::Gone(Who::Caller) | CloseReason::Silent(Who::Caller) | CloseReason::Stalled(Who::Caller)
        )
    }

    /// What the caller is told.
    pub(super) fn to_caller(&self) -> Farewell {
        match self {
            CloseReason::Closed(Who::Caller, _) => Farewell::Answer,
            CloseReason::Closed(Who::Provider, frame) => Farewell::Say(frame.clone()),
            CloseReason::Gone(Who::Caller) => Farewell::Nothing,
            CloseReason::Silent(Who::Caller) => say(CloseCode::Away, "no answer to a ping"),
            CloseReason::Stalled(Who::Caller) => say(CloseCode::Policy, "messages are not read"),
            CloseReason::Nonsense(Who::Caller, CloseCode::Size) => say(CloseCode::Size, "the message is too large"),
            CloseReason::Nonsense(Who::Caller, CloseCode::Invalid) => say(CloseCode::Invalid, "the text is not UTF-8"),
            CloseReason::Nonsense(Who::Caller, code) => say(*code, "not a WebSocket frame"),
            CloseReason::Gone(Who::Provider) => say(CloseCode::Again, "the connection to the provider was lost"),
            CloseReason::Silent(Who::Provider) => say(CloseCode::Again, "the provider does not answer"),
            CloseReason::Stalled(Who::Provider) => say(CloseCode::Again, "the provider does not keep up"),
            CloseReason::Nonsense(Who::Provider, CloseCode::Size) => {
                say(CloseCode::Again, "the provider sent a message that is too large")
            }
            CloseReason::Nonsense(Who::Provider, _) => say(CloseCode::Again, "the provider sent something broken"),
            CloseReason::Idle => say(CloseCode::Away, "nothing was said for too long"),
            CloseReason::Old => say(CloseCode::Away, "the connection has reached its lifetime"),
            CloseReason::Leaving => say(CloseCode::Away, "the gateway is shutting down"),
        }
    }

    /// What the provider is told.
    pub(super) fn to_provider(&self) -> Farewell {
        match self {
            CloseReason::Closed(Who::Provider, _) => Farewell::Answer,
            CloseReason::Closed(Who::Caller, frame) => Farewell::Say(frame.clone()),
            CloseReason::Gone(Who::Provider) => Farewell::Nothing,
            CloseReason::Nonsense(Who::Provider, code) => say(*code, ""),
            CloseReason::Silent(Who::Provider) => say(CloseCode::Away, "no answer to a ping"),
            CloseReason::Stalled(Who::Provider) => say(CloseCode::Policy, "messages are not read"),
            CloseReason::Gone(Who::Caller)
            | CloseReason::Silent(Who::Caller)
            | CloseReason::Stalled(Who::Caller)
            | CloseReason::Nonsense(Who::Caller, _) => say(CloseCode::Away, AWAY),
            CloseReason::Idle => say(CloseCode::Away, "nothing was said for too long"),
            CloseReason::Old => say(CloseCode::Away, "the connection has reached its lifetime"),
            CloseReason::Leaving => say(CloseCode::Away, "the gateway is shutting down"),
        }
    }

    /// The code with which the caller's end is closed.
    pub(super) fn close_code(&self) -> Option<u16> {
        let frame = match (self, self.to_caller()) {
            (CloseReason::Closed(Who::Caller, frame), _) => frame.clone(),
            (_, Farewell::Say(frame)) => frame,
            _ => None,
        };
        frame.map(|frame| frame.code.into())
    }
}

/// What a caller reads for which there is no place.
pub(super) fn crowded(reason: &str) -> CloseFrame {
    // 125 bytes of a control frame, less 2 for the code.
    let reason = &reason[..reason.floor_char_boundary(123)];
    CloseFrame { code: CloseCode::Policy, reason: reason.into() }
}

fn say(code: CloseCode, reason: &'static str) -> Farewell {
    Farewell::Say(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }))
}
