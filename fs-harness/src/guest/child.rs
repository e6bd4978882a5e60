// SPDX-License-Identifier: MIT OR Apache-2.0

//! A child of the scenario, which has a copy of its memory and does what it is told.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe};

use super::error::{Doing, Error, Result};
use super::threads;

/// How often one who is asleep is looked at before its answer is given up. Looks are counted, and not time, in which
/// the whole guest may stand still.
const LOOKS: usize = 100;
/// How long the answer is waited for between two looks, in milliseconds.
const BETWEEN_LOOKS: u8 = 10;

/// A forked process. It ends when this is dropped, or before when it is told to.
pub struct Child {
    pid: Pid,
    questions: Option<File>,
    answers: File,
}

impl Child {
    /// Forks. The child answers each question by `answer`, and has no other purpose.
    pub fn fork(mut answer: impl FnMut(u8) -> u8) -> Result<Self> {
        let (for_child, questions) = pipe().doing("make a pipe")?;
        let (answers, from_child) = pipe().doing("make a pipe")?;
        // SAFETY: a scenario's process has one thread, so that no lock is held by another; the child
        // runs `serve` and leaves without returning.
        match unsafe { fork() }.doing("fork")? {
            ForkResult::Parent { child } => {
                Ok(Self { pid: child, questions: Some(questions.into()), answers: answers.into() })
            }
            ForkResult::Child => {
                // Its copies would keep the pipe of questions open, and one that never ends would keep the agent
                // listening to the scenario.
                drop(questions);
                // SAFETY: it takes a number; nothing of the child's writes there.
                unsafe { libc::close(libc::STDOUT_FILENO) };
                serve(for_child.into(), from_child.into(), &mut answer);
                // SAFETY: it takes a number and does not return: nothing of the parent's is dropped.
                unsafe { libc::_exit(0) }
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Asks a question and waits for the answer.
    pub fn ask(&mut self, question: u8) -> Result<u8> {
        self.tell(question)?;
        self.hear()
    }

    /// Waits for the answer to a question that was told.
    pub fn hear(&mut self) -> Result<u8> {
        let mut answer = [0];
        self.answers.read_exact(&mut answer).doing("hear the child's answer")?;
        Ok(answer[0])
    }

    /// Waits for the answer to a question that was told. There is none if the child is found asleep, where no signal
    /// would wake it, each time for a second.
    pub fn hear_unless_stuck(&mut self) -> Result<Option<u8>> {
        let mut asleep = 0;
        while asleep < LOOKS {
            let mut answers = [PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut answers, PollTimeout::from(BETWEEN_LOOKS));
            if ready.doing("wait for the child's answer")? > 0 {
                return self.hear().map(Some);
            }
            asleep = if threads::is_asleep(self.pid) { asleep + 1 } else { 0 };
        }
        Ok(None)
    }

    /// Leaves it to what it sleeps in for ever. Its process lasts as long as the guest.
    pub fn abandon(self) {
        std::mem::forget(self);
    }

    /// Asks a question to which there may be no answer.
    pub fn tell(&mut self, question: u8) -> Result<()> {
        let ended = || Error::Unexpected("the child was told to end".to_owned());
        self.questions.as_mut().ok_or_else(ended)?.write_all(&[question]).doing("tell the child")
    }

    /// Lets it end, and waits until it has. Its process id is nobody's then.
    pub fn end(&mut self) -> Result<()> {
        if self.questions.take().is_none() {
            return Ok(());
        }
        match waitpid(self.pid, None).doing("wait for the child")? {
            WaitStatus::Exited(_, 0) => Ok(()),
            status => Err(Error::Unexpected(format!("the child ended with {status:?}"))),
        }
    }

    /// Kills it, and tells whether it is gone in time.
    pub fn kill_within(mut self, time: Duration) -> Result<bool> {
        kill(self.pid, Signal::SIGKILL).doing("kill the child")?;
        self.questions = None;
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            let status = waitpid(self.pid, Some(WaitPidFlag::WNOHANG)).doing("wait for the killed child")?;
            if status != WaitStatus::StillAlive {
                return Ok(true);
            }
            std::thread::yield_now();
        }
        Ok(false)
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        kill(self.pid, Signal::SIGKILL).doing("kill the child")?;
        self.questions = None;
        waitpid(self.pid, None).doing("wait for the killed child").map(drop)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Its memory must be gone when the scenario's last checks are made; how it ended is told by `end`.
        let _ = self.end();
    }
}

fn serve(mut questions: File, mut answers: File, answer: &mut impl FnMut(u8) -> u8) {
    let mut question = [0];
    while questions.read_exact(&mut question).is_ok() {
        if answers.write_all(&[answer(question[0])]).is_err() {
            return;
        }
    }
}
