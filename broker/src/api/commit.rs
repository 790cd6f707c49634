//! The service of commits: several things as one entry.

mod key;
mod records;
mod schedules;
mod settlements;
mod told;
mod wish;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};
use towpath_proto::limits::OPERATIONS_PER_COMMIT_MAX;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::commit_service_server::CommitService;
use towpath_proto::wire::CommitRequest;

use super::{InFlight, Shared, convert, index, placement, schedule, status, subscription};
use crate::core::{CommitKey, CommitRefused, CommitWish};
use crate::memory::MessageMemory;
use crate::runtime::command::{
    CarriedFacts, CommandError, CommitCommand, ControlCommand, DataCommand, Permits, Published,
};
use crate::runtime::index_view::IndexSnapshot;
use records::Records;
use schedules::Schedules;
use told::Told;
use wish::Reasons;

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
    let key = key::read(shared, &request.idempotency_key, &request.operations).await?;
    let named = key.as_ref().map(|(key, _)| key.clone());
    let prepared = Prepared::new(shared, request, received).await;
    let (prepared, named) = match (prepared, named) {
        (Ok(prepared), named) => (prepared, named),
        // What it rests on may be gone since it was carried out.
        (Err(problem), Some(named)) => return repeated(shared, named, problem).await,
        (Err(problem), None) => return Err(problem),
    };
    let Prepared {
        mut wish,
        payloads,
        schedule_snapshot,
        facts,
        told,
        reasons,
        permits,
    } = prepared;
    wish.key = named.map(|key| CommitKey {
        told: told.to_bytes(),
        ..key
    });
    let offsets = wish.offsets.clone();
    let (answer, committed) = oneshot::channel();
    shared.push(DataCommand::Commit(Box::new(CommitCommand {
        wish,
        payloads,
        facts,
        snapshot: key.map(|(_, snapshot)| snapshot),
        schedule_snapshot,
        answer,
        permits,
    })));
    let committed = committed.await.unwrap_or(Err(CommandError::Failed));
    let committed = committed
        .map_err(|error| status::command_failed(error, |refused| reasons.problem(refused)))?;
    for it in &offsets {
        let members = &shared.members;
        members.note_committed(&it.group, it.member, &it.commits);
    }
    let is_repeated = committed.repeated.is_some();
    let before = committed.repeated.and_then(Told::from_bytes);
    let schedules = committed.schedules;
    let Published {
        base_offsets,
        unwritten,
        lsn,
        append_time_ms,
    } = committed.published;
    Ok(v1::CommitResponse {
        results: before
            .unwrap_or(told)
            .results(&base_offsets, &unwritten, &schedules),
        lsn: lsn.get(),
        commit_time_ms: append_time_ms,
        is_repeated,
    })
}

/// The answer to a commit that cannot be carried out now, if it was before.
async fn repeated(
    shared: &Shared,
    key: CommitKey,
    problem: Problem,
) -> Result<v1::CommitResponse, Problem> {
    let found = shared.control(|answer| ControlCommand::FindCommit { key, answer });
    let found = found.await.map_err(|error| {
        status::command_failed(error, |refused: CommitRefused| {
            Reasons::default().problem(refused)
        })
    })?;
    let Some(before) = found else {
        return Err(problem);
    };
    let told = Told::from_bytes(before.told).unwrap_or_default();
    Ok(v1::CommitResponse {
        results: told.results(&before.base_offsets, &before.unwritten, &before.schedules),
        lsn: before.lsn.get(),
        commit_time_ms: before.time_ms,
        is_repeated: true,
    })
}

/// A request that was checked, as far as that can be done here.
struct Prepared {
    wish: CommitWish,
    payloads: Vec<Bytes>,
    schedule_snapshot: Option<IndexSnapshot>,
    facts: Option<Box<CarriedFacts>>,
    told: Told,
    reasons: Reasons,
    permits: Permits,
}

impl Prepared {
    async fn new(
        shared: &Shared,
        request: CommitRequest,
        received: Option<MessageMemory>,
    ) -> Result<Self, Problem> {
        let mut records = Records::place(shared, &request.operations)?;
        let schedules = Schedules::place(shared, &request.operations)?;
        records.check_with(schedules.size_bytes())?;
        let mut wish = wish::read(shared, &request.operations).await?;
        wish.expectations = records.take_expectations();
        let memory_bytes = records.memory_bytes() + schedules.memory_bytes();
        let permit = InFlight::take(&shared.in_flight.all, memory_bytes).await;
        let record_count = records.record_count() + schedules.record_count();
        let tally = Some(shared.tally(record_count));
        let (scheduled, schedule_snapshot) = schedules.read(shared, &request.operations).await?;
        wish.schedules = scheduled;
        let (appends, payloads) = records.encode(&request.operations)?;
        let facts = records.look_at(shared, &appends, &payloads).await?;
        wish.appends = appends;
        let told = Told::of(&wish, records.placed());
        let reasons = Reasons::of(&wish, records.placed(), &request.operations, shared);
        // The batches are copies: from here on the permit stands for all that is held.
        drop((request, received));
        Ok(Self {
            wish,
            payloads,
            schedule_snapshot,
            facts,
            told,
            reasons,
            permits: Permits {
                held: Vec::from_iter(permit),
                tally,
            },
        })
    }
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
