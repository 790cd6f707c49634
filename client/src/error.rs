//! What can go wrong, told so that a program can decide what to do next.
//!
//! One opaque type serves the whole SDK. It answers three questions without a look at its text: what
//! kind of trouble it is, whether trying again helps, and whether the broker may have acted.

mod convert;
mod send;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use towpath_proto::problem::Problem;
use towpath_proto::reason::{ErrorReason, RetryAdvice};

pub use send::SendError;

/// A failure of the SDK or a refusal of the broker. Cheap to clone.
///
/// Its text names what it is about, the reason and, where there is one, a hint; the causes follow
/// as [`std::error::Error::source`].
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

/// What is the matter, in general.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection to the broker could be made.
    Connect,
    /// There was no answer in time.
    Timeout,
    /// The request is not allowed, or not in the present state of things.
    Rejected,
    /// A limit is reached or the disk is full; later it may go.
    Overloaded,
    /// The broker is stopping or the connection broke.
    Unavailable,
    /// Stored or received bytes do not match their checksum.
    Corrupt,
    /// The client, producer or reader was closed by its owner.
    Closed,
    /// A fault in the broker or in the SDK.
    Internal,
}

/// Whether the broker may have acted on the request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effects {
    /// It has not, and will not.
    None,
    /// It may have, or may yet.
    Possible,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    reason: Option<ErrorReason>,
    advice: RetryAdvice,
    effects: Effects,
    message: Cow<'static, str>,
    /// What the error is about, as name and value, such as topic and partition.
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    metadata: Vec<(String, String)>,
    retry_after: Option<Duration>,
    source: Option<Source>,
}

type Source = Arc<dyn std::error::Error + Send + Sync>;

impl Error {
    /// What is the matter, in general.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Why the broker refused; none if it did not say or with a reason that this version does not
    /// know.
    pub fn reason(&self) -> Option<ErrorReason> {
        self.inner.reason
    }

    /// Whether the same request may succeed later. What may be tried again without harm to the data
    /// is told by [`Error::has_no_side_effects`].
    pub fn retry_advice(&self) -> RetryAdvice {
        self.inner.advice
    }

    /// Whether it is certain that the request changed nothing and will change nothing.
    ///
    /// False also when no answer came to what had been sent.
    pub fn has_no_side_effects(&self) -> bool {
        self.inner.effects == Effects::None
    }

    /// Whether the request may have taken effect, or may yet: the outcome is not known.
    pub fn may_have_happened(&self) -> bool {
        !self.has_no_side_effects()
    }

    /// Whether a newer life of the producer's name has taken over, or the name was deleted: this
    /// producer writes nothing any more. See
    /// [`ProducerBuilder::name`](crate::ProducerBuilder::name).
    pub fn is_fenced(&self) -> bool {
        self.inner.reason == Some(ErrorReason::ProducerFenced)
    }

    /// How long the broker asks to wait before another try; none if it did not say.
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.retry_after
    }

    /// What happened, without reason and hint.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// What to do about it, for people, such as the name that was probably meant.
    pub fn hint(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// A fact that the broker gave with its refusal, such as `end_offset`; docs/errors.md lists the
    /// names for each reason.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        let mut facts = self.inner.metadata.iter();
        facts
            .find(|(fact, _)| fact == name)
            .map(|(_, value)| value.as_str())
    }
}

