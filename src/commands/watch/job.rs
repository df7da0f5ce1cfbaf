//! The job whose end ends a watch.

use std::fs;

/// A process, told from a later one that was given its number.
pub struct Job {
    id: i32,
    /// When it was started, as Linux has it.
    started: Option<String>,
}

impl Job {
    /// The process of that number; it may have ended already.
    pub fn of(id: i32) -> Self {
        Self { id, started: state(id).map(|(_, started)| started) }
    }

    /// Whether it has ended, be it that its parent has not asked for its exit code yet.
    pub fn is_over(&self) -> bool {
        // SAFETY: the call takes two numbers, and signal 0 is none.
        let is_there = unsafe { libc::kill(self.id, 0) } == 0
            || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM);
        let state = state(self.id);
        let is_other = state.as_ref().is_some_and(|(state, started)| {
            matches!(state.as_str(), "Z" | "X") || Some(started) != self.started.as_ref()
        });
        !is_there || is_other
    }
}

/// The state of a process and when it was started, where the system has them as Linux does.
fn state(id: i32) -> Option<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // Its name stands in brackets and may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    Some((fields.next()?.to_owned(), fields.nth(18)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_over_when_it_has_ended_and_not_before() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let job = Job::of(child.id() as i32);
        assert!(!job.is_over());
        assert!(Job { started: Some("another time".into()), ..Job::of(child.id() as i32) }.is_over());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(job.is_over() && Job::of(job.id).is_over());
        assert!(!Job::of(1).is_over(), "that of another user too");
    }
}
