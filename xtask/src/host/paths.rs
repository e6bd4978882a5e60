// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders that make, the kernel's build or a socket cannot work with: told at once, and not after minutes.

use std::env;
use std::path::{self, Path};

use anyhow::{Context, Result, bail};

use crate::{artefacts, cache, workspace};

/// The longest path of a socket, in bytes.
const SOCKET_PATH: usize = 107;

/// The longest path of a guest's socket, from the temporary folder on.
const SOCKET: &str = "pinbed-XXXXXX/console.sock";

/// Refuses a checkout, a target folder, a cache or a temporary folder that something later fails with.
pub fn check() -> Result<()> {
    check_for_make(&workspace(), "the checkout", "move it")?;
    check_for_make(&artefacts(), "the folder of what is built", "set CARGO_TARGET_DIR to another")?;
    check_for_make(&cache::path("")?, "the cache folder", "set PINBED_CACHE to another")?;
    check_for_sockets(&path::absolute(env::temp_dir()).context("there is no temporary folder")?)
}

/// The kernel's build system refuses the same: make takes such a path for more than one.
fn check_for_make(folder: &Path, what: &str, way_out: &str) -> Result<()> {
    let path = folder.to_string_lossy();
    if path.contains(|c: char| c.is_whitespace() || c == ':') {
        bail!(
            "{what} is {path:?}, and kernel and module do not build where a path has a space or a colon; {way_out}"
        );
    }
    Ok(())
}

fn check_for_sockets(folder: &Path) -> Result<()> {
    let length = folder.join(SOCKET).as_os_str().len();
    if length > SOCKET_PATH {
        bail!(
            "the temporary folder {} is {} bytes too long for the paths of sockets; set TMPDIR to a shorter one",
            folder.display(),
            length - SOCKET_PATH
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_or_a_colon_is_refused_with_a_way_out() {
        let check = |path: &str| check_for_make(Path::new(path), "the cache folder", "move it");
        for path in ["/my disk/pinbed", "/disk:1/pinbed", "/tab\there"] {
            let error = check(path).unwrap_err().to_string();
            assert!(error.starts_with("the cache folder is ") && error.ends_with("; move it"), "{error}");
        }
        check("/home/me/.cache/pinbed-1.0_~").unwrap();
    }

    #[test]
    fn a_socket_may_have_all_bytes_of_its_path_and_no_more() {
        let longest = format!("/{}", "x".repeat(SOCKET_PATH - SOCKET.len() - 2));
        check_for_sockets(Path::new(&longest)).unwrap();
        let error = check_for_sockets(Path::new(&format!("{longest}x"))).unwrap_err().to_string();
        assert!(error.contains("is 1 bytes too long"), "{error}");
    }
}
