//! Children that must not outlive the guard, and keep its lock as long as they live.

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Starts a program that is killed when the calling thread ends, and that holds the lock until it is gone.
pub fn bound(command: &mut Command, lock: &File) -> io::Result<Child> {
    let lock = lock.as_raw_fd();
    let parent = nix::unistd::Pid::this();
    let prepare = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before that was said.
        if getppid() != parent {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // SAFETY: the descriptor was open in the parent when it forked, and nothing has closed it in the child.
        let lock = unsafe { BorrowedFd::borrow_raw(lock) };
        fcntl(lock, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    };
    // SAFETY: between fork and exec, nothing but system calls is made; nothing is allocated, and no lock is taken.
    unsafe { command.pre_exec(prepare) }.spawn()
}
