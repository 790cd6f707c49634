//! Commands about subscriptions, and what is due in them without being asked.

use std::collections::VecDeque;
use std::sync::Arc;

use towpath_proto::names::SubscriptionName;
use towpath_storage::PartitionRef;

use super::super::bury::BurialJob;
use super::super::command::DataCommand;
use super::super::inspect::{InspectJob, InspectWork};
use super::super::published::TopicView;
use super::super::subscription_command::{
    ConnectError, Connected, CreatedSubscription, DeadLetterVerdict, SubscriptionCommand,
    SubscriptionPage, SubscriptionSink,
};
use super::draft::{Draft, PendingAnswer, TableChange};
use super::{CONTROL_ROOM_BYTES, Sequencer};
use crate::core::{
    BurialWish, Connect, ConsumerDeparture, CreateDecision, CreateSubscription,
    CreateSubscriptionRefusal, DeleteSubscription, DeleteSubscriptionRefusal, HashKey, InspectWish,
    Settlement, Subscription, SubscriptionDecision, SubscriptionDescription, SubscriptionEvent,
    SubscriptionId, SubscriptionNotFound, SubscriptionNotice, SubscriptionProgress,
    UpdateSubscription, UpdateSubscriptionRefusal,
};

impl Sequencer {
    /// Decides on one command about a subscription.
    #[expect(clippy::too_many_lines, reason = "one arm for each command")]
    pub(super) fn take_subscription_command(
        &mut self,
        command: SubscriptionCommand,
        draft: &mut Draft,
        data: &mut VecDeque<DataCommand>,
    ) {
        let now_ms = self.time.now_ms();
        match command {
            SubscriptionCommand::Create {
                wish,
                is_dry_run,
                answer,
            } => {
                let result = self.create_subscription(*wish, is_dry_run, draft);
                let answer = PendingAnswer::CreateSubscription { answer, result };
                draft.answers.push(answer);
            }
            SubscriptionCommand::Update {
                wish,
                is_dry_run,
                answer,
            } => {
                let result = self.update_subscription(&wish, is_dry_run, draft);
                let answer = PendingAnswer::UpdateSubscription { answer, result };
                draft.answers.push(answer);
            }
            SubscriptionCommand::Seek {
                wish,
                is_dry_run,
                answer,
            } => {
                let sought = self.state.seek_subscription(&wish, is_dry_run);
                let result = sought.map(|(id, sought, decision)| {
                    self.carry_out_subscription(id, decision, draft);
                    sought
                });
                let answer = PendingAnswer::SeekSubscription { answer, result };
                draft.answers.push(answer);
            }
            SubscriptionCommand::Pause {
                name,
                is_paused,
                answer,
            } => {
                let rows = self.state.pause_subscription(&name, is_paused);
                let result = rows.map(|rows| self.push_rows(rows, draft));
                let answer = PendingAnswer::ChangeSubscription { answer, result };
                draft.answers.push(answer);
            }
            SubscriptionCommand::Delete {
                wish,
                is_dry_run,
                answer,
            } => {
                let result = self.delete_subscription(&wish, is_dry_run, draft, data);
                let answer = PendingAnswer::DeleteSubscription { answer, result };
                draft.answers.push(answer);
            }
            SubscriptionCommand::Connect {
                name,
                id,
                wish,
                sink,
                answer,
            } => {
                let result = self.connect_consumer(&name, id, &wish, &sink, draft);
                let answer = PendingAnswer::ConnectConsumer { answer, result };
                draft.answers.push(answer);
            }
            SubscriptionCommand::Credit {
                subscription,
                consumer,
                more,
            } => self.state.credit_consumer(subscription, consumer, more),
            SubscriptionCommand::Stop {
                subscription,
                consumer,
            } => {
                let decision = self.state.stop_consumer(subscription, consumer);
                self.carry_out_subscription(subscription, decision, draft);
            }
            SubscriptionCommand::Settle {
                subscription,
                settlements,
                sink,
            } => self.settle_deliveries(subscription, &settlements, sink, draft),
            SubscriptionCommand::Disconnect {
                subscription,
                consumer,
                session,
                departure,
            } => {
                self.consumers.remove(&session);
                let state = &mut self.state;
                let decision =
                    state.disconnect_consumer(subscription, consumer, session, departure, now_ms);
                self.carry_out_subscription(subscription, decision, draft);
            }
            SubscriptionCommand::Abandon {
                name,
                consumer,
                session,
            } => {
                self.consumers.remove(&session);
                if let Some(id) = self.state.subscription_named(&name).map(Subscription::id) {
                    let departure = ConsumerDeparture::CutOff;
                    let state = &mut self.state;
                    let decision =
                        state.disconnect_consumer(id, consumer, session, departure, now_ms);
                    self.carry_out_subscription(id, decision, draft);
                }
            }
            SubscriptionCommand::Inspected {
                subscription,
                found,
            } => self.state.take_inspected(subscription, found, now_ms),
            SubscriptionCommand::Ask(question) => {
                let answered = question.ask(&self.state, now_ms);
                draft.answers.push(PendingAnswer::Question(answered));
            }
            SubscriptionCommand::LookAtDeadLetters {
                subscription,
                partition,
                range,
                count_max,
                answer,
            } => {
                let found = self.state.subscription(subscription);
                let found = found.map(|it| it.open_dead_letters(partition, range, count_max));
                let answer = PendingAnswer::LookAtDeadLetters { answer, found };
                draft.answers.push(answer);
            }
            SubscriptionCommand::MoveDeadLetters {
                subscription,
                partition,
                letters,
                verdict,
                answer,
            } => {
                let is_known = self.state.subscription(subscription).is_some();
                let (counts, decision) = match verdict {
                    DeadLetterVerdict::Redrive => {
                        self.state.redrive(subscription, partition, &letters)
                    }
                    DeadLetterVerdict::RedriveBehind(before) => {
                        self.state
                            .redrive_behind(subscription, partition, &letters, before)
                    }
                    DeadLetterVerdict::Discard => {
                        self.state.discard(subscription, partition, &letters)
                    }
                };
                self.carry_out_subscription(subscription, decision, draft);
                let counts = is_known.then_some(counts);
                let answer = PendingAnswer::MoveDeadLetters { answer, counts };
                draft.answers.push(answer);
            }
            SubscriptionCommand::Get { name, answer } => {
                let found = self.state.subscription_named(&name);
                let trusts_age = now_ms >= self.time.trusts_age_from_ms();
                let result = found.map(|found| {
                    let hold = self.state.hold_of(found.id(), now_ms, trusts_age);
                    (found.describe(), hold)
                });
                let result = result.ok_or(SubscriptionNotFound { name });
                let answer = PendingAnswer::GetSubscription { answer, result };
                draft.answers.push(answer);
            }
            SubscriptionCommand::Watch {
                after,
                partition_count_max,
                answer,
            } => {
                let subscriptions = self.watch_subscriptions(after.as_ref(), partition_count_max);
                let answer = PendingAnswer::WatchSubscriptions {
                    answer,
                    subscriptions,
                };
                draft.answers.push(answer);
            }
            SubscriptionCommand::List {
                after,
                prefix,
                topic,
                count_max,
                answer,
            } => {
                let found = self.state.subscriptions_after(after.as_ref());
                let mut found = found.filter(|it| {
                    it.name().as_str().starts_with(&prefix)
                        && topic.is_none_or(|topic| it.topic() == topic)
                });
                let page = found.by_ref().take(count_max).map(Subscription::summary);
                let page = SubscriptionPage {
                    subscriptions: page.collect(),
                    has_more: found.next().is_some(),
                };
                let answer = PendingAnswer::ListSubscriptions { answer, page };
                draft.answers.push(answer);
            }
        }
    }

