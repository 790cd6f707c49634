//! The calls about consumer groups.

use towpath_proto::v1;
use towpath_proto::v1::group_service_client::GroupServiceClient;

use super::Admin;
use super::group::{Group, GroupDeletion, GroupSeek, SoughtPartition};
use crate::Error;
use crate::client::Repetition;

/// Consumer groups.
impl Admin {
    /// Shows a group with its members, and how far it is in each partition.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::GroupNotFound`](crate::ErrorReason::GroupNotFound).
    pub async fn group(&self, name: &str) -> Result<Group, Error> {
        let request = v1::GetGroupRequest {
            name: name.to_owned(),
        };
        let call = |channel| {
            let request = request.clone();
            async move { GroupServiceClient::new(channel).get_group(request).await }
        };
        let response = self
            .client
            .call(self.patience, Repetition::Harmless, call)
            .await?;
        let group = response.group;
        Group::from_proto(group.ok_or_else(|| Error::protocol("the answer holds no group"))?)
    }

    /// Lists the groups whose names begin with `prefix`, in the order of their names, without their
    /// members and partitions. Groups that are created or deleted meanwhile may be missing or present.
    ///
    /// # Errors
    ///
    /// Only those of reaching the broker.
    pub async fn groups_with_prefix(&self, prefix: &str) -> Result<Vec<Group>, Error> {
        let mut request = v1::ListGroupsRequest {
            page_size: towpath_proto::limits::PAGE_SIZE_MAX,
            page_token: String::new(),
            name_prefix: prefix.to_owned(),
        };
        let mut groups = Vec::new();
        loop {
            let call = |channel| {
                let request = request.clone();
                async move { GroupServiceClient::new(channel).list_groups(request).await }
            };
            let page = self
                .client
                .call(self.patience, Repetition::Harmless, call)
                .await?;
            for group in page.groups {
                groups.push(Group::from_proto(group)?);
            }
            if page.next_page_token.is_empty() {
                return Ok(groups);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Moves a group to other offsets and returns what that means for each partition; durable when this
    /// returns. Members that are connected go on from there: what they have at hand is lost to them,
    /// and commits of it are refused.
    ///
    /// Repeating a relative seek moves again: after an error of which [`Error::may_have_happened`] is
    /// true, [`Admin::group`] tells where the group is.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::GroupNotFound`](crate::ErrorReason::GroupNotFound),
    /// [`ErrorReason::TopicNotFound`](crate::ErrorReason::TopicNotFound),
    /// [`ErrorReason::PartitionNotFound`](crate::ErrorReason::PartitionNotFound),
    /// [`ErrorReason::OffsetOutOfRange`](crate::ErrorReason::OffsetOutOfRange), and
    /// [`ErrorReason::InvalidArgument`](crate::ErrorReason::InvalidArgument) for what the group does not
    /// read and for [`Start::Offsets`](crate::Start::Offsets).
    pub async fn seek_group(&self, seek: GroupSeek) -> Result<Vec<SoughtPartition>, Error> {
        let request = seek.to_request()?;
        let call = |channel| {
            let request = request.clone();
            async move { GroupServiceClient::new(channel).seek_group(request).await }
        };
        let response = self
            .client
            .call(self.patience, Repetition::AfterNoEffect, call)
            .await?;
        let partitions = response.partitions.iter();
        partitions.map(SoughtPartition::from_proto).collect()
    }

    /// Deletes a group with what it remembers; durable when this returns.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::GroupNotFound`](crate::ErrorReason::GroupNotFound), also when the answer to an
    /// earlier call was lost, and [`ErrorReason::GroupNotEmpty`](crate::ErrorReason::GroupNotEmpty)
    /// while members are connected, unless [`GroupDeletion::force`] was asked for.
    pub async fn delete_group(&self, group: impl Into<GroupDeletion>) -> Result<(), Error> {
        let request = group.into().to_request();
        let call = |channel| {
            let request = request.clone();
            async move { GroupServiceClient::new(channel).delete_group(request).await }
        };
        self.client
            .call(self.patience, Repetition::AfterNoEffect, call)
            .await?;
        Ok(())
    }
}
