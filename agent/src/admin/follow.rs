//! A response body of flows, one JSON object a line: those kept, then those to come. The
//! connection owns it, so it ends with the client.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Bytes;
use hyper::body::{Body, Frame};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::observe::{flow_filter::FlowFilter, flow_record::FlowRecord, flow_view::FlowView};

/// A line of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    /// The follower was too slow.
    Missed {
        /// So many flows are lost to it.
        missed: u64,
    },
    /// A flow.
    Flow(Box<FlowView>),
}

impl Line {
    fn of(record: &FlowRecord) -> Self {
        Self::Flow(Box::new(record.into()))
    }
}

type Flow = Arc<FlowRecord>;
type Next = Pin<Box<dyn Future<Output = (Result<Flow, RecvError>, Receiver<Flow>)> + Send>>;

/// The body.
pub(super) struct Lines {
    kept: VecDeque<Flow>,
    next: Option<Next>,
    filter: FlowFilter,
}

impl Lines {
    pub(super) fn new(kept: Vec<Flow>, to_come: Receiver<Flow>, filter: FlowFilter) -> Self {
        let mut kept: VecDeque<Flow> = kept.into();
        kept.retain(|flow| filter.wants(flow));
        kept.drain(..kept.len().saturating_sub(filter.last.unwrap_or(usize::MAX)));
        Self { kept, next: filter.follow.then(|| next(to_come)), filter }
    }
}

fn next(mut receiver: Receiver<Flow>) -> Next {
    Box::pin(async move { (receiver.recv().await, receiver) })
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(flow) = self.kept.pop_front() {
            return Poll::Ready(frame(&Line::of(&flow)));
        }
        while let Some(waiting) = &mut self.next {
            let (outcome, channel) = ready!(waiting.as_mut().poll(cx));
            self.next = Some(next(channel));
            match outcome {
                Ok(flow) if self.filter.wants(&flow) => {
                    return Poll::Ready(frame(&Line::of(&flow)));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    return Poll::Ready(frame(&Line::Missed { missed }));
                }
                Err(RecvError::Closed) => self.next = None,
            }
        }
        Poll::Ready(None)
    }
}

fn frame(line: &Line) -> Option<Result<Frame<Bytes>, Infallible>> {
    // A record holds strings and numbers only, which JSON can always say.
    let mut text = serde_json::to_vec(line).ok()?;
    text.push(b'\n');
    Some(Ok(Frame::data(text.into())))
}