    fn watch_subscriptions(
        &self,
        after: Option<&SubscriptionName>,
        partition_count_max: usize,
    ) -> Vec<SubscriptionProgress> {
        let now_ms = self.time.now_ms();
        let trusts_age = now_ms >= self.time.trusts_age_from_ms();
        let mut told = Vec::new();
        let mut partition_count = 0;
        for subscription in self.state.subscriptions_after(after) {
            if partition_count >= partition_count_max {
                break;
            }
            partition_count += subscription.partition_count() as usize + 1;
            let hold = self.state.hold_of(subscription.id(), now_ms, trusts_age);
            told.push(subscription.progress(hold));
        }
        told
    }

    fn create_subscription(
        &mut self,
        wish: CreateSubscription,
        is_dry_run: bool,
        draft: &mut Draft,
    ) -> Result<CreatedSubscription, CreateSubscriptionRefusal> {
        let entropy = &self.shared.environment.entropy;
        let mut hash_key = [0; 16];
        hash_key
            .chunks_exact_mut(8)
            .for_each(|part| part.copy_from_slice(&entropy.next_u64().to_le_bytes()));
        let wish = CreateSubscription {
            hash_key: HashKey(hash_key),
            ..wish
        };
        let decision = self.state.create_subscription(&wish, self.time.now_ms())?;
        let (id, existed) = match decision {
            CreateDecision::Existing(id) => (id, true),
            CreateDecision::Create { .. } if is_dry_run => {
                let subscription = SubscriptionDescription::of_wish(&wish);
                return Ok(CreatedSubscription {
                    subscription,
                    existed: false,
                });
            }
            CreateDecision::Create {
                id,
                made_topic,
                rows,
            } => {
                self.push_rows(rows, draft);
                let made = made_topic.and_then(|topic| self.state.topic(topic));
                let view = made.map(|topic| Arc::new(TopicView::new(topic)));
                draft
                    .table_changes
                    .extend(view.map(TableChange::CreatedBeside));
                (id, false)
            }
        };
        let subscription = self.state.subscription(id).map(Subscription::describe);
        let subscription = subscription.unwrap_or_else(|| SubscriptionDescription::of_wish(&wish));
        Ok(CreatedSubscription {
            subscription,
            existed,
        })
    }

