// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a broken agent would do instead of giving its verdict: the self-test of the harness demands
//! that the host notices.

use nix::unistd::pause;

use super::ports::Ports;
use crate::guest::error::Result;
use crate::protocol::{self, AgentFault, FromGuest};

/// How much floods send, in bytes.
const FLOOD: usize = 100 << 20;

/// Commits a fault in place of the verdict. The guest is ended afterwards.
pub(super) fn commit(fault: AgentFault, ports: &mut Ports, verdict: &FromGuest) -> Result<()> {
    let line = protocol::line(verdict);
    let half = &line[..line.len() / 2];
    match fault {
        AgentFault::NoVerdict => Ok(()),
        AgentFault::TwoVerdicts => ports.send_raw(&line.repeat(2)),
        AgentFault::Garbage => ports.send_raw("this is not a message\n"),
        AgentFault::HalfAVerdict => ports.send_raw(half),
        AgentFault::HalfAVerdictThenSilence => {
            ports.send_raw(half)?;
            pause();
            Ok(())
        }
        AgentFault::EndlessLine => flood(ports, &"x".repeat(4096)),
        AgentFault::EndlessMessages => {
            flood(ports, &protocol::line(&FromGuest::Doing("working hard".repeat(300))))
        }
        AgentFault::Exit => std::process::exit(0),
    }
}

fn flood(ports: &mut Ports, drop: &str) -> Result<()> {
    for _ in 0..FLOOD.div_ceil(drop.len()) {
        ports.send_raw(drop)?;
    }
    Ok(())
}
