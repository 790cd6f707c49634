//! `TopicService` and `AdminService` of the fake broker.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::admin_service_server::AdminService;
use towpath_proto::v1::topic_service_server::TopicService;

use super::Shared;
use super::fetch::start_of;
use super::log::StoredTopic;

#[derive(Debug, Clone)]
pub(crate) struct Control(pub(crate) Arc<Shared>);

impl Control {
    fn called(&self, call: &'static str) -> Result<(), Status> {
        self.0.called(call);
        match self.0.state().on_call.pop_front() {
            Some(reason) => Err(Problem::new(reason, "as the test wants").into()),
            None => Ok(()),
        }
    }
}

#[tonic::async_trait]
impl TopicService for Control {
    async fn create_topic(
        &self,
        request: Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::CreateTopicResponse>, Status> {
        self.called("create_topic")?;
        let request = request.into_inner();
        let mut state = self.0.state();
        if state.log.topics.contains_key(&request.name) {
            let problem = Problem::new(ErrorReason::TopicExists, "there is one");
            return Err(problem.with("topic", &request.name).into());
        }
        let partition_count = match request.partition_count {
            0 => 8,
            count => count,
        };
        state.log.create(&request.name, partition_count);
        state.log.find_mut(&request.name, None)?.config = request.config.unwrap_or_default();
        let topic = describe(&request.name, &state.log.topics[&request.name], false);
        Ok(Response::new(v1::CreateTopicResponse {
            topic: Some(topic),
        }))
    }

    async fn get_topic(
        &self,
        request: Request<v1::GetTopicRequest>,
    ) -> Result<Response<v1::GetTopicResponse>, Status> {
        self.called("get_topic")?;
        let name = request.into_inner().name;
        let state = self.0.state();
        let topic = describe(&name, state.log.find(&name, None)?, true);
        Ok(Response::new(v1::GetTopicResponse {
            topic: Some(topic),
            lsn: state.log.lsn,
        }))
    }

    async fn list_topics(
        &self,
        request: Request<v1::ListTopicsRequest>,
    ) -> Result<Response<v1::ListTopicsResponse>, Status> {
        self.called("list_topics")?;
        let request = request.into_inner();
        let state = self.0.state();
        let is_listed = |name: &str| {
            name.starts_with(&request.name_prefix) && name > request.page_token.as_str()
        };
        let all = state.log.topics.iter().filter(|(name, _)| is_listed(name));
        // Pages of two, whatever was asked for.
        let mut topics: Vec<_> = all.map(|(name, it)| describe(name, it, false)).collect();
        let has_more = topics.len() > 2;
        topics.truncate(2);
        let last = topics.last().filter(|_| has_more);
        Ok(Response::new(v1::ListTopicsResponse {
            next_page_token: last.map(|it| it.name.clone()).unwrap_or_default(),
            topics,
        }))
    }

    async fn delete_topic(
        &self,
        request: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        self.called("delete_topic")?;
        let request = request.into_inner();
        let mut state = self.0.state();
        let found = state.log.find(&request.name, request.topic_id)?;
        let topic = describe(&request.name, found, false);
        if !request.validate_only {
            state.log.topics.remove(&request.name);
        }
        Ok(Response::new(v1::DeleteTopicResponse {
            topic: Some(topic),
        }))
    }

    async fn update_topic(
        &self,
        request: Request<v1::UpdateTopicRequest>,
    ) -> Result<Response<v1::UpdateTopicResponse>, Status> {
        self.called("update_topic")?;
        let request = request.into_inner();
        let mut state = self.0.state();
        let stored = state.log.find_mut(&request.name, None)?;
        if !request.etag.is_empty() && request.etag != stored.etag() {
            let problem = Problem::new(ErrorReason::EtagMismatch, "changed by someone else");
            return Err(problem.with("etag", stored.etag()).into());
        }
        let given = request.config.unwrap_or_default();
        let mut config = stored.config;
        for path in request.update_mask.unwrap_or_default().paths {
            match path.as_str() {
                "retention_age_ms" => config.retention_age_ms = given.retention_age_ms,
                "retention_bytes" => config.retention_bytes = given.retention_bytes,
                "dedupe_window_ms" => config.dedupe_window_ms = given.dedupe_window_ms,
                unknown => panic!("{unknown}"),
            }
        }
        if !request.validate_only && config != stored.config {
            stored.config = config;
            stored.revision += 1;
        }
        let topic = v1::Topic {
            config: Some(config),
            ..describe(&request.name, stored, false)
        };
        Ok(Response::new(v1::UpdateTopicResponse {
            topic: Some(topic),
        }))
    }

    async fn compact_topic(
        &self,
        request: Request<v1::CompactTopicRequest>,
    ) -> Result<Response<v1::CompactTopicResponse>, Status> {
        self.called("compact_topic")?;
        let request = request.into_inner();
        let mut state = self.0.state();
        let stored = state.log.find_mut(&request.name, request.topic_id)?;
        Ok(Response::new(v1::CompactTopicResponse {
            topic_id: stored.topic_id,
            uncompacted_bytes: 77,
        }))
    }

    async fn trim_topic(
        &self,
        request: Request<v1::TrimTopicRequest>,
    ) -> Result<Response<v1::TrimTopicResponse>, Status> {
        self.called("trim_topic")?;
        let request = request.into_inner();
        let mut state = self.0.state();
        let stored = state.log.find_mut(&request.name, request.topic_id)?;
        let before = v1::FetchSource {
            start: request.before,
            ..v1::FetchSource::default()
        };
        let wanted = (0..).zip(&mut stored.partitions).filter(|(partition, _)| {
            request.partitions.is_empty() || request.partitions.contains(partition)
        });
        let mut partitions = Vec::new();
        for (partition, stored) in wanted {
            let offset = start_of(&before, partition, stored);
            if offset > stored.log_start_offset {
                stored.check(partition, offset)?;
            }
            let kept = stored.log_start_offset;
            let trimmed = stored.trim(offset);
            if request.validate_only {
                stored.log_start_offset = kept;
            }
            partitions.extend(
                trimmed
                    .is_some()
                    .then_some(v1::TrimmedPartition { partition, trimmed }),
            );
        }
        let topic_id = stored.topic_id;
        drop(state);
        self.0.changed();
        Ok(Response::new(v1::TrimTopicResponse {
            partitions,
            topic_id,
        }))
    }
}

#[tonic::async_trait]
impl AdminService for Control {
    async fn get_server_info(
        &self,
        _: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        self.called("get_server_info")?;
        let state = self.0.state();
        Ok(Response::new(v1::GetServerInfoResponse {
            version: "0.1.0".to_owned(),
            broker_id: state.broker_id(),
            incarnation: 3,
            start_time_ms: 1000,
            durability: "none: a fake".to_owned(),
            limits: Some(towpath_proto::limits::published()),
            lsn: state.log.lsn,
        }))
    }
}

fn describe(name: &str, topic: &StoredTopic, has_partitions: bool) -> v1::Topic {
    let partitions = (0..).zip(&topic.partitions).filter(|_| has_partitions);
    let partitions = partitions.map(|(partition, it)| v1::TopicPartition {
        partition,
        log_start_offset: it.log_start_offset,
        end_offset: it.end_offset(),
        size_bytes: 0,
        last_append_time_ms: None,
    });
    v1::Topic {
        name: name.to_owned(),
        topic_id: topic.topic_id,
        partition_count: u32::try_from(topic.partitions.len()).unwrap(),
        partitions: partitions.collect(),
        record_count: topic
            .partitions
            .iter()
            .map(|it| it.end_offset() - it.log_start_offset)
            .sum(),
        size_bytes: 0,
        create_time_ms: 1000,
        config: Some(topic.config),
        etag: topic.etag(),
    }
}
