//! Redriving and discarding: going through the letters in steps, and telling after each how far it is.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::Status;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_storage::{Offset, OffsetRange};

use super::filter::Filter;
use super::letter::Letter;
use super::republish::Target;
use super::scan::{Page, Scan};
use super::token::Token;
use super::{Letters, Progress, letters_of, status};
use crate::api::{Shared, convert};
use crate::core::{
    DeadLetter, DeadLetterCounts, DeadLetterState, HashKey, KeyHash, OnDeadLetter,
    REDRIVEN_RECORDS_MAX,
};
use crate::runtime::command::{ControlCommand, REPUBLISHED_RECORDS_MAX};
use crate::runtime::subscription_command::{DeadLetterVerdict, SubscriptionCommand};

/// Longest reason for discarding.
const REASON_BYTES_MAX: usize = 200;
/// How often room is looked for where there is none.
const ROOM_INTERVAL: Duration = Duration::from_millis(200);
/// Dead letters of one partition that are sorted by key at once.
const SORTED_LETTERS_MAX: usize = 1_000_000;

/// What is done with dead letters.
#[derive(Debug)]
enum Deed {
    /// They are delivered again.
    Redrive,
    /// They become records of a topic.
    Republish(Target),
    /// They are settled.
    Discard,
}

/// A call that goes through dead letters.
#[derive(Debug)]
struct Job {
    shared: Arc<Shared>,
    letters: Letters,
    filter: Filter,
    deed: Deed,
    records_per_second_max: u32,
    is_dry_run: bool,
    /// How far it is.
    token: Token,
    counts: Counts,
    progress: mpsc::Sender<Result<Told, Status>>,
}

/// What was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    done: u64,
    passed: u64,
    /// Left to the consumers that have them.
    kept: u64,
}

/// What is told of a call.
#[derive(Debug)]
struct Told {
    counts: Counts,
    /// None with the last one.
    token: Option<String>,
    waiting_for: String,
}

/// Gives dead letters back, or appends them to a topic.
pub(super) async fn redrive(
    shared: &Arc<Shared>,
    request: v1::RedriveDeadLettersRequest,
) -> Result<Progress<v1::RedriveDeadLettersResponse>, Problem> {
    shared.refuse_when_draining()?;
    let letters = letters_of(shared, &request.subscription).await?;
    let filter = Filter::read(request.filter, &letters)?;
    let deed = match request.to_topic {
        None => Deed::Redrive,
        Some(to) => Deed::Republish(Target::read(shared, to, &filter, &letters).await?),
    };
    let plan = Plan {
        letters,
        filter,
        deed,
        records_per_second_max: request.records_per_second_max,
        is_dry_run: request.validate_only,
    };
    let told = plan.begin(shared, &request.resume_token)?;
    Ok(Box::pin(told.map(|told| {
        let told = told?;
        Ok(v1::RedriveDeadLettersResponse {
            redriven_count: told.counts.done,
            passed_count: told.counts.passed,
            is_done: told.token.is_none(),
            resume_token: told.token.unwrap_or_default(),
            waiting_for: told.waiting_for,
        })
    })))
}

/// Settles dead letters that nobody is to handle.
pub(super) async fn discard(
    shared: &Arc<Shared>,
    request: v1::DiscardDeadLettersRequest,
) -> Result<Progress<v1::DiscardDeadLettersResponse>, Problem> {
    shared.refuse_when_draining()?;
    if request.reason.is_empty() || request.reason.len() > REASON_BYTES_MAX {
        let message = format!("a reason has 1 to {REASON_BYTES_MAX} bytes");
        return Err(Problem::invalid_field("reason", message));
    }
    let letters = letters_of(shared, &request.subscription).await?;
    let filter = Filter::read(request.filter, &letters)?;
    if !request.validate_only {
        tracing::info!(
            subscription = %letters.name,
            reason = %request.reason,
            ?filter,
            "dead letters are being discarded"
        );
    }
    let plan = Plan {
        letters,
        filter,
        deed: Deed::Discard,
        records_per_second_max: 0,
        is_dry_run: request.validate_only,
    };
    let told = plan.begin(shared, &request.resume_token)?;
    Ok(Box::pin(told.map(|told| {
        let told = told?;
        Ok(v1::DiscardDeadLettersResponse {
            discarded_count: told.counts.done,
            kept_count: told.counts.kept,
            is_done: told.token.is_none(),
            resume_token: told.token.unwrap_or_default(),
        })
    })))
}

