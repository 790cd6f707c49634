//! `Produce`, server side: check each parcel, queue it for the writer, answer with acknowledgements.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::{Context, Poll};

use futures_core::Stream;
use tonic::codegen::BoxFuture;
use tonic::server::StreamingService;
use tonic::{Request, Response, Status, Streaming};

use super::watermark::Watermark;
use super::wire::{Acknowledgement, Parcel};
use super::writer::Arrival;

/// The method, with the writer's queue.
#[derive(Debug, Clone)]
pub(super) struct Produce(pub(super) Sender<Arrival>);

impl StreamingService<Parcel> for Produce {
    type Response = Acknowledgement;
    type ResponseStream = Acknowledgements;
    type Future = BoxFuture<Response<Acknowledgements>, Status>;

    fn call(&mut self, request: Request<Streaming<Parcel>>) -> Self::Future {
        let queue = self.0.clone();
        Box::pin(async move {
            let acks = Arc::new(Watermark::default());
            let answers = Acknowledgements {
                acks: Arc::clone(&acks),
                sent: 0,
            };
            // Ends with its request stream, so nothing has to stop or join it.
            tokio::spawn(async move {
                match receive(request.into_inner(), &queue, &acks).await {
                    Ok(end_sequence) => acks.end_at(end_sequence),
                    Err(status) => acks.fail(status),
                }
            });
            Ok(Response::new(answers))
        })
    }
}

/// Queues every parcel of a stream and returns how many there were.
async fn receive(
    mut parcels: Streaming<Parcel>,
    queue: &Sender<Arrival>,
    acks: &Arc<Watermark>,
) -> Result<u64, Status> {
    let mut next = 0;
    while let Some(Parcel {
        sequence,
        crc,
        payload,
    }) = parcels.message().await?
    {
        if sequence != next {
            let text = format!("sequence gap expected={next} received={sequence}");
            return Err(Status::failed_precondition(text));
        }
        if crc32fast::hash(&payload) != crc {
            return Err(Status::data_loss(format!(
                "wrong checksum sequence={sequence}"
            )));
        }
        queue
            .send(Arrival {
                sequence,
                payload,
                acks: Arc::clone(acks),
            })
            .map_err(|_closed| Status::internal("the writer has stopped"))?;
        next += 1;
    }
    Ok(next)
}

/// The response stream: the newest acknowledgement, whenever it has risen.
#[derive(Debug)]
pub(super) struct Acknowledgements {
    acks: Arc<Watermark>,
    sent: u64,
}

impl Stream for Acknowledgements {
    type Item = Result<Acknowledgement, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let risen = self.acks.poll_above(self.sent, context);
        if let Poll::Ready(Some(Ok(level))) = risen {
            self.sent = level;
        }
        risen.map(|item| {
            item.map(|level| level.map(|end_sequence| Acknowledgement { end_sequence }))
        })
    }
}
