//! The beginning of a Join stream.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream;
use tokio::time::timeout;
use tonic::{Status, Streaming};
use towpath_proto::compression::CodecSet;
use towpath_proto::limits::{PARTITIONS_PER_GROUP_MAX, TOPICS_PER_MEMBER_MAX};
use towpath_proto::names::{GroupName, TopicName};
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::join_request::Request;
use towpath_proto::wire::JoinResponse;
use towpath_storage::TopicId;

use super::listener::Listener;
use super::mailbox::Mailbox;
use super::seat::{Identity, Seat};
use super::teller::Teller;
use super::{Shared, convert, group_name, status, unreadable};
use crate::api::fetch::request;
use crate::core::{GroupId, JoinGroup, JoinRefusal, MemberId, SessionId, TopicStart};
use crate::fetch::{Bounds, Cut, Fetch, FetchOptions, Start, resolve};
use crate::memory::Unread;
use crate::runtime::command::{CommandError, ControlCommand};
use crate::runtime::group_command::{GroupCommand, GroupSink};
use crate::runtime::published::{PartitionHandle, TopicView};
use crate::server::Messages;

/// How long a stream may take to say which group it is for.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);
/// Longest name of a client.
const CLIENT_NAME_BYTES_MAX: usize = 200;

/// What a member asks for, checked.
struct Asked {
    wish: JoinGroup,
    topics: Vec<Arc<TopicView>>,
    /// Where the group begins in topics that it has never read.
    start: Option<Start>,
    skips_loss: bool,
    stops_at_trimmed: bool,
    /// Codecs that the member can decompress.
    accepted: CodecSet,
}

/// Takes a member in, and makes its stream.
pub(super) async fn join(
    shared: &Arc<Shared>,
    mut requests: Streaming<v1::JoinRequest>,
    memory: &Arc<Unread>,
) -> Result<Messages<JoinResponse>, Status> {
    shared.refuse_when_draining()?;
    let first = timeout(JOIN_PATIENCE, requests.message()).await;
    let first = first.map_err(|_elapsed| Problem::invalid_field("request", "nobody has joined"))?;
    let first = first.map_err(unreadable::described)?;
    let Some(Request::Join(request)) = first.and_then(|first| first.request) else {
        return Err(
            Problem::invalid_field("request", "the first request must join a group").into(),
        );
    };
    let mut asked = check(shared, request)?;
    let mailbox = Arc::new(Mailbox::default());
    let sink: Arc<dyn GroupSink> = Arc::<Mailbox>::clone(&mailbox);
    let group = enter(shared, &mut asked, &sink).await?;
    let Asked {
        wish,
        topics,
        skips_loss,
        stops_at_trimmed,
        accepted,
        start: _,
    } = asked;
    let delivered = shared.metrics.groups.enter(group);
    let identity = Identity {
        group,
        name: wish.name,
        member: wish.member,
        session: wish.session,
    };
    let seat = Seat::new(identity, topics, delivered, &shared.members);
    let listener = Listener {
        shared: Arc::clone(shared),
        seat: Arc::clone(&seat),
        mailbox: Arc::clone(&mailbox),
        memory: Arc::clone(memory),
    };
    shared.drain.tasks().spawn(listener.run(requests));
    let options = FetchOptions {
        is_following: true,
        is_standing: true,
        is_merging: false,
        skips_loss,
        stops_at_trimmed,
        heartbeat_interval: shared.heartbeat_interval,
        drain: shared.drain.clone(),
        memory: Arc::clone(memory),
        accepted,
    };
    let fetch = Fetch::of_topics(
        shared.reading.clone(),
        &seat.topics,
        shared.published().durable(),
        options,
    );
    let teller = Teller::new(Arc::clone(shared), seat, fetch, mailbox, Arc::clone(memory));
    Ok(Box::pin(stream::unfold(
        Box::new(teller),
        |mut teller| async move {
            let response = teller.next().await?;
            Some((response, teller))
        },
    )))
}

fn check(shared: &Shared, request: v1::JoinGroup) -> Result<Asked, Problem> {
    let name = group_name("join.group", &request.group)?;
    let member = <[u8; 16]>::try_from(request.member_id.as_ref())
        .map_err(|_length| Problem::invalid_field("join.member_id", "a member id has 16 bytes"))?;
    if request.client_name.len() > CLIENT_NAME_BYTES_MAX {
        let message = format!("a client name has at most {CLIENT_NAME_BYTES_MAX} bytes");
        return Err(Problem::invalid_field("join.client_name", message));
    }
    if let Some(rejoin) = &request.rejoin {
        shared.check_broker(Some(&rejoin.broker_id))?;
    }
    let known = request.rejoin.as_ref().map(|it| it.topic_ids.as_slice());
    let views = topics(shared, &name, &request.topics, known)?;
    let topics = views.iter().filter(|view| !view.is_deleted());
    let topics = topics.map(|view| TopicStart {
        topic: view.id(),
        starts: None,
    });
    let wish = JoinGroup {
        name,
        member: MemberId::new(member),
        session: SessionId(shared.session.fetch_add(1, Ordering::Relaxed)),
        client_name: request.client_name,
        topics: topics.collect(),
        rejoins: request.rejoin.map(|it| GroupId::new(it.group_id)),
    };
    Ok(Asked {
        wish,
        start: request.start.as_ref().and_then(request::start),
        topics: views,
        skips_loss: request.skip_data_loss,
        stops_at_trimmed: request.stop_at_trimmed,
        accepted: CodecSet::from_numbers(&request.accepted_codecs),
    })
}