/// What a call asks for.
struct Plan {
    letters: Letters,
    filter: Filter,
    deed: Deed,
    records_per_second_max: u32,
    is_dry_run: bool,
}

impl Plan {
    /// Has a task do it, which ends with the stream.
    fn begin(self, shared: &Arc<Shared>, resume_token: &str) -> Result<Progress<Told>, Problem> {
        let topic = &self.letters.topic;
        let token = match resume_token {
            "" => Token {
                partition: 0,
                next: Offset::ZERO,
                key: None,
                ends: topic.partitions().iter().map(|it| it.log().end()).collect(),
            },
            token => Token::read("resume_token", token, convert::partition_count(topic))?,
        };
        // Little is told ahead: who does not listen holds the work up.
        let (progress, told) = mpsc::channel(4);
        let job = Job {
            shared: Arc::clone(shared),
            letters: self.letters,
            filter: self.filter,
            deed: self.deed,
            records_per_second_max: self.records_per_second_max,
            is_dry_run: self.is_dry_run,
            token,
            counts: Counts::default(),
            progress,
        };
        shared.drain.tasks().spawn(job.run());
        Ok(Box::pin(stream::unfold(told, async |mut told| {
            let next = told.recv().await?;
            Some((next, told))
        })))
    }
}

impl Job {
    async fn run(mut self) {
        let progress = self.progress.clone();
        let drain = self.shared.drain.clone();
        let ended = tokio::select! {
            ended = self.go_through() => ended,
            () = progress.closed() => Ok(()),
            () = drain.begun() => Err(status::shutting_down()),
        };
        if let Deed::Discard = self.deed
            && !self.is_dry_run
        {
            let (subscription, count) = (&self.letters.name, self.counts.done);
            tracing::info!(%subscription, count, "dead letters were discarded");
        }
        if let Err(problem) = ended {
            drop(progress.send(Err(problem.into())).await);
        }
    }

    async fn go_through(&mut self) -> Result<(), Problem> {
        while let Some(end) = self.token.ends.first().copied() {
            let range = OffsetRange {
                start: self.token.next,
                end,
            };
            if self.filter.takes_partition(self.token.partition) {
                let keys = match self.keeps_keys_together() && !self.filter.takes_whole_keys() {
                    true => self.take_keys(range).await?,
                    false => self.take_in_order(range).await?,
                };
                if self.keeps_keys_together() && !self.is_dry_run {
                    self.take_followers(keys, end).await?;
                }
            }
            self.token = Token {
                partition: self.token.partition + 1,
                next: Offset::ZERO,
                key: None,
                ends: self.token.ends.split_off(1),
            };
        }
        self.tell(true, "").await;
        Ok(())
    }

    /// Whether all dead letters of a key go together: the others of it would be overtaken.
    fn keeps_keys_together(&self) -> bool {
        matches!(self.deed, Deed::Redrive) && self.letters.on_dead_letter == OnDeadLetter::Park
    }

