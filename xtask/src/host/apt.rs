// SPDX-License-Identifier: MIT OR Apache-2.0
//! Installing the host's own packages on Debian and its kin.

use anyhow::{Result, bail};
use nix::unistd::Uid;

use super::command::Command;
use crate::progress::Progress;

/// Installs packages, printing each command that changes the machine before it runs.
pub fn install(packages: &[&str]) -> Result<()> {
    let Some(root) = RootAccess::find() else {
        bail!("not root and no sudo without a password; run `sudo {}` and try again", install_line(packages));
    };
    let progress = Progress::spinner(format!("installing {}", packages.join(" ")));
    let known = Command::new("apt-cache").arg("show").args(packages).run().is_ok();
    if known && root.apt_get(&install_args(packages)).announced().run().is_ok() {
        progress.finish("installed");
        return Ok(());
    }
    // A package that the lists do not know, or that has left the mirror: the lists are old or empty.
    root.apt_get(&["update"]).announced().run()?;
    root.apt_get(&install_args(packages)).announced().run()?;
    progress.finish("installed");
    Ok(())
}

/// The command line that a person can paste.
pub fn install_line(packages: &[&str]) -> String {
    format!("apt-get {}", install_args(packages).join(" "))
}

fn install_args<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    [&["install", "-y", "--no-install-recommends"], packages].concat()
}

/// How commands become root.
enum RootAccess {
    IsRoot,
    Sudo,
}

impl RootAccess {
    fn find() -> Option<Self> {
        if Uid::effective().is_root() {
            return Some(Self::IsRoot);
        }
        Command::new("sudo").args(["-n", "true"]).run().ok().map(|()| Self::Sudo)
    }

    fn apt_get(&self, args: &[&str]) -> Command {
        let command = match self {
            Self::IsRoot => Command::new("env"),
            Self::Sudo => Command::new("sudo").args(["-n", "env"]),
        };
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_paste_is_complete() {
        assert_eq!(install_line(&["flex", "bc"]), "apt-get install -y --no-install-recommends flex bc");
    }
}
