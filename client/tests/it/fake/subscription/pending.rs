//! What the fake broker tells of single records.

use towpath_proto::v1;

/// Three pages, the second of which is empty.
pub(super) fn page(request: &v1::ListPendingRequest) -> v1::ListPendingResponse {
    let (offsets, next) = match request.page_token.as_str() {
        "" => (vec![1, 2], "second"),
        "second" => (Vec::new(), "third"),
        _ => (vec![3], ""),
    };
    let records = offsets.into_iter().map(|offset| v1::PendingRecord {
        partition: request.partitions.first().copied().unwrap_or(7),
        offset,
        state: request.state,
        attempt: 2,
        ..v1::PendingRecord::default()
    });
    v1::ListPendingResponse {
        records: records.collect(),
        next_page_token: next.to_owned(),
    }
}

/// A record with everything that there is to say of one.
pub(super) fn explanation(request: &v1::ExplainRecordRequest) -> v1::ExplainRecordResponse {
    let record = v1::PendingRecord {
        partition: request.partition,
        offset: request.offset,
        state: v1::RecordState::InFlight.into(),
        attempt: 3,
        consumer_id: vec![0xab; 16].into(),
        client_name: "worker".to_owned(),
        delivery: 9,
        delivery_time_ms: 1_000,
        deadline_ms: 2_000,
        is_started: true,
        next_attempt_ms: 3_000,
        failure_count: 2,
        failures: vec![v1::FailedAttempt {
            time_ms: 500,
            reason: "no".to_owned(),
        }],
        behind_offset: Some(4),
        append_time_ms: 100,
        record_bytes: 12,
        death_reason: "never".to_owned(),
        is_redriven: false,
        is_suspect: true,
    };
    v1::ExplainRecordResponse {
        record: Some(record.clone()),
        obstacles: vec![v1::ObstacleDetail {
            obstacle: v1::DeliveryObstacle::Key.into(),
            detail: "the record at offset 4".to_owned(),
        }],
        filter_verdict: v1::FilterVerdict::Unjudged.into(),
        filter_detail: "its body is not JSON".to_owned(),
        filter: "json.total > 1".to_owned(),
        dead_letter_topic: "billing.dlq".to_owned(),
        dead_letter_offset: Some(0),
        redriven: Some(v1::PendingRecord {
            is_redriven: true,
            ..record
        }),
        note: "see there".to_owned(),
    }
}
