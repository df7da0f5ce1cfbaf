//! Files that are mapped into memory, and what happens when one of them is cut meanwhile.
//!
//! Reading a mapped page that the file no longer has raises SIGBUS. Reading the file piece by piece instead would cost a
//! copy of the weights, and asking for its length before each use would leave a gap, so the signal is answered: with the
//! line that any damaged file gets and exit code 2, the terminal given back.

use std::{
    ffi::c_void,
    fs::{File, Metadata},
    io,
    mem::MaybeUninit,
    ops::Deref,
    os::unix::fs::MetadataExt,
    path::Path,
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};
use memmap2::Mmap;

use crate::{
    output,
    text::{bounded, line},
};

/// A file in memory, read page by page as it is used.
pub struct Mapped {
    map: Mmap,
    range: &'static Listed,
}

impl Mapped {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// When it cannot be opened or mapped, with the path.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
        // SAFETY: the map is read-only; that the file is cut meanwhile is answered by `answer`.
        let map =
            unsafe { Mmap::map(&file) }.with_context(|| format!("{} cannot be mapped", path.display()))?;
        listen().with_context(|| format!("{} cannot be watched", path.display()))?;
        let name = bounded(&line(&path.display().to_string()));
        let range = Listed::add(&map, &name, identity(&file.metadata()?));
        Ok(Self { map, range })
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.range.start.store(usize::MAX, Ordering::SeqCst);
    }
}

/// What the handler knows of a map. It can take no lock, so entries are only ever added, and stay when their map is gone.
struct Listed {
    /// Its first address; the last there is where the map is gone.
    start: AtomicUsize,
    length: usize,
    file: Identity,
    message: String,
    next: Option<&'static Listed>,
}

static LIST: AtomicPtr<Listed> = AtomicPtr::new(ptr::null_mut());

impl Listed {
    fn add(bytes: &[u8], name: &str, file: Identity) -> &'static Self {
        let entry: *mut Self = Box::leak(Box::new(Self {
            start: AtomicUsize::new(bytes.as_ptr() as usize),
            length: bytes.len(),
            file,
            message: format!(
                "attnscope: {name} became shorter while it was read: something else writes to it; open it when that is done\n"
            ),
            next: None,
        }));
        let mut head = LIST.load(Ordering::SeqCst);
        // SAFETY: entries are never freed, and no longer changed once they are in the list but by atomic stores.
        unsafe {
            loop {
                (*entry).next = head.as_ref();
                match LIST.compare_exchange(head, entry, Ordering::SeqCst, Ordering::SeqCst) {
                    Ok(_) => return &*entry,
                    Err(other) => head = other,
                }
            }
        }
    }

    fn all() -> impl Iterator<Item = &'static Self> {
        // SAFETY: as in `add`.
        let first = unsafe { LIST.load(Ordering::SeqCst).as_ref() };
        std::iter::successors(first, |entry| entry.next)
    }

    /// The map that an address is in.
    fn of(address: usize) -> Option<&'static Self> {
        Self::all().find(|entry| {
            let start = entry.start.load(Ordering::SeqCst);
            address.checked_sub(start).is_some_and(|offset| offset < entry.length)
        })
    }
}

/// Device and number of a file, which are the same under all its names.
type Identity = (u64, u64);

fn identity(file: &Metadata) -> Identity {
    (file.dev(), file.ino())
}

/// Whether the file at `path`, links followed, is in memory now.
pub fn is_mapped(path: &Path) -> bool {
    let is_open = |entry: &Listed| entry.start.load(Ordering::SeqCst) != usize::MAX;
    path.metadata().is_ok_and(|file| {
        let file = identity(&file);
        Listed::all().any(|entry| entry.file == file && is_open(entry))
    })
}

/// What is done before the program ends because of a cut file.
static BEFORE: OnceLock<fn()> = OnceLock::new();

/// Has `action` run before the program ends because a file was cut. It runs in a signal handler: it may call only what is
/// safe there. The first action given stays.
pub fn before_the_end(action: fn()) {
    BEFORE.get_or_init(|| action);
}

/// Whether a thread ends the program because of a cut file.
static ENDING: AtomicBool = AtomicBool::new(false);

/// What SIGBUS did before: Rust's own handler, which tells of a stack that is full on some systems.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Has SIGBUS answered by [`answer`], from the first call on.
fn listen() -> io::Result<()> {
    if PREVIOUS.get().is_some() {
        return Ok(());
    }
    let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: both are valid for the call; zeroed, the action has no flags and an empty mask. A second thread that comes
    // here at the same time installs the same handler, and only the first reads what was before.
    unsafe {
        if libc::sigaction(libc::SIGBUS, ptr::null(), previous.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        PREVIOUS.get_or_init(|| previous.assume_init());
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = answer as extern "C" fn(_, _, _) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        if libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Ends the program with the line about the file whose map the address is in. Any other SIGBUS goes where it went before.
extern "C" fn answer(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel gives a valid `info`. What is called is safe in a signal handler: atomics, `write`, `_exit`, `pause`,
    // `sigaction`, and what `before_the_end` and `discard_unfinished` promise.
    unsafe {
        let Some(entry) = Listed::of((*info).si_addr() as usize) else {
            if let Some(previous) = PREVIOUS.get() {
                libc::sigaction(libc::SIGBUS, previous, ptr::null_mut());
            }
            // Returning, the instruction runs again and faults for the handler of before.
            return;
        };
        if ENDING.swap(true, Ordering::SeqCst) {
            // Another thread has read the same file and is at it: ending here would cut it short.
            loop {
                libc::pause();
            }
        }
        if let Some(before) = BEFORE.get() {
            before();
        }
        output::discard_unfinished();
        libc::write(libc::STDERR_FILENO, entry.message.as_ptr().cast(), entry.message.len());
        libc::_exit(2);
    }
}
