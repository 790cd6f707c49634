//! The service of consumer groups.
//!
//! A Join stream has two halves that do not wait for each other, as a Produce stream has: a task that
//! takes what the member says ([`listener`]), and the response stream, which reads for it and tells it
//! what the sequencer decides ([`teller`]), which waits in a [`mailbox`]. What both know is the [`seat`].

mod join;
mod listener;
mod mailbox;
mod members;
mod seat;
mod seek;
mod show;
mod teller;

pub(super) use join::bounds_of;
pub(crate) use members::Members;
pub(super) use teller::HEARTBEATS_PER_SESSION;

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};
use towpath_proto::names::GroupName;
use towpath_proto::problem::Problem;
use towpath_proto::v1::group_service_server::GroupService;
use towpath_proto::{v1, wire};

use super::{Shared, convert, fetch, status, unreadable};
use crate::memory::{Unread, UnreadShare};
use crate::runtime::command::ControlCommand;
use crate::runtime::group_command::GroupCommand;
use crate::server::{Elsewhere, streamed};

/// Answers `GroupService`.
#[derive(Debug)]
pub(super) struct GroupApi {
    shared: Arc<Shared>,
}

impl GroupApi {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn delete(&self, request: &v1::DeleteGroupRequest) -> Result<(), Problem> {
        let name = group_name("name", &request.name)?;
        self.shared.refuse_when_draining()?;
        let deleted = self.shared.control(|answer| {
            ControlCommand::Group(GroupCommand::Delete {
                name,
                is_forced: request.force,
                is_dry_run: request.validate_only,
                answer,
            })
        });
        let deleted = deleted.await;
        deleted.map_err(|error| status::command_failed(error, status::delete_group_refused))
    }
}

/// Reads the name of a group from the field `field`.
fn group_name(field: &str, name: &str) -> Result<GroupName, Problem> {
    GroupName::new(name).map_err(|error| status::invalid_name(field, error))
}

/// The messages of one Join stream are made when the connection has room for them.
type JoinResponses = Elsewhere<wire::JoinResponse>;

#[tonic::async_trait]
impl GroupService for GroupApi {
    type JoinStream = JoinResponses;

    async fn join(
        &self,
        request: Request<Streaming<v1::JoinRequest>>,
    ) -> Result<Response<JoinResponses>, Status> {
        let mut request = request;
        let share = request.extensions_mut().remove::<UnreadShare>();
        let share = share.ok_or_else(fetch::without_connection)?;
        let memory = Unread::new(&share.0);
        let messages = join::join(&self.shared, request.into_inner(), &memory).await?;
        Ok(streamed(messages, memory))
    }

    async fn get_group(
        &self,
        request: Request<v1::GetGroupRequest>,
    ) -> Result<Response<v1::GetGroupResponse>, Status> {
        let shown = show::get(&self.shared, request.get_ref()).await?;
        Ok(Response::new(shown))
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        let page = show::list(&self.shared, request.into_inner()).await?;
        Ok(Response::new(page))
    }

    async fn seek_group(
        &self,
        request: Request<v1::SeekGroupRequest>,
    ) -> Result<Response<v1::SeekGroupResponse>, Status> {
        let sought = seek::seek(&self.shared, request.into_inner()).await?;
        Ok(Response::new(sought))
    }

    async fn delete_group(
        &self,
        request: Request<v1::DeleteGroupRequest>,
    ) -> Result<Response<v1::DeleteGroupResponse>, Status> {
        self.delete(request.get_ref()).await?;
        Ok(Response::new(v1::DeleteGroupResponse {}))
    }
}