    fn update_subscription(
        &mut self,
        wish: &UpdateSubscription,
        is_dry_run: bool,
        draft: &mut Draft,
    ) -> Result<SubscriptionDescription, UpdateSubscriptionRefusal> {
        let (id, config, rows) = self.state.update_subscription(wish)?;
        if !is_dry_run {
            self.push_rows(rows, draft);
        }
        let now = self.state.subscription(id).map(Subscription::summary);
        let now = now.ok_or_else(|| SubscriptionNotFound {
            name: wish.name.clone(),
        })?;
        Ok(SubscriptionDescription { config, ..now })
    }

    fn delete_subscription(
        &mut self,
        wish: &DeleteSubscription,
        is_dry_run: bool,
        draft: &mut Draft,
        data: &mut VecDeque<DataCommand>,
    ) -> Result<(), DeleteSubscriptionRefusal> {
        let deleted = self.state.delete_subscription(wish)?;
        if !is_dry_run {
            self.carry_out_subscription(deleted.id, deleted.decision, draft);
            if let Some(topic) = deleted.topic {
                self.drop_topic(topic, draft, data);
            }
        }
        Ok(())
    }

    fn connect_consumer(
        &mut self,
        name: &SubscriptionName,
        id: Option<SubscriptionId>,
        wish: &Connect,
        sink: &Arc<dyn SubscriptionSink>,
        draft: &mut Draft,
    ) -> Result<Connected, ConnectError> {
        let found = self.state.subscription_named(name);
        let found = found.filter(|it| id.is_none_or(|id| it.id() == id));
        let found = found.ok_or_else(|| SubscriptionNotFound { name: name.clone() })?;
        let connected = Connected {
            subscription: found.id(),
            topic: found.topic(),
            dead_letter_topic: found.dead_letter_topic(),
            config: found.config().clone(),
        };
        let id = found.id();
        let now_ms = self.time.now_ms();
        let decision = self.state.connect_consumer(id, wish, now_ms)?;
        self.carry_out_subscription(id, decision, draft);
        self.consumers.insert(wish.session, Arc::clone(sink));
        Ok(connected)
    }