/// How the SDK makes errors.
impl Error {
    fn new(
        kind: ErrorKind,
        advice: RetryAdvice,
        effects: Effects,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let inner = Inner {
            kind,
            reason: None,
            advice,
            effects,
            message: message.into(),
            context: Vec::new(),
            hint: None,
            metadata: Vec::new(),
            retry_after: None,
            source: None,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// An argument that the SDK refuses before it sends anything.
    pub(crate) fn invalid(field: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let error = Self::new(
            ErrorKind::Rejected,
            RetryAdvice::Never,
            Effects::None,
            message,
        );
        error.change(|inner| {
            inner.reason = Some(ErrorReason::InvalidArgument);
            inner.metadata = vec![("field".to_owned(), field.to_owned())];
        })
    }

    /// Nothing came in time.
    pub(crate) fn timeout(effects: Effects, message: &'static str) -> Self {
        Self::new(ErrorKind::Timeout, RetryAdvice::Same, effects, message)
    }

    /// Its owner has closed what was used.
    pub(crate) fn closed(effects: Effects, message: &'static str) -> Self {
        Self::new(ErrorKind::Closed, RetryAdvice::Never, effects, message)
    }

    /// What was asked of cannot serve now, and will later.
    pub(crate) fn unavailable(effects: Effects, message: &'static str) -> Self {
        Self::new(ErrorKind::Unavailable, RetryAdvice::Same, effects, message)
    }

    /// Bytes that do not match their checksum, or that are not what the protocol says.
    pub(crate) fn corrupt(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            ErrorKind::Corrupt,
            RetryAdvice::Never,
            Effects::None,
            message,
        )
    }

    /// The broker did what the protocol does not allow.
    pub(crate) fn protocol(message: &'static str) -> Self {
        Self::new(
            ErrorKind::Internal,
            RetryAdvice::Never,
            Effects::Possible,
            message,
        )
    }

    /// Takes over what the broker said, or would say.
    pub(crate) fn from_problem(problem: &Problem) -> Self {
        let reason = problem.reason();
        let effects = if reason.has_no_side_effects() {
            Effects::None
        } else {
            Effects::Possible
        };
        let kind = convert::kind_of(reason);
        let message = problem.message().to_owned();
        let facts = problem.metadata().iter();
        let metadata = facts.map(|(name, value)| (name.clone(), value.clone()));
        Self::new(kind, reason.retry_advice(), effects, message).change(|inner| {
            inner.reason = Some(reason);
            inner.hint = problem.hint().map(str::to_owned);
            inner.metadata = metadata.collect();
            inner.retry_after = problem.retry_after();
        })
    }

    /// Adds what the error is about; a name that is there already keeps its value.
    #[must_use]
    pub(crate) fn with(self, name: &'static str, value: impl fmt::Display) -> Self {
        if self.inner.context.iter().any(|(known, _)| *known == name) {
            return self;
        }
        self.change(|inner| inner.context.push((name, value.to_string())))
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        self.change(|inner| inner.hint = Some(hint.into()))
    }

    /// Adds the cause.
    #[must_use]
    pub(crate) fn because(
        self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = Source::from(source.into());
        self.change(|inner| inner.source = Some(source))
    }

    /// Says a fact, whatever the broker said of it.
    #[must_use]
    pub(crate) fn with_fact(self, name: &str, value: impl fmt::Display) -> Self {
        self.change(|inner| {
            inner.metadata.retain(|(known, _)| known != name);
            inner.metadata.push((name.to_owned(), value.to_string()));
        })
    }

    /// The same error after something that may have taken effect.
    #[must_use]
    pub(crate) fn in_doubt(self) -> Self {
        self.change(|inner| inner.effects = Effects::Possible)
    }

    /// Shows the error with the causes behind it, on one line, for the log.
    pub(crate) fn with_causes(&self) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            write!(f, "{self}")?;
            let source = std::error::Error::source(self);
            let mut causes = std::iter::successors(source, |cause| cause.source());
            causes.try_for_each(|cause| write!(f, ": {cause}"))
        })
    }

    /// Whether another try of a request that must not be done twice is worth it.
    pub(crate) fn is_worth_repeating(&self) -> bool {
        self.inner.advice == RetryAdvice::Same && self.has_no_side_effects()
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.inner));
        self
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.inner.source.as_ref()?;
        Some(&**source)
    }
}

/// Prints message, what it is about where the message does not say, reason and hint.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.inner;
        f.write_str(&inner.message)?;
        for (name, value) in &inner.context {
            if !inner.message.contains(value.as_str()) {
                write!(f, " {name}={value}")?;
            }
        }
        if let Some(reason) = inner.reason {
            write!(f, " ({reason})")?;
        }
        match &inner.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.inner;
        f.debug_struct("Error")
            .field("kind", &inner.kind)
            .field("reason", &inner.reason)
            .field("advice", &inner.advice)
            .field("effects", &inner.effects)
            .field("message", &inner.message)
            .field("context", &inner.context)
            .field("hint", &inner.hint)
            .field("source", &inner.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