/// The topics that a member names, or that it knows by these ids: then some may be gone, which it is told
/// as it reads.
fn topics(
    shared: &Shared,
    group: &GroupName,
    names: &[String],
    known: Option<&[u64]>,
) -> Result<Vec<Arc<TopicView>>, Problem> {
    if names.is_empty() {
        return Err(Problem::invalid_field(
            "join.topics",
            "there is nothing to read",
        ));
    }
    if names.len() > TOPICS_PER_MEMBER_MAX as usize {
        let message = format!("a member reads at most {TOPICS_PER_MEMBER_MAX} topics");
        return Err(Problem::invalid_field("join.topics", message));
    }
    if known.is_some_and(|ids| ids.len() != names.len()) {
        let message = "each topic of a member that joins again has an id";
        return Err(Problem::invalid_field("join.rejoin.topic_ids", message));
    }
    let mut views: Vec<Arc<TopicView>> = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let field = format!("join.topics[{number}]");
        let topic_name = convert::topic_name(&field, name)?;
        let view = match known.and_then(|ids| ids.get(number)) {
            Some(id) => known_topic(shared, topic_name, TopicId::new(*id)),
            None => shared.topic(&topic_name)?,
        };
        if views.iter().any(|other| other.id() == view.id()) {
            let message = format!("topic \"{name}\" is named twice");
            return Err(Problem::invalid_field(field, message));
        }
        views.push(view);
    }
    let count: usize = views.iter().map(|view| view.partitions().len()).sum();
    if count > PARTITIONS_PER_GROUP_MAX as usize {
        let name = group.clone();
        let refusal = JoinRefusal::TooManyPartitions { name, count };
        return Err(status::join_refused(&refusal, &views));
    }
    Ok(views)
}

fn known_topic(shared: &Shared, name: TopicName, id: TopicId) -> Arc<TopicView> {
    let topics = shared.published().topics();
    let view = topics.with_id(id).filter(|view| *view.name() == name);
    view.map_or_else(|| Arc::new(TopicView::gone(id, name)), Arc::clone)
}

/// All partitions of a topic as they are now.
pub(in crate::api) fn bounds_of(shared: &Shared, view: &TopicView) -> Vec<Bounds> {
    let logs = || view.partitions().iter().map(PartitionHandle::log);
    let cut = Cut::take(shared.published(), logs);
    let bounds = (0..).zip(logs().zip(cut.ends));
    let bounds = bounds.map(|(partition, (log, end))| Bounds {
        partition,
        log: Arc::clone(log),
        end,
    });
    bounds.collect()
}

/// Has the group take the member in. Where the start lies is looked up for topics that the group has never
/// read, and for no other: what it says may long be gone when a member joins again.
async fn enter(
    shared: &Shared,
    asked: &mut Asked,
    sink: &Arc<dyn GroupSink>,
) -> Result<GroupId, Problem> {
    let mut arrival = Arrival {
        shared,
        name: asked.wish.name.clone(),
        member: asked.wish.member,
        session: asked.wish.session,
        is_over: false,
    };
    loop {
        let joined = shared.control(|answer| {
            ControlCommand::Group(GroupCommand::Join {
                wish: Box::new(asked.wish.clone()),
                sink: Arc::clone(sink),
                answer,
            })
        });
        let refused = |refusal| status::join_refused(&refusal, &asked.topics);
        match (joined.await, asked.start) {
            (Ok(group), _) => {
                arrival.is_over = true;
                return Ok(group);
            }
            (Err(CommandError::Refused(JoinRefusal::StartUnset { topics, .. })), Some(start)) => {
                find_starts(shared, asked, &topics, start).await?;
            }
            (Err(error), _) => return Err(status::command_failed(error, refused)),
        }
    }
}

/// A call that has asked to let a member in. If it is given up before it can go on, nobody else would say
/// that the member is not there.
struct Arrival<'a> {
    shared: &'a Shared,
    name: GroupName,
    member: MemberId,
    session: SessionId,
    is_over: bool,
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let command = ControlCommand::Group(GroupCommand::Abandon {
            name: self.name.clone(),
            member: self.member,
            session: self.session,
        });
        // A broker that stops forgets which of its members are connected.
        drop(self.shared.commands.push_control(command));
    }
}

/// Notes where each of these topics begins, which was not known.
async fn find_starts(
    shared: &Shared,
    asked: &mut Asked,
    topics: &[TopicId],
    start: Start,
) -> Result<(), Problem> {
    let Asked {
        wish,
        topics: views,
        ..
    } = asked;
    let wanted = wish.topics.iter_mut();
    for wanted in wanted.filter(|it| topics.contains(&it.topic)) {
        let view = views.iter().find(|view| view.id() == wanted.topic);
        let Some(view) = view else { continue };
        let offsets = resolve(&shared.reading, &bounds_of(shared, view), start).await;
        let offsets = offsets.map_err(|error| status::position_refused(error, view.name()))?;
        wanted.starts = Some(offsets);
    }
    Ok(())
}