    fn settle_deliveries(
        &mut self,
        id: SubscriptionId,
        settlements: &[Settlement],
        sink: Arc<dyn SubscriptionSink>,
        draft: &mut Draft,
    ) {
        let now_ms = self.time.now_ms();
        let mut expired = Vec::with_capacity(settlements.len());
        for settlement in settlements {
            let (of_it, decision) = self.state.settle_deliveries(id, settlement, now_ms);
            expired.push(of_it);
            self.carry_out_subscription(id, decision, draft);
        }
        let answer = PendingAnswer::SettleDeliveries { sink, expired };
        draft.answers.push(answer);
    }

    /// Does what is due in subscriptions: leases that end, records that are delivered, and what is to be
    /// inspected for that.
    pub(super) fn step_subscriptions(&mut self, draft: &mut Draft) {
        let now_ms = self.time.now_ms();
        for id in self.state.active_subscriptions(now_ms) {
            loop {
                if !self.fits(draft, CONTROL_ROOM_BYTES) {
                    self.state.keep_active(id);
                    break;
                }
                let decision = self.state.step_subscription(id, now_ms);
                if decision.is_empty() {
                    break;
                }
                self.carry_out_subscription(id, decision, draft);
            }
        }
    }

    fn carry_out_subscription(
        &mut self,
        id: SubscriptionId,
        mut decision: SubscriptionDecision,
        draft: &mut Draft,
    ) {
        self.push_rows(std::mem::take(&mut decision.rows), draft);
        self.follow_subscription(id, decision, draft);
    }

    /// Notes what follows a decision whose rows are part of the round.
    pub(super) fn follow_subscription(
        &self,
        id: SubscriptionId,
        decision: SubscriptionDecision,
        draft: &mut Draft,
    ) {
        draft.subscription_notices.extend(decision.notices);
        for skipped in decision.skipped {
            let name = self.state.subscription(id).map(Subscription::name);
            tracing::warn!(
                subscription = name.map(tracing::field::display),
                partition = skipped.partition,
                range = %skipped.range,
                record_count = skipped.count,
                "records are gone that the subscription had not settled"
            );
        }
        let wishes = decision.inspections.into_iter();
        let jobs = wishes.filter_map(|wish| self.inspect_job(id, wish));
        let burials = decision.burials.into_iter();
        let burials = burials.filter_map(|wish| self.burial_job(id, wish));
        draft.inspections.extend(jobs.chain(burials));
    }

    fn burial_job(&self, id: SubscriptionId, wish: BurialWish) -> Option<InspectWork> {
        let subscription = self.state.subscription(id)?;
        let place = |topic| PartitionRef {
            topic,
            partition: wish.partition,
        };
        Some(InspectWork::Bury(Box::new(BurialJob {
            subscription: id,
            name: subscription.name().clone(),
            source: place(subscription.topic()),
            target: place(subscription.dead_letter_topic()),
            wish,
        })))
    }

    fn inspect_job(&self, id: SubscriptionId, wish: InspectWish) -> Option<InspectWork> {
        let subscription = self.state.subscription(id)?;
        Some(InspectWork::Inspect(InspectJob {
            subscription: id,
            partition: PartitionRef {
                topic: subscription.topic(),
                partition: wish.partition,
            },
            wish,
            hash_key: subscription.hash_key(),
            filters: subscription.filters_of(wish.partition),
        }))
    }

    /// Tells consumers what has become durable.
    pub(super) fn tell_consumers(&mut self, notices: Vec<SubscriptionNotice>) {
        let lsn = self.journal.durable();
        for SubscriptionNotice { session, event } in notices {
            let is_last = matches!(
                event,
                SubscriptionEvent::Replaced | SubscriptionEvent::Deleted
            );
            if let Some(sink) = self.consumers.get(&session) {
                sink.tell(event, lsn);
            }
            if is_last {
                self.consumers.remove(&session);
            }
        }
    }
}
