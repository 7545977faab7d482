//! Waiting for what can only be asked and never calls. Enters: a limit and a question. Leaves: the answer, or an error that says what
//! never came.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Pause between two questions. Each of them is answered in milliseconds, and most waits end with the first or second.
const PAUSE: Duration = Duration::from_millis(20);

/// A moment that is not to be passed.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// So many seconds from now.
    #[expect(clippy::disallowed_methods, reason = "a limit for tests and the demo; nothing of the agent depends on it")]
    pub fn after(seconds: u64) -> Self {
        Self(Instant::now() + Duration::from_secs(seconds))
    }

    /// Is it over?
    #[expect(clippy::disallowed_methods, reason = "a limit for tests and the demo; nothing of the agent depends on it")]
    pub fn passed(&self) -> bool {
        Instant::now() >= self.0
    }

    /// Asks until there is an answer; at least once, also when the time is over.
    pub fn until<T>(&self, what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        loop {
            if let Some(answer) = ask()? {
                return Ok(answer);
            }
            if self.passed() {
                bail!("waited in vain for {what}");
            }
            thread::sleep(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_asked_until_it_is_answered_or_the_time_is_over() {
        let mut asked = 0;
        let third = Deadline::after(60).until("the third", || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        });
        assert_eq!(third.unwrap(), 3);
        let never = Deadline::after(0).until("the impossible", || Ok(None::<()>));
        assert_eq!(never.unwrap_err().to_string(), "waited in vain for the impossible");
        assert_eq!(Deadline::after(0).until("now", || Ok(Some(1))).unwrap(), 1);
    }
}
