//! The service of commits: several things as one entry.

mod records;
mod settlements;
mod wish;

use std::sync::Arc;

use tokio::sync::oneshot;
use tonic::{Request, Response, Status};
use towpath_proto::limits::OPERATIONS_PER_COMMIT_MAX;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::commit_service_server::CommitService;
use towpath_proto::wire::CommitRequest;

use super::{InFlight, Shared, convert, placement, status, subscription};
use crate::memory::MessageMemory;
use crate::runtime::command::{CommandError, CommitCommand, DataCommand, Permits};
use records::Records;

/// Answers `CommitService`.
#[derive(Debug)]
pub(super) struct CommitApi {
    shared: Arc<Shared>,
}

impl CommitApi {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl CommitService for CommitApi {
    async fn commit(
        &self,
        request: Request<CommitRequest>,
    ) -> Result<Response<v1::CommitResponse>, Status> {
        let mut request = request;
        let memory = request.extensions_mut().remove::<MessageMemory>();
        let committed = commit(&self.shared, request.into_inner(), memory).await?;
        Ok(Response::new(committed))
    }
}

/// Carries out operations: all of them or none. `received` is the memory of the request.
async fn commit(
    shared: &Shared,
    request: CommitRequest,
    received: Option<MessageMemory>,
) -> Result<v1::CommitResponse, Problem> {
    shared.refuse_when_draining()?;
    check_count(request.operations.len())?;
    let mut records = Records::place(shared, &request.operations)?;
    let mut wish = wish::read(shared, &request.operations).await?;
    wish.expectations = records.take_expectations();
    let permit = InFlight::take(&shared.in_flight.all, records.memory_bytes()).await;
    let tally = Some(shared.tally(records.record_count()));
    let (appends, payloads) = records.encode(&request.operations)?;
    wish.appends = appends;
    // The batches are copies: from here on the permit stands for all that is held.
    let told = wish::Told::of(&wish, &request.operations, shared);
    drop((request, received));
    let (answer, committed) = oneshot::channel();
    let partitions: Vec<_> = wish.appends.iter().map(|it| it.request.partition).collect();
    shared.push(DataCommand::Commit(Box::new(CommitCommand {
        wish,
        payloads,
        answer,
        permits: Permits {
            held: Vec::from_iter(permit),
            tally,
        },
    })));
    let committed = committed.await.unwrap_or(Err(CommandError::Failed));
    let committed = committed
        .map_err(|error| status::command_failed(error, |refused| told.problem(refused)))?;
    let bases = partitions.into_iter().zip(committed.base_offsets).collect();
    Ok(v1::CommitResponse {
        results: records.results(&bases),
        lsn: committed.lsn.get(),
        commit_time_ms: committed.append_time_ms,
    })
}

fn check_count(count: usize) -> Result<(), Problem> {
    if count == 0 {
        return Err(Problem::invalid_field(
            "operations",
            "there is no operation",
        ));
    }
    if count > OPERATIONS_PER_COMMIT_MAX as usize {
        let message = format!("at most {OPERATIONS_PER_COMMIT_MAX} operations");
        return Err(Problem::invalid_field("operations", message));
    }
    Ok(())
}
