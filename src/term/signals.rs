//! Signals, and a terminal that goes away.
//!
//! Two quiet threads report to the loop. One waits for signals; the other waits for the terminal to hang up, which the
//! input library cannot see (it would spin) and which a shell does not always announce by SIGHUP: without it a program
//! whose connection broke would keep its GPU memory for ever.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, RawFd},
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use signal_hook::{
    consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP},
    iterator::Signals,
};

use super::raw;
use crate::output;

/// How often the terminal is looked at, in milliseconds, should the kernel not say that it went.
const HANGUP_CHECK: i32 = 500;
/// How long the loop has to end the program before that is done for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the loop has to react to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// End with this exit code: 128 and the number of the signal.
    End(i32),
    /// Give the terminal back and stop, as Ctrl-Z does.
    Stop,
    /// Running again after a stop: take the terminal back.
    Continue,
}

/// Starts to watch for signals and for a hangup.
pub fn watch() -> io::Result<Receiver<Signal>> {
    let (sender, receiver) = unbounded();
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGCONT])?;
    let to_loop = sender.clone();
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in &mut signals {
            match signal {
                SIGTSTP => drop(to_loop.send(Signal::Stop)),
                SIGCONT => drop(to_loop.send(Signal::Continue)),
                number => end(&to_loop, 128 + number),
            }
        }
    })?;
    let tty = io::stdout().as_raw_fd();
    thread::Builder::new().name("hangup".into()).spawn(move || {
        while !hung_up(tty) {}
        end(&sender, 128 + SIGHUP);
    })?;
    Ok(receiver)
}

/// Asks the loop to end the program, and ends it without the loop if that takes too long: the loop may be stuck in a
/// write to a terminal that reads no more.
fn end(to_loop: &Sender<Signal>, code: i32) {
    let _ = to_loop.send(Signal::End(code));
    thread::sleep(PATIENCE);
    thread::spawn(raw::leave);
    thread::sleep(PATIENCE / 4);
    // SAFETY: `_exit` takes no pointers; not running destructors is the point, one of them may be what is stuck.
    unsafe { libc::_exit(code) }
}

/// Waits for half a second at most, and tells whether the terminal is gone.
fn hung_up(tty: RawFd) -> bool {
    let mut watched = libc::pollfd { fd: tty, events: 0, revents: 0 };
    // SAFETY: `watched` is one valid pollfd, and the count says one.
    let ready = unsafe { libc::poll(&raw mut watched, 1, HANGUP_CHECK) };
    ready > 0 && watched.revents & (libc::POLLHUP | libc::POLLERR) != 0
}

/// Gives the terminal back and stops this process and what runs with it (the shell waits for all of them). That it runs
/// again is told by [`Signal::Continue`]. Does nothing where no shell could continue us: as the terminal's own program.
pub fn stop() {
    // SAFETY: both calls take a number and touch no memory; 0 means our own session.
    if unsafe { libc::getpgrp() == libc::getsid(0) } {
        return;
    }
    raw::leave();
    // SAFETY: takes two numbers; 0 means our own process group.
    unsafe { libc::kill(0, libc::SIGSTOP) };
}

/// For commands without a screen: what asks the program to end ends it at once, with 128 and the number of the signal, and
/// takes away what is half written. A signal that is ignored from outside, as `nohup` has it, stays so.
pub fn interrupt_ends() -> io::Result<()> {
    let asked: Vec<i32> =
        [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal)).collect();
    let mut signals = Signals::new(asked)?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            output::discard_unfinished();
            // SAFETY: `_exit` takes no pointers; destructors are not run, for other threads are at work.
            unsafe { libc::_exit(128 + signal) }
        }
    })?;
    Ok(())
}

/// For a process that works for the one that has started it: it is asked to end when that one ends, where the system can do that.
pub fn end_with_parent() {
    #[cfg(target_os = "linux")]
    // SAFETY: the call takes numbers; of a parent that is gone already nothing is lost but time.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
    }
}

/// Whether whoever started the program has a signal ignored.
fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: `action` is valid for the call, which changes nothing; zeroed, it is the default action.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