    /// Takes those that the filter takes, in their order. Returns their keys.
    async fn take_in_order(&mut self, range: OffsetRange) -> Result<HashSet<KeyHash>, Problem> {
        let (shared, letters) = (Arc::clone(&self.shared), self.letters.clone());
        let partition = self.token.partition;
        let mut keys = HashSet::new();
        let mut rest = range;
        let mut scan = Scan::new(&shared, &letters, partition, rest);
        while let Some(page) = scan.next(self.step()).await? {
            let Page {
                letters: found,
                hash_key,
                next,
            } = page;
            let wanted = found.into_iter().filter(|letter| self.filter.takes(letter));
            let wanted: Vec<_> = wanted.collect();
            if self.keeps_keys_together() {
                keys.extend(wanted.iter().map(|letter| letter.key(hash_key)));
            }
            if !self.do_with(&wanted, hash_key).await? {
                // Somebody else has moved one of them: what stands where is looked at again.
                scan = Scan::new(&shared, &letters, partition, rest);
                continue;
            }
            rest.start = next;
            self.token.next = next;
            self.tell(false, "").await;
            self.pace(wanted.len()).await;
        }
        Ok(keys)
    }

    /// Takes all of each key of which the filter takes one, key by key. Returns the keys.
    async fn take_keys(&mut self, range: OffsetRange) -> Result<HashSet<KeyHash>, Problem> {
        let (shared, letters) = (Arc::clone(&self.shared), self.letters.clone());
        let partition = self.token.partition;
        let mut keys: HashSet<KeyHash> = self.token.key.into_iter().collect();
        let mut scan = Scan::new(&shared, &letters, partition, range);
        while let Some(page) = scan.next(REDRIVEN_RECORDS_MAX).await? {
            let wanted = page.letters.iter().filter(|it| self.filter.takes(it));
            keys.extend(wanted.map(|letter| letter.key(page.hash_key)));
        }
        let mut by_key: BTreeMap<KeyHash, Vec<(DeadLetter, DeadLetterState)>> = BTreeMap::new();
        let mut count = 0;
        let mut scan = Scan::new(&shared, &letters, partition, range);
        while let Some(page) = scan.next(REDRIVEN_RECORDS_MAX).await? {
            for letter in page.letters {
                let key = letter.key(page.hash_key);
                if keys.contains(&key) {
                    let known = (letter.known(page.hash_key), letter.open.state);
                    by_key.entry(key).or_default().push(known);
                    count += 1;
                }
            }
            if count > SORTED_LETTERS_MAX {
                let text = format!("the keys of partition {partition} have too many dead letters");
                let problem = status::limit_reached(text, "dead_letters_max", SORTED_LETTERS_MAX);
                return Err(problem.with_hint("narrow the filter"));
            }
        }
        for (key, known) in by_key {
            // Told before it begins: a key that is half done is gone on with.
            self.token.key = Some(key);
            self.tell(false, "").await;
            for part in known.chunks(self.step()) {
                let (part, states): (Vec<_>, Vec<_>) = part.iter().copied().unzip();
                self.give_back(&part, &states).await?;
                self.pace(part.len()).await;
            }
        }
        Ok(keys)
    }

    /// Takes what was parked behind keys meanwhile: else they would stay parked.
    async fn take_followers(
        &mut self,
        keys: HashSet<KeyHash>,
        from: Offset,
    ) -> Result<(), Problem> {
        let (shared, letters) = (Arc::clone(&self.shared), self.letters.clone());
        let partition = self.token.partition;
        let Some(handle) = letters.topic.partition(partition) else {
            return Ok(());
        };
        let mut start = from;
        loop {
            let end = handle.log().end();
            let mut is_found = false;
            let mut scan = Scan::new(&shared, &letters, partition, OffsetRange { start, end });
            while let Some(page) = scan.next(self.step()).await? {
                let hash_key = page.hash_key;
                let is_wanted = |it: &Letter| keys.contains(&it.key(hash_key));
                let wanted: Vec<_> = page.letters.into_iter().filter(is_wanted).collect();
                is_found |= wanted
                    .iter()
                    .any(|it| it.open.state == DeadLetterState::Dead);
                self.do_with(&wanted, hash_key).await?;
            }
            start = end;
            if !is_found {
                return Ok(());
            }
        }
    }

    /// Dead letters of one step.
    fn step(&self) -> usize {
        let most = match self.deed {
            Deed::Redrive | Deed::Discard => REDRIVEN_RECORDS_MAX,
            Deed::Republish(_) => REPUBLISHED_RECORDS_MAX,
        };
        match self.records_per_second_max {
            0 => most,
            rate => most.min(rate as usize),
        }
    }

