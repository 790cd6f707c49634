//! `CommitService` of the fake broker: everything or nothing.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tonic::{Request, Response, Status};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::append_records::Expectation;
use towpath_proto::v1::commit_service_server::CommitService;
use towpath_proto::wire;
use towpath_proto::wire::operation::Operation as Kind;

use super::{Shared, State};

/// What to do with a commit instead of what should be done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OnCommit {
    /// Do it after this time.
    Later(Duration),
    /// Do it and cut the connection before the answer.
    CommitAndCut,
    /// Cut the connection before anything is done.
    Cut,
    /// Refuse it.
    Refuse(ErrorReason),
}

#[derive(Debug, Clone)]
pub(crate) struct Commits(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl CommitService for Commits {
    async fn commit(
        &self,
        request: Request<wire::CommitRequest>,
    ) -> Result<Response<v1::CommitResponse>, Status> {
        self.0.called("commit");
        let request = request.into_inner();
        let on_commit = self.0.state().on_commit.pop_front();
        match on_commit {
            Some(OnCommit::Later(time)) => tokio::time::sleep(time).await,
            Some(OnCommit::Refuse(reason)) => return Err(Problem::new(reason, "no").into()),
            Some(OnCommit::Cut) => self.0.cut(),
            Some(OnCommit::CommitAndCut) | None => {}
        }
        if !matches!(on_commit, Some(OnCommit::Cut)) {
            let done = carry_out_once(&mut self.0.state(), &request);
            if !matches!(on_commit, Some(OnCommit::CommitAndCut)) {
                return Ok(Response::new(done?));
            }
            self.0.cut();
        }
        std::future::pending().await
    }
}

/// One that was carried out before is answered as it was.
fn carry_out_once(
    state: &mut State,
    request: &wire::CommitRequest,
) -> Result<v1::CommitResponse, Problem> {
    let key = &request.idempotency_key;
    if let Some(before) = state.remembered_commits.get(key) {
        return Ok(v1::CommitResponse {
            is_repeated: true,
            ..before.clone()
        });
    }
    let done = carry_out(state, request)?;
    if !key.is_empty() {
        state.remembered_commits.insert(key.clone(), done.clone());
    }
    Ok(done)
}

fn carry_out(
    state: &mut State,
    request: &wire::CommitRequest,
) -> Result<v1::CommitResponse, Problem> {
    state
        .commits
        .push(request.operations.iter().map(describe).collect());
    for (number, operation) in request.operations.iter().enumerate() {
        check(state, operation).map_err(|problem| problem.with("operation", number))?;
    }
    let operations = request.operations.iter();
    let results = operations.map(|operation| v1::OperationResult {
        positions: carry_out_one(state, operation),
    });
    Ok(v1::CommitResponse {
        results: results.collect(),
        lsn: state.log.lsn,
        commit_time_ms: 1000,
        is_repeated: false,
    })
}

fn check(state: &mut State, operation: &wire::Operation) -> Result<(), Problem> {
    match operation.operation.as_ref().unwrap() {
        Kind::Append(append) => {
            state.log.find(&append.topic, None)?;
            let end = state
                .log
                .partition(&append.topic, append.partition.unwrap_or(0))
                .end_offset();
            match append.expectation {
                Some(Expectation::ExpectedOffset(expected)) if expected != end => {
                    let problem = Problem::new(ErrorReason::ExpectedOffsetMismatch, "no");
                    Err(problem.with("end_offset", end))
                }
                Some(Expectation::ExpectedVersion(expected)) => {
                    let first = v1::Record::decode(append.records[0].clone()).unwrap();
                    let key = first.key.unwrap();
                    let current = state.log.key_version(&append.topic, &key);
                    if current == expected {
                        return Ok(());
                    }
                    let problem = Problem::new(ErrorReason::ExpectedVersionMismatch, "no");
                    let problem = problem.with("expected_version", expected);
                    Err(problem.with("current_version", current))
                }
                _ => Ok(()),
            }
        }
        Kind::Offsets(offsets) => {
            for it in &offsets.offsets {
                let place = (it.topic.clone(), it.partition);
                let committed = state.group.committed.get(&place).copied().unwrap_or(0);
                if it.offset <= committed {
                    let problem = Problem::new(ErrorReason::ExpectedOffsetMismatch, "no");
                    return Err(problem.with("committed_offset", committed));
                }
            }
            Ok(())
        }
        Kind::Settle(settle) => {
            let subscription = &state.subscriptions[&settle.subscription];
            let settlement = settle.settlement.as_ref().unwrap();
            match subscription.first_expired(settlement) {
                None => Ok(()),
                Some(offset) => {
                    let problem = Problem::new(ErrorReason::LeaseExpired, "not any more");
                    Err(problem.with("offset", offset))
                }
            }
        }
    }
}

fn carry_out_one(state: &mut State, operation: &wire::Operation) -> Vec<v1::RecordPosition> {
    match operation.operation.as_ref().unwrap() {
        Kind::Append(append) => {
            let partition = append.partition.unwrap_or(0);
            let records = append.records.iter().map(|encoded| {
                let record = v1::Record::decode(encoded.clone()).unwrap();
                let appended = state.log.append_one(&append.topic, partition, record);
                appended.unwrap()
            });
            records.collect()
        }
        Kind::Offsets(offsets) => {
            for it in &offsets.offsets {
                let place = (it.topic.clone(), it.partition);
                state.group.committed.insert(place, it.offset);
            }
            Vec::new()
        }
        Kind::Settle(settle) => {
            let subscription = state.subscriptions.get_mut(&settle.subscription);
            // Who is to hear of it hears it when something else happens: nothing orders the two.
            subscription
                .unwrap()
                .settle(settle.settlement.as_ref().unwrap());
            Vec::new()
        }
    }
}

/// An operation in a word, with what tells it from others.
fn describe(operation: &wire::Operation) -> String {
    match operation.operation.as_ref().unwrap() {
        Kind::Append(append) => format!("append {} x{}", append.topic, append.records.len()),
        Kind::Offsets(offsets) => {
            let offsets = offsets.offsets.iter();
            let offsets: Vec<_> = offsets
                .map(|it| format!("{}/{}@{}", it.topic, it.partition, it.offset))
                .collect();
            format!("offsets {}", offsets.join(" "))
        }
        Kind::Settle(settle) => {
            let settlement = settle.settlement.as_ref().unwrap();
            let ranges = settlement.ranges.iter();
            let ranges: Vec<_> = ranges
                .map(|it| format!("{}..{}", it.start, it.end))
                .collect();
            format!("settle {} {}", settle.subscription, ranges.join(" "))
        }
    }
}
