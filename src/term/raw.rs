//! The modes of the terminal, and the frames sent to it.
//!
//! A [`RawTerminal`] puts the terminal into raw mode and onto the alternate screen; [`leave`] undoes both, is safe to call at
//! any time and from any thread, and is what every way out goes through: the normal end, an error, a panic of the UI
//! thread, a signal, a suspension. The widgets draw into memory, and each frame is sent as one write.

use std::{
    cell::RefCell,
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd},
    panic,
    path::PathBuf,
    rc::Rc,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    thread,
};

use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use ratatui::{Frame, Terminal, backend::CrosstermBackend, layout::Rect};

use super::env;
use crate::mapped;

/// Alternate screen, bracketed paste, no cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?2004h\x1b[?25l";
/// The reverse, after ending a frame that may have been cut off and resetting the colours.
const LEAVE: &[u8] = b"\x1b[?2026l\x1b[?2004l\x1b[0m\x1b[?25h\x1b[?1049l";
/// The terminal shows nothing of a frame before its end.
const BEGIN_FRAME: &[u8] = b"\x1b[?2026h";
const END_FRAME: &[u8] = b"\x1b[?2026l";
/// Size at which the log of what libraries print is begun anew.
const LOG_LIMIT: u64 = 1 << 20;

/// Whether the terminal is in our modes.
static ACTIVE: AtomicBool = AtomicBool::new(false);
/// The modes of the terminal before ours, for [`leave_from_handler`].
static MODES: OnceLock<libc::termios> = OnceLock::new();
/// A duplicate of the real standard error while it goes to the log, else -1.
static SAVED_STDERR: AtomicI32 = AtomicI32::new(-1);

/// The terminal while the explorer runs; dropping it leaves.
pub struct RawTerminal {
    terminal: Terminal<CrosstermBackend<Pending>>,
    /// What the terminal library has written since the last frame.
    pending: Pending,
    tty: File,
}

impl RawTerminal {
    /// Takes over the terminal on standard output.
    pub fn open() -> io::Result<Self> {
        // Colour is decided by our own rules; the library's reading of NO_COLOR would break reverse and bold.
        crossterm::style::force_color_output(true);
        leave_when_this_thread_panics();
        remember_modes();
        mapped::before_the_end(leave_from_handler);
        let pending = Pending::default();
        let mut terminal =
            Self { terminal: Terminal::new(CrosstermBackend::new(pending.clone()))?, pending, tty: tty()? };
        terminal.enter()?;
        Ok(terminal)
    }

    /// Enters our modes; does nothing when already in them.
    pub fn enter(&mut self) -> io::Result<()> {
        if ACTIVE.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        // Raw mode first: in the background this is where the process waits, before any byte is written.
        let entered = enable_raw_mode().and_then(|()| self.tty.write_all(ENTER));
        if entered.is_ok() {
            redirect_stderr();
        } else {
            leave();
        }
        entered
    }

    /// Draws one frame and sends it in one write; with `repaint`, whatever the screen shows now is drawn over.
    pub fn frame<T>(&mut self, repaint: bool, paint: impl FnOnce(&mut Frame) -> T) -> io::Result<T> {
        self.pending.0.borrow_mut().extend_from_slice(BEGIN_FRAME);
        let mut painted = None;
        if repaint {
            let area = Rect::from((ratatui::layout::Position::ORIGIN, self.terminal.size()?));
            self.terminal.resize(area)?;
        }
        self.terminal.draw(|frame| painted = Some(paint(frame)))?;
        let mut bytes = self.pending.0.take();
        bytes.extend_from_slice(END_FRAME);
        self.send(&bytes)?;
        bytes.clear();
        self.pending.0.replace(bytes);
        painted.ok_or_else(|| io::Error::other("the frame was not painted"))
    }

    /// Sends bytes as they are, between frames.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if active() { self.tty.write_all(bytes) } else { Ok(()) }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        leave();
    }
}

/// Whether the terminal is in our modes.
pub fn active() -> bool {
    ACTIVE.load(Ordering::SeqCst)
}

/// Gives the terminal back as it was; does nothing when that has been done. Errors have nowhere to go and are ignored.
pub fn leave() {
    if ACTIVE.swap(false, Ordering::SeqCst) {
        let _ = tty().and_then(|mut tty| tty.write_all(LEAVE));
        let _ = disable_raw_mode();
        restore_stderr();
    }
}

/// Keeps the modes that the terminal has now.
fn remember_modes() {
    let mut modes = MaybeUninit::uninit();
    // SAFETY: `modes` is valid for the call, and filled where it says 0.
    unsafe {
        if libc::tcgetattr(libc::STDOUT_FILENO, modes.as_mut_ptr()) == 0 {
            MODES.get_or_init(|| modes.assume_init());
        }
    }
}

/// The same as [`leave`] with what a signal handler may call, for a program that ends right after it.
fn leave_from_handler() {
    if ACTIVE.swap(false, Ordering::SeqCst) {
        // SAFETY: the bytes and the modes are valid for the calls, which are all safe in a signal handler.
        unsafe {
            libc::write(libc::STDOUT_FILENO, LEAVE.as_ptr().cast(), LEAVE.len());
            if let Some(modes) = MODES.get() {
                libc::tcsetattr(libc::STDOUT_FILENO, libc::TCSANOW, modes);
            }
        }
        restore_stderr();
    }
}

/// Standard output without the buffer that the standard library puts before it.
fn tty() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Only a panic of the thread that draws gives the terminal back: one on a worker is caught, and the screen stays.
fn leave_when_this_thread_panics() {
    let ui = thread::current().id();
    let next = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if thread::current().id() == ui {
            leave();
        }
        next(info);
    }));
}

/// Memory that the terminal library writes to; [`RawTerminal::frame`] sends it on.
#[derive(Clone, Default)]
struct Pending(Rc<RefCell<Vec<u8>>>);

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where text goes that libraries print on standard error while the screen is ours.
pub fn log_path() -> Option<PathBuf> {
    let state = env("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(env("HOME")?).join(".local/state")))?;
    Some(state.join("attnscope").join("stderr.log"))
}

fn open_log() -> io::Result<File> {
    let at = log_path().ok_or_else(|| io::Error::other("no home directory"))?;
    if let Some(directory) = at.parent() {
        fs::create_dir_all(directory)?;
    }
    let log = OpenOptions::new().create(true).append(true).open(at)?;
    if log.metadata()?.len() > LOG_LIMIT {
        log.set_len(0)?;
    }
    Ok(log)
}

/// Sends standard error to the log, or to nowhere, so that it cannot land in the middle of the screen.
fn redirect_stderr() {
    let stderr = io::stderr();
    if !stderr.is_terminal() {
        return;
    }
    let sink = open_log().or_else(|_| OpenOptions::new().write(true).open("/dev/null"));
    if let Ok(sink) = sink {
        // SAFETY: both descriptors are open for the length of the calls; fcntl and dup2 touch no memory of ours.
        unsafe {
            let saved = libc::fcntl(stderr.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3);
            if saved >= 0 {
                libc::dup2(sink.as_raw_fd(), stderr.as_raw_fd());
                SAVED_STDERR.store(saved, Ordering::SeqCst);
            }
        }
    }
}

fn restore_stderr() {
    let saved = SAVED_STDERR.swap(-1, Ordering::SeqCst);
    if saved >= 0 {
        // SAFETY: `saved` is a descriptor that `redirect_stderr` opened; the swap makes this its only owner.
        unsafe {
            libc::dup2(saved, libc::STDERR_FILENO);
            libc::close(saved);
        }
    }
}
