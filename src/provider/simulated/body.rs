//! The body of a simulated response: its pieces, the delays between them, and how it fails.
//!
//! It does not know what the pieces mean.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;

use super::answers::{Answer, Piece};
use super::behaviour::{Behaviour, FaultKind};
use crate::provider::transport::{ResponseBody, SendFault};

/// What the body does, one step after the other.
enum Step {
    Send(Bytes),
    Wait(Duration),
    Stall,
    Break,
}

/// The body of an answer under a behaviour. `guard` lives as long as the body.
pub(super) fn body<G: Send + 'static>(answer: Answer, behaviour: &Behaviour, guard: G) -> ResponseBody {
    let mut steps = Vec::new();
    wait(&mut steps, behaviour.first_token_ms, if answer.is_stream { behaviour.ping_ms } else { 0 }, answer.ping);
    match answer.is_stream {
        true => stream_steps(&mut steps, answer, behaviour),
        false => plain_steps(&mut steps, answer, behaviour),
    }
    Box::pin(stream::unfold((steps.into_iter(), guard), |(mut steps, guard)| async move {
        loop {
            match steps.next()? {
                Step::Send(bytes) => return Some((Ok(bytes), (steps, guard))),
                Step::Wait(gap) => tokio::time::sleep(gap).await,
                Step::Stall => std::future::pending().await,
                Step::Break => {
                    let fault = SendFault::Broken("connection reset in the body".into());
                    return Some((Err(fault), (Vec::new().into_iter(), guard)));
                }
            }
        }
    }))
}

/// Waits for some milliseconds, and says something every `ping` of them.
fn wait(steps: &mut Vec<Step>, mut milliseconds: u64, ping: u64, says: &'static str) {
    while ping > 0 && milliseconds > ping {
        steps.extend([Step::Wait(Duration::from_millis(ping)), Step::Send(says.into())]);
        milliseconds -= ping;
    }
    if milliseconds > 0 {
        steps.push(Step::Wait(Duration::from_millis(milliseconds)));
    }
}

fn plain_steps(steps: &mut Vec<Step>, answer: Answer, behaviour: &Behaviour) {
    let whole: Vec<u8> = answer.pieces.into_iter().flat_map(|piece| piece.bytes().to_vec()).collect();
    let half = Bytes::copy_from_slice(&whole[..whole.len() / 2]);
    match behaviour.fault {
        FaultKind::Cut => steps.extend([Step::Send(half), Step::Break]),
        FaultKind::EarlyEnd | FaultKind::Garbage => steps.push(Step::Send(half)),
        FaultKind::Stall => steps.extend([Step::Send(half), Step::Stall]),
        FaultKind::ErrorInBody => steps.push(Step::Send(answer.error.into())),
        _ => steps.push(Step::Send(whole.into())),
    }
}

fn stream_steps(steps: &mut Vec<Step>, answer: Answer, behaviour: &Behaviour) {
    let error = |data: &str| Step::Send(format!("{}data: {data}\n\n", answer.error_name).into());
    if behaviour.fault == FaultKind::ErrorInBody {
        steps.push(error(answer.error));
        return;
    }
    for (index, piece) in answer.pieces.into_iter().enumerate() {
        if index == behaviour.after_events {
            match behaviour.fault {
                FaultKind::Cut => steps.push(Step::Break),
                FaultKind::ErrorEvent => {
                    steps.push(error(behaviour.body.as_deref().unwrap_or(answer.error)));
                    return;
                }
                FaultKind::Stall => steps.push(Step::Stall),
                FaultKind::Garbage => steps.push(Step::Send("data: {\"choices\": [{\"delta\n\n".into())),
                _ => {}
            }
            if behaviour.fault == FaultKind::EarlyEnd {
                return;
            }
        }
        if behaviour.fault == FaultKind::NoDone && matches!(piece, Piece::Done(_)) {
            continue;
        }
        if index > 0 {
            wait(steps, behaviour.gap_ms, behaviour.ping_ms, answer.ping);
        }
        steps.push(Step::Send(piece.bytes().clone()));
    }
}
