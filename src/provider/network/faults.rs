//! What a failed request means: above all whether its provider may have executed it.

use std::error::Error;

use crate::provider::response::chain;
use crate::provider::transport::SendFault;

/// The meaning of a fault before the head of a response came.
pub(super) fn send_fault(fault: &hyper::Error) -> SendFault {
    let text = chain(fault);
    match fault {
        fault if causes(fault).any(is_not_taken) => SendFault::Connect(text),
        // Whatever it was, nothing of an answer has come.
        fault if fault.is_parse() => SendFault::Broken(text),
        _ => SendFault::Closed(text),
    }
}

/// A fault and what it comes from.
fn causes<'f>(fault: &'f (dyn Error + 'static)) -> impl Iterator<Item = &'f (dyn Error + 'static)> {
    std::iter::successors(Some(fault), |fault| {
        let fault: &'f (dyn Error + 'static) = *fault;
        fault.source()
    })
}

/// True where the request never left, or the provider says that it has not looked at it (RFC 9113, 8.7).
fn is_not_taken(cause: &(dyn Error + 'static)) -> bool {
    if let Some(fault) = cause.downcast_ref::<hyper::Error>() {
        return fault.is_canceled();
    }
    cause.downcast_ref::<h2::Error>().is_some_and(|fault| {
        let is_leaving = fault.is_go_away() && fault.reason() == Some(h2::Reason::NO_ERROR);
        let is_refused = fault.is_reset() && fault.reason() == Some(h2::Reason::REFUSED_STREAM);
        fault.is_remote() && (is_leaving || is_refused)
    })
}
