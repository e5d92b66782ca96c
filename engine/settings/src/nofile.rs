//! The limit on open files, which decides how many workers there must be.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Open files assumed where the system does not say: the oldest common default.
const NOFILE_FALLBACK: u64 = 1024;

/// Raises this process's soft limit on open files to the hard one and returns what holds afterwards.
pub fn nofile_raise() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return NOFILE_FALLBACK };
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_limit_reaches_the_hard_one() {
        let raised = nofile_raise();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits can be read");
        assert_eq!((raised, soft), (hard, hard));
    }
}
