//! What can be called.

/// A method of a service.
#[derive(Debug)]
pub(crate) struct Method {
    /// Service and name, as in a path.
    pub(crate) name: &'static str,
    /// Whether it may go on until the client has had enough.
    pub(crate) is_open_ended: bool,
}

impl Method {
    pub(crate) const fn unary(name: &'static str) -> Self {
        Self {
            name,
            is_open_ended: false,
        }
    }

    const fn open_ended(name: &'static str) -> Self {
        Self {
            name,
            is_open_ended: true,
        }
    }
}

/// All methods. New ones come last, or inputs that were kept would mean something else.
pub(crate) const METHODS: &[Method] = &[
    Method::unary("TopicService/CreateTopic"),
    Method::unary("ProduceService/Publish"),
    Method::unary("SubscriptionService/CreateSubscription"),
    Method::open_ended("SubscriptionService/Pull"),
    Method::unary("SubscriptionService/Settle"),
    Method::unary("CommitService/Commit"),
    Method::open_ended("ProduceService/Produce"),
    Method::open_ended("FetchService/Fetch"),
    Method::open_ended("GroupService/Join"),
    Method::open_ended("SubscriptionService/Receive"),
    Method::unary("AdminService/GetServerInfo"),
    Method::open_ended("DeadLetterService/DiscardDeadLetters"),
    Method::unary("DeadLetterService/GetDeadLetter"),
    Method::unary("DeadLetterService/ListDeadLetters"),
    Method::open_ended("DeadLetterService/RedriveDeadLetters"),
    Method::unary("FetchService/LookupOffsets"),
    Method::unary("GroupService/DeleteGroup"),
    Method::unary("GroupService/GetGroup"),
    Method::unary("GroupService/ListGroups"),
    Method::unary("GroupService/SeekGroup"),
    Method::unary("KeyService/GetLatest"),
    Method::open_ended("KeyService/ReadKey"),
    Method::unary("ProduceService/DeleteProducer"),
    Method::unary("ProduceService/ListProducers"),
    Method::unary("ProduceService/OpenProducer"),
    Method::unary("ScheduleService/CancelSchedule"),
    Method::unary("ScheduleService/ListSchedules"),
    Method::unary("ScheduleService/Reschedule"),
    Method::unary("SubscriptionService/DeleteSubscription"),
    Method::unary("SubscriptionService/ExplainRecord"),
    Method::unary("SubscriptionService/GetSubscription"),
    Method::unary("SubscriptionService/ListPending"),
    Method::unary("SubscriptionService/ListSubscriptions"),
    Method::unary("SubscriptionService/PauseSubscription"),
    Method::unary("SubscriptionService/ResumeSubscription"),
    Method::unary("SubscriptionService/SeekSubscription"),
    Method::unary("SubscriptionService/UpdateSubscription"),
    Method::unary("TopicService/CompactTopic"),
    Method::unary("TopicService/DeleteTopic"),
    Method::unary("TopicService/GetTopic"),
    Method::unary("TopicService/ListTopics"),
    Method::unary("TopicService/TrimTopic"),
    Method::unary("TopicService/UpdateTopic"),
];
