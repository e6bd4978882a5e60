// SPDX-License-Identifier: MIT OR Apache-2.0

//! Why something in the guest could not be done.

use std::io;

use nix::errno::Errno;

/// An error that names what was being done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("{doing}: {source}")]
    System {
        /// What was being done, with what.
        doing: String,
        /// Its answer.
        source: io::Error,
    },
    /// Something is not as it must be.
    #[error("{0}")]
    Unexpected(String),
    /// A check that the rest of the scenario needs is violated; it is recorded already.
    #[error("the rest of the scenario needs that {0}")]
    Required(String),
    /// The kernel lacks what the scenario needs.
    #[error("the kernel under test lacks {0}")]
    Lacking(String),
}

impl Error {
    /// What the kernel answered, where it is the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::System { source, .. } => source.raw_os_error().map(Errno::from_raw),
            Self::Unexpected(_) | Self::Required(_) | Self::Lacking(_) => None,
        }
    }
}

/// What everything in the guest returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Names what was being done when a call failed.
pub trait Doing<T> {
    /// Turns the error into an [`Error`] that says `doing`.
    fn doing(self, doing: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|error| Error::System { doing: doing.into(), source: error.into() })
    }
}

/// The result of a system call that returns a count, or -1 and `errno`.
pub(crate) fn count(returned: isize) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}
