//! How the process treats memory that it has freed.

/// Keeps freed memory for the next tensor. Work that makes the same tensors over and over spends a tenth of its time, and
/// training half of it, on handing pages back to the system and getting them again.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the calls set numbers inside the allocator, which takes its own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}
