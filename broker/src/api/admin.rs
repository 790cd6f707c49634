//! The service that tells about the broker itself.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use towpath_proto::limits;
use towpath_proto::v1::admin_service_server::AdminService;
use towpath_proto::v1::{GetServerInfoRequest, GetServerInfoResponse};

use super::Shared;

/// What an acknowledgement promises.
const DURABILITY: &str =
    "acknowledged when written to the journal and synced to disk (fdatasync, group commit)";

/// Answers `AdminService`.
#[derive(Debug)]
pub(super) struct AdminApi {
    shared: Arc<Shared>,
}

impl AdminApi {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn get_server_info(
        &self,
        _: Request<GetServerInfoRequest>,
    ) -> Result<Response<GetServerInfoResponse>, Status> {
        let Shared {
            identity,
            start_time_ms,
            ..
        } = &*self.shared;
        Ok(Response::new(GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            broker_id: identity.broker_id.to_string(),
            incarnation: identity.incarnation,
            start_time_ms: *start_time_ms,
            durability: DURABILITY.to_owned(),
            limits: Some(limits::published()),
            lsn: self.shared.published().durable().get(),
        }))
    }
}
