// SPDX-License-Identifier: MIT OR Apache-2.0

//! Ctrl-C and SIGTERM, heard once for the whole process: a signal that comes between two guests, or
//! while one starts, must end those that follow as well.

use std::sync::LazyLock;
use std::thread;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

static CAME: LazyLock<watch::Receiver<bool>> = LazyLock::new(listen);

/// One listener's view of the signals.
pub(super) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Hears of every signal from the first call in the process on.
    pub(super) fn watch() -> Self {
        Self(CAME.clone())
    }

    /// Whether one came already.
    pub(super) fn has_come(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for one; returns at once where one came already.
    pub(super) async fn come(&mut self) {
        if self.0.wait_for(|came| *came).await.is_err() {
            // The listener could not start: the signals keep their default meaning, which is the end.
            std::future::pending::<()>().await;
        }
    }
}

/// Starts the thread that listens for as long as the process lives.
fn listen() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    let (ready, listening) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
            let (Ok(mut interrupt), Ok(mut terminate)) = signals else { return };
            // That nobody waits for the answer any more is fine.
            let _ = ready.send(());
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            sender.send_replace(true);
            std::future::pending::<()>().await;
        });
    });
    // An error means that the thread gave up, and the signals keep their default meaning.
    let _ = listening.recv();
    receiver
}
