//! The kernel itself, past everybody's hooks, ours included.

use std::io;

use libc::{c_int, c_long};

/// A system call's result as a C function returns it, with `errno` set by whoever made the call.
pub type Returned = c_long;

/// Sets `errno` and returns what a failing C function does.
pub fn refuse(errno: c_int) -> Returned {
    // SAFETY: the location is this thread's own and always valid.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// The error of the last call that failed on this thread.
pub fn error() -> io::Error {
    io::Error::last_os_error()
}

/// Makes a system call with the arguments a hook was given. Their meaning, and whether pointers among them are
/// good, is between the caller of the hook and the kernel.
macro_rules! call {
    ($number:expr $(, $argument:expr)*) => {{
        // SAFETY: the arguments are passed as they came; the kernel checks every one of them.
        unsafe { libc::syscall($number $(, $argument)*) }
    }};
}
pub(crate) use call;
