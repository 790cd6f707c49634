//! Groups that come to records that the disk has damaged.

use crate::fetch_damage::broker_with_damaged;
use crate::group_member::{Member, get};
use crate::harness::soon;

#[tokio::test]
async fn a_group_that_stands_before_damage_lags_in_time_as_well() {
    for damaged in [&["second"][..], &["second", "third", "fourth"]] {
        let broker = broker_with_damaged(damaged).await;
        let mut member = Member::join(&broker, 1).await;
        member.owns(2).await;
        member.commit(0, 1).await;
        // It gets older by the clock of the broker.
        let lagging = soon(async {
            loop {
                let partition = get(&broker).await.partitions[0].clone();
                if partition.lag_ms > 0 {
                    return partition;
                }
            }
        });
        assert_eq!(lagging.await.lag_records, 3, "{damaged:?} is lost");
    }
}
