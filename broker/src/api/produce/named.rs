//! Producers with a name: beginning their lives, listing and deleting them.

use towpath_proto::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use towpath_proto::names::ProducerName;
use towpath_proto::problem::Problem;
use towpath_proto::v1;

use super::{Shared, status};
use crate::core::{NamedProducer, ProducerLife};
use crate::runtime::command::{CommandError, ControlCommand};
use crate::runtime::producer_command::{ProducerCommand, ProducerPage};

/// Begins a life.
pub(super) async fn open(
    shared: &Shared,
    request: &v1::OpenProducerRequest,
) -> Result<v1::OpenProducerResponse, Problem> {
    shared.refuse_when_draining()?;
    let name = producer_name("name", &request.name)?;
    let opened = shared
        .control(|answer| ControlCommand::Producer(ProducerCommand::Open { name, answer }))
        .await;
    let ProducerLife { id, epoch } =
        opened.map_err(|error| status::command_failed(error, status::open_producer_refused))?;
    Ok(v1::OpenProducerResponse {
        producer_id: id.as_bytes().to_vec().into(),
        producer_epoch: epoch,
    })
}

/// A page begins behind the name that is the token of the page before it.
pub(super) async fn list(
    shared: &Shared,
    request: v1::ListProducersRequest,
) -> Result<v1::ListProducersResponse, Problem> {
    let after = match request.page_token.as_str() {
        "" => None,
        token => Some(parse_page_token(token)?),
    };
    let count_max = match request.page_size {
        0 => PAGE_SIZE_DEFAULT,
        size => size.min(PAGE_SIZE_MAX),
    };
    let page = page(shared, after, request.name_prefix, count_max as usize).await?;
    let last = page.producers.last().map(|it| it.name().to_string());
    Ok(v1::ListProducersResponse {
        producers: page.producers.iter().map(describe).collect(),
        next_page_token: last.filter(|_| page.has_more).unwrap_or_default(),
    })
}

/// Deletes a name.
pub(super) async fn delete(
    shared: &Shared,
    request: &v1::DeleteProducerRequest,
) -> Result<v1::DeleteProducerResponse, Problem> {
    shared.refuse_when_draining()?;
    let name = producer_name("name", &request.name)?;
    let deleted = shared.control(|answer| {
        ControlCommand::Producer(ProducerCommand::Delete {
            name: name.clone(),
            is_dry_run: request.validate_only,
            answer,
        })
    });
    let deleted = match deleted.await {
        Err(CommandError::Refused(_)) => return Err(not_found(shared, &name).await),
        deleted => deleted,
    };
    let deleted = deleted.map_err(|error| {
        status::command_failed(error, |missing| {
            status::producer_not_among(&missing.name, &[])
        })
    })?;
    Ok(v1::DeleteProducerResponse {
        producer: Some(describe(&deleted)),
    })
}

/// Looks whether another name was meant.
async fn not_found(shared: &Shared, name: &ProducerName) -> Problem {
    let page = page(shared, None, String::new(), PAGE_SIZE_MAX as usize).await;
    let producers = page.map(|page| page.producers).unwrap_or_default();
    status::producer_not_among(name, &producers)
}

async fn page(
    shared: &Shared,
    after: Option<ProducerName>,
    prefix: String,
    count_max: usize,
) -> Result<ProducerPage, Problem> {
    let page = shared.control(|answer| {
        ControlCommand::Producer(ProducerCommand::List {
            after,
            prefix,
            count_max,
            answer,
        })
    });
    page.await
        .map_err(|error| status::command_failed(error, |never| match never {}))
}

fn parse_page_token(token: &str) -> Result<ProducerName, Problem> {
    ProducerName::new(token).map_err(|_not_a_name| {
        Problem::invalid_field("page_token", "page token is not one that this broker gave")
    })
}

/// Reads the name of a producer from the field `field`.
fn producer_name(field: &str, name: &str) -> Result<ProducerName, Problem> {
    ProducerName::new(name).map_err(|error| status::invalid_name(field, error))
}

fn describe(producer: &NamedProducer) -> v1::NamedProducer {
    let ProducerLife { id, epoch } = producer.life();
    v1::NamedProducer {
        name: producer.name().to_string(),
        producer_id: id.as_bytes().to_vec().into(),
        producer_epoch: epoch,
        create_time_ms: producer.create_time_ms(),
        open_time_ms: producer.open_time_ms(),
    }
}
