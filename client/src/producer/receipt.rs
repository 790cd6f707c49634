//! What tells when a record is on disk.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::{Error, Position};

/// Completes when its record is on disk or has failed. Dropping it changes nothing for the record.
#[derive(Debug)]
#[must_use = "tells whether the record was written"]
pub struct Receipt {
    result: Option<Result<Position, Error>>,
}

impl Future for Receipt {
    type Output = Result<Position, Error>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.result.take() {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }
}
