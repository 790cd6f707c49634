//! Troubles that come again and again, of which one word is enough.

use std::time::Duration;

use tokio::time::Instant;

/// What comes again after so much silence is another spell.
const SILENCE: Duration = Duration::from_secs(60);

/// A trouble that may last.
#[derive(Debug, Default)]
pub(super) struct Spell {
    last: Option<Instant>,
}

impl Spell {
    /// Notes that there is trouble; returns whether a spell of it has begun.
    pub(super) fn note(&mut self) -> bool {
        let now = Instant::now();
        let last = self.last.replace(now);
        last.is_none_or(|last| now.duration_since(last) >= SILENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_word_for_each_spell() {
        let mut spell = Spell::default();
        let mut words = 0;
        for pause in [
            SILENCE / 2,
            SILENCE / 2,
            SILENCE / 2,
            SILENCE,
            Duration::ZERO,
        ] {
            words += u32::from(spell.note());
            tokio::time::advance(pause).await;
        }
        assert_eq!(words, 2, "at the beginning, and after the silence");
    }
}
