//! Looking at dead letters.

use towpath_proto::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_storage::{Offset, OffsetRange};

use super::filter::Filter;
use super::scan::Scan;
use super::{letters_of, status};
use crate::api::Shared;
use crate::core::DeadLetterState;
use crate::runtime::subscription_command::DEAD_LETTERS_LOOKED_AT_MAX;

/// Dead letters that one call goes through: a filter that takes few gives short pages.
const LOOKED_AT_MAX: usize = 20_000;
/// Most bytes of values in one page, about.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Lists a page: it begins where the token says, which is a partition and an offset.
pub(super) async fn list(
    shared: &Shared,
    request: &v1::ListDeadLettersRequest,
) -> Result<v1::ListDeadLettersResponse, Problem> {
    let letters = letters_of(shared, &request.subscription).await?;
    let filter = Filter::read(request.filter.clone(), &letters)?;
    let state = match v1::DeadLetterState::try_from(request.state) {
        Ok(v1::DeadLetterState::Unspecified) => None,
        Ok(v1::DeadLetterState::Dead) => Some(DeadLetterState::Dead),
        Ok(v1::DeadLetterState::Redriven) => Some(DeadLetterState::Redriven),
        Err(_unknown) => {
            let message = "this broker does not know the state";
            return Err(Problem::invalid_field("state", message));
        }
    };
    let (first, mut start) = read_token(&request.page_token)?;
    let count_max = match request.page_size {
        0 => PAGE_SIZE_DEFAULT,
        size => size.min(PAGE_SIZE_MAX),
    } as usize;
    let value_bytes_max = request.value_bytes_max as usize;
    let mut response = v1::ListDeadLettersResponse::default();
    let (mut looked_at, mut bytes) = (0, 0);
    let partition_count = crate::api::convert::partition_count(&letters.topic);
    for partition in first..partition_count {
        let end = letters.topic.partition(partition);
        let end = end.map_or(Offset::ZERO, |handle| handle.log().end());
        let range = OffsetRange { start, end };
        start = Offset::ZERO;
        if !filter.takes_partition(partition) {
            continue;
        }
        let mut scan = Scan::new(shared, &letters, partition, range);
        loop {
            let room = count_max - response.dead_letters.len();
            let Some(page) = scan.next(room.min(DEAD_LETTERS_LOOKED_AT_MAX)).await? else {
                break;
            };
            looked_at += page.letters.len().max(1);
            for letter in page.letters {
                if filter.takes(&letter) && state.is_none_or(|it| it == letter.open.state) {
                    let told = letter.told(value_bytes_max);
                    bytes += told
                        .record
                        .iter()
                        .map(prost::Message::encoded_len)
                        .sum::<usize>();
                    response.dead_letters.push(told);
                }
            }
            let is_full = response.dead_letters.len() >= count_max || bytes > PAGE_BYTES_MAX;
            if is_full || looked_at >= LOOKED_AT_MAX {
                response.next_page_token = format!("{partition}/{}", page.next);
                return Ok(response);
            }
        }
    }
    Ok(response)
}

fn read_token(token: &str) -> Result<(u32, Offset), Problem> {
    let read = || {
        let (partition, offset) = token.split_once('/')?;
        Some((partition.parse().ok()?, Offset::new(offset.parse().ok()?)))
    };
    match token {
        "" => Ok((0, Offset::ZERO)),
        _ => read().ok_or_else(|| {
            let message = "page token is not one that this broker gave";
            Problem::invalid_field("page_token", message)
        }),
    }
}

/// Shows one.
pub(super) async fn get(
    shared: &Shared,
    request: &v1::GetDeadLetterRequest,
) -> Result<v1::GetDeadLetterResponse, Problem> {
    let letters = letters_of(shared, &request.subscription).await?;
    let v1::DeadLetterRef { partition, offset } = request.letter.unwrap_or_default();
    let handle = letters.topic.partition(partition).ok_or_else(|| {
        let count = crate::api::convert::partition_count(&letters.topic);
        status::partition_not_found(letters.topic.name(), partition, count)
    })?;
    let not_found = || status::dead_letter_not_found(&letters.name, partition, offset);
    let start = Offset::new(offset);
    if start >= handle.log().end() {
        return Err(not_found());
    }
    let range = OffsetRange {
        start,
        end: start.advance(1),
    };
    let page = Scan::new(shared, &letters, partition, range)
        .next(1)
        .await?;
    let letter = page.and_then(|page| page.letters.into_iter().next());
    let letter = letter.ok_or_else(not_found)?;
    Ok(v1::GetDeadLetterResponse {
        dead_letter: Some(letter.told(usize::MAX)),
    })
}