    /// Waits as long as the rate wants it.
    async fn pace(&self, count: usize) {
        if self.records_per_second_max > 0 && !self.is_dry_run {
            let second = Duration::from_secs(1) / self.records_per_second_max;
            sleep(second * u32::try_from(count).unwrap_or(u32::MAX)).await;
        }
    }

    /// Does with dead letters of one step what is to be done. Returns whether that went: not if one was
    /// moved by somebody else.
    async fn do_with(&mut self, wanted: &[Letter], hash_key: HashKey) -> Result<bool, Problem> {
        let is_dead = |it: &&Letter| it.open.state == DeadLetterState::Dead;
        if wanted.is_empty() {
            return Ok(true);
        }
        let known = |it: &Letter| it.known(hash_key);
        match &self.deed {
            Deed::Republish(target) if !self.is_dry_run => {
                let dead: Vec<_> = wanted.iter().filter(is_dead).cloned().collect();
                let append = target.append(&self.shared, &self.letters, hash_key, &dead);
                if !append.await? {
                    return Ok(false);
                }
                self.counts.done += dead.len() as u64;
                self.counts.passed += (wanted.len() - dead.len()) as u64;
            }
            Deed::Discard if !self.is_dry_run => {
                let letters = wanted.iter().map(known).collect();
                let counts = self.moved(letters, DeadLetterVerdict::Discard).await?;
                self.counts.done += counts.done as u64;
                self.counts.kept += counts.left as u64;
            }
            Deed::Discard => self.counts.done += wanted.len() as u64,
            Deed::Redrive | Deed::Republish(_) => {
                let letters: Vec<_> = wanted.iter().map(known).collect();
                let states: Vec<_> = wanted.iter().map(|it| it.open.state).collect();
                self.give_back(&letters, &states).await?;
            }
        }
        Ok(true)
    }

    /// Has dead letters of one step delivered again; waits for room where there is none.
    async fn give_back(
        &mut self,
        letters: &[DeadLetter],
        states: &[DeadLetterState],
    ) -> Result<(), Problem> {
        let dead_count = states
            .iter()
            .filter(|it| **it == DeadLetterState::Dead)
            .count();
        self.counts.passed += (letters.len() - dead_count) as u64;
        if self.is_dry_run {
            self.counts.done += dead_count as u64;
            return Ok(());
        }
        let mut left = dead_count;
        loop {
            let redrive = self.moved(letters.to_vec(), DeadLetterVerdict::Redrive);
            let counts = redrive.await?;
            self.counts.done += counts.done as u64;
            left = left.saturating_sub(counts.done).min(counts.left);
            if left == 0 {
                return Ok(());
            }
            let text = format!(
                "partition {}: consumers, to handle what waits",
                self.token.partition
            );
            self.tell(false, &text).await;
            sleep(ROOM_INTERVAL).await;
        }
    }

    async fn moved(
        &self,
        letters: Vec<DeadLetter>,
        verdict: DeadLetterVerdict,
    ) -> Result<DeadLetterCounts, Problem> {
        let moved = self.shared.control(|answer| {
            ControlCommand::Subscription(SubscriptionCommand::MoveDeadLetters {
                subscription: self.letters.subscription,
                partition: self.token.partition,
                letters,
                verdict,
                answer,
            })
        });
        let moved = moved.await;
        let counts =
            moved.map_err(|error| status::command_failed(error, |never| match never {}))?;
        counts.ok_or_else(|| status::subscription_gone(&self.letters.name))
    }

    /// Tells how far it is. Waits while nobody listens.
    async fn tell(&self, is_done: bool, waiting_for: &str) {
        let told = Told {
            counts: self.counts,
            token: (!is_done).then(|| self.token.to_string()),
            waiting_for: waiting_for.to_owned(),
        };
        drop(self.progress.send(Ok(told)).await);
    }
}
