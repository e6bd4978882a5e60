// SPDX-License-Identifier: MIT OR Apache-2.0

//! Ctrl-C, SIGTERM and the end of the terminal, heard once for the whole process: what comes between
//! two guests, or while one starts, must end those that follow as well.

use std::sync::LazyLock;
use std::{fmt, fs, io, thread};

use nix::sys::signal::Signal;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::watch;

/// Whether the run is to end.
static CAME: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(false));

/// The thread that hears signals, started once.
static LISTENING: LazyLock<()> = LazyLock::new(listen);

/// One listener's view of the interrupt.
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Hears of every signal from the first call in the process on. Until then signals have their
    /// default meaning: what is built before the first guest just ends.
    pub(crate) fn watch() -> Self {
        LazyLock::force(&LISTENING);
        Self(CAME.subscribe())
    }

    /// Whether one came already.
    pub(crate) fn has_come(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for one; returns at once where one came already.
    pub(crate) async fn come(&mut self) {
        // An error would mean that the sender is gone, which lives as long as the process.
        let _ = self.0.wait_for(|came| *came).await;
    }
}

/// Whether the run is to end. Where nobody has watched yet, signals end the process by themselves.
pub(crate) fn has_come() -> bool {
    *CAME.borrow()
}

/// The user wants no more.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted: the guests were ended, and nothing is left behind")
    }
}

impl std::error::Error for Interrupted {}

/// Ends the guests, and those that would follow, as Ctrl-C does.
pub(crate) fn raise() {
    CAME.send_replace(true);
}

/// Starts a thread that listens for as long as the process lives.
fn listen() {
    let (ready, listening) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let heard = (hear(Signal::SIGINT), hear(Signal::SIGHUP), hear(Signal::SIGTERM));
            let (Ok(interrupt), Ok(hangup), Ok(terminate)) = heard else { return };
            // That nobody waits for the answer any more is fine.
            let _ = ready.send(());
            tokio::select! {
                () = first(interrupt) => {}
                () = first(hangup) => {}
                () = first(terminate) => {}
            }
            raise();
            std::future::pending::<()>().await;
        });
    });
    // An error means that the thread gave up, and the signals keep their default meaning.
    let _ = listening.recv();
}

/// Hears a signal; none where the process was started with it ignored, as nohup does: it stays so.
fn hear(which: Signal) -> io::Result<Option<Stream>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap_or_default();
    if ignored >> (which as i32 - 1) & 1 == 1 {
        return Ok(None);
    }
    signal(SignalKind::from_raw(which as i32)).map(Some)
}

async fn first(signals: Option<Stream>) {
    match signals {
        Some(mut signals) => drop(signals.recv().await),
        None => std::future::pending().await,
    }
}
