//! The service that creates, shows, changes and deletes topics.

mod change;

use std::sync::Arc;

use tonic::{Request, Response, Status};
use towpath_proto::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, PARTITION_COUNT_DEFAULT};
use towpath_proto::names::TopicName;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::topic_service_server::TopicService;

use super::{Shared, convert, status};
use crate::core::CreateTopic;
use crate::fetch::Cut;
use crate::runtime::command::ControlCommand;
use crate::runtime::published::PartitionHandle;

/// Answers `TopicService`.
#[derive(Debug)]
pub(super) struct TopicApi {
    shared: Arc<Shared>,
}

impl TopicApi {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn create(&self, request: v1::CreateTopicRequest) -> Result<v1::Topic, Problem> {
        let name = convert::topic_name("name", &request.name)?;
        self.shared.refuse_when_draining()?;
        let partition_count = match request.partition_count {
            0 => PARTITION_COUNT_DEFAULT,
            count => count,
        };
        let wish = CreateTopic {
            name,
            partition_count,
            config: change::config(request.config.as_ref())?,
        };
        let created = self.shared.control(|answer| ControlCommand::CreateTopic {
            wish: wish.clone(),
            is_dry_run: request.validate_only,
            answer,
        });
        match created.await {
            Ok(Some(view)) => Ok(convert::topic(&view)),
            Ok(None) => Ok(convert::validated_topic(&wish)),
            Err(error) => {
                let topics = self.shared.published().topics();
                let refused = |refusal| status::create_refused(refusal, &topics);
                Err(status::command_failed(error, refused))
            }
        }
    }

    fn get(&self, request: &v1::GetTopicRequest) -> Result<v1::GetTopicResponse, Problem> {
        let name = convert::topic_name("name", &request.name)?;
        let view = self.shared.topic(&name)?;
        let logs = || view.partitions().iter().map(PartitionHandle::log);
        let cut = Cut::take(self.shared.published(), logs);
        let partitions: Vec<_> = (0..)
            .zip(logs().zip(&cut.ends))
            .map(|(number, (log, end))| convert::partition(number, log, *end))
            .collect();
        let counts = partitions
            .iter()
            .map(|it| it.end_offset.saturating_sub(it.log_start_offset));
        let topic = v1::Topic {
            record_count: counts.sum(),
            partitions,
            ..convert::topic(&view)
        };
        Ok(v1::GetTopicResponse {
            topic: Some(topic),
            lsn: cut.lsn.get(),
        })
    }

    /// A page begins behind the name that is the token of the page before it.
    fn list(&self, request: &v1::ListTopicsRequest) -> Result<v1::ListTopicsResponse, Problem> {
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(parse_page_token(token)?),
        };
        let page_size = match request.page_size {
            0 => PAGE_SIZE_DEFAULT,
            size => size.min(PAGE_SIZE_MAX),
        };
        let table = self.shared.published().topics();
        let prefix = request.name_prefix.as_str();
        let mut matching = table
            .after(after.as_ref())
            .skip_while(|view| view.name().as_str() < prefix)
            .take_while(|view| view.name().as_str().starts_with(prefix))
            .peekable();
        let topics: Vec<_> = matching
            .by_ref()
            .take(page_size as usize)
            .map(|view| convert::topic(view))
            .collect();
        let last = topics.last().map(|topic| topic.name.clone());
        let next_page_token = last.filter(|_| matching.peek().is_some());
        Ok(v1::ListTopicsResponse {
            topics,
            next_page_token: next_page_token.unwrap_or_default(),
        })
    }

    async fn delete(&self, request: v1::DeleteTopicRequest) -> Result<v1::Topic, Problem> {
        let name = convert::topic_name("name", &request.name)?;
        self.shared.refuse_when_draining()?;
        let deleted = self.shared.control(|answer| ControlCommand::DeleteTopic {
            name,
            topic_id: convert::topic_id(request.topic_id),
            is_dry_run: request.validate_only,
            answer,
        });
        match deleted.await {
            Ok(view) => Ok(convert::topic(&view)),
            Err(error) => {
                let topics = self.shared.published().topics();
                let has_id = request.topic_id.is_some();
                let refused = |refusal| status::delete_refused(refusal, has_id, &topics);
                Err(status::command_failed(error, refused))
            }
        }
    }
}

fn parse_page_token(token: &str) -> Result<TopicName, Problem> {
    TopicName::new(token).map_err(|_not_a_name| {
        Problem::invalid_field("page_token", "page token is not one that this broker gave")
    })
}

#[tonic::async_trait]
impl TopicService for TopicApi {
    async fn create_topic(
        &self,
        request: Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::CreateTopicResponse>, Status> {
        let topic = Some(self.create(request.into_inner()).await?);
        Ok(Response::new(v1::CreateTopicResponse { topic }))
    }

    async fn get_topic(
        &self,
        request: Request<v1::GetTopicRequest>,
    ) -> Result<Response<v1::GetTopicResponse>, Status> {
        Ok(Response::new(self.get(request.get_ref())?))
    }

    async fn list_topics(
        &self,
        request: Request<v1::ListTopicsRequest>,
    ) -> Result<Response<v1::ListTopicsResponse>, Status> {
        Ok(Response::new(self.list(request.get_ref())?))
    }

    async fn update_topic(
        &self,
        request: Request<v1::UpdateTopicRequest>,
    ) -> Result<Response<v1::UpdateTopicResponse>, Status> {
        let topic = Some(change::update(&self.shared, request.into_inner()).await?);
        Ok(Response::new(v1::UpdateTopicResponse { topic }))
    }

    async fn trim_topic(
        &self,
        request: Request<v1::TrimTopicRequest>,
    ) -> Result<Response<v1::TrimTopicResponse>, Status> {
        let trimmed = change::trim(&self.shared, request.into_inner()).await?;
        Ok(Response::new(trimmed))
    }

    async fn compact_topic(
        &self,
        request: Request<v1::CompactTopicRequest>,
    ) -> Result<Response<v1::CompactTopicResponse>, Status> {
        let compacted = change::compact(&self.shared, request.into_inner()).await?;
        Ok(Response::new(compacted))
    }

    async fn delete_topic(
        &self,
        request: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        let topic = Some(self.delete(request.into_inner()).await?);
        Ok(Response::new(v1::DeleteTopicResponse { topic }))
    }
}
