// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask doctor`: what the host has and what it lacks. Changes nothing.

use anyhow::Result;
use comfy_table::{Table, presets};

use super::cargo_tool::BINDGEN;
use super::command::Command;
use super::toolchain;
use super::tools::{Need, TOOLS, Tool, find_program, first_version};
use crate::cache;
use crate::say;

/// One line of the table.
struct Row {
    name: &'static str,
    version: String,
    place: String,
    advice: Advice,
}

/// What is to be done about a tool.
enum Advice {
    Fine,
    /// pinbed runs cells without it; the text says what it is for.
    Optional(String),
    /// pinbed does not work; the text says what to do.
    Required(String),
}

/// Prints the table, and tells whether all that is required is there.
pub fn main() -> Result<bool> {
    let of_rust = [
        rustc()?,
        rust_library()?,
        bindgen()?,
        component("cargo-fmt", "fmt", "rustfmt"),
        component("cargo-clippy", "clippy", "clippy"),
    ];
    let rows: Vec<Row> = TOOLS.iter().map(row).chain(of_rust).collect();
    say!("{}", table(&rows));
    say!("cache: {}", cache::path("")?.display());
    let missing = rows.iter().filter(|row| matches!(row.advice, Advice::Required(_))).count();
    match missing {
        0 => say!("everything that is required is there"),
        1 => say!("1 required thing is missing; `cargo xtask setup` gets it"),
        _ => say!("{missing} required things are missing; `cargo xtask setup` gets them"),
    }
    Ok(missing == 0)
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["tool", "version", "where", "to do"]);
    for row in rows {
        let advice = match &row.advice {
            Advice::Fine => "",
            Advice::Optional(text) | Advice::Required(text) => text,
        };
        table.add_row([row.name, &row.version, &row.place, advice]);
    }
    table
}

fn row(tool: &Tool) -> Row {
    let found = tool.find();
    let advice = match (&found, tool.need) {
        (Some(found), _) if tool.accepts(&found.version) => Advice::Fine,
        (Some(_), _) => {
            let minimum = tool.minimum.unwrap_or_default();
            Advice::Required(format!("too old: {} wants {minimum} or newer", tool.purpose))
        }
        (None, Need::Required) => Advice::Required(format!(
            "missing: install {} (Debian: {}), for {}",
            tool.name, tool.debian, tool.purpose
        )),
        (None, Need::Llvm) => Advice::Optional(format!("installed when needed, for {}", tool.purpose)),
        (None, Need::Optional) => Advice::Optional(format!("optional, for {}", tool.purpose)),
    };
    let (version, place) =
        found.map_or_else(Default::default, |found| (found.version, found.path.display().to_string()));
    Row { name: tool.name, version, place, advice }
}

/// The rustc that runs pinbed also compiles the kernel's Rust, which asks for less than pinbed does.
fn rustc() -> Result<Row> {
    let said = Command::build("rustc").arg("--version").read()?;
    let version = first_version(&said).unwrap_or_default().to_owned();
    let place = find_program("rustc").map(shown).unwrap_or_default();
    Ok(Row { name: "rustc", version, place, advice: Advice::Fine })
}

/// A component of the Rust toolchain. Cargo is asked, since rustup has a program of that name in PATH
/// whether the component is there or not.
fn component(program: &'static str, subcommand: &str, component: &str) -> Row {
    let said = Command::new("cargo").args([subcommand, "--version"]).read();
    let advice = match said {
        Ok(_) => Advice::Fine,
        Err(_) => Advice::Optional(format!(
            "missing: `cargo xtask test` needs it; `rustup component add {component}` gets it"
        )),
    };
    let (version, place) = said.map_or_else(
        |_| Default::default(),
        |said| {
            let version = first_version(&said).unwrap_or_default().to_owned();
            (version, find_program(program).map(shown).unwrap_or_default())
        },
    );
    Row { name: program, version, place, advice }
}

fn bindgen() -> Result<Row> {
    let found = BINDGEN.cached()?;
    let advice = match found {
        Some(_) => Advice::Fine,
        None => Advice::Required("missing: `cargo xtask setup` builds it into the cache".to_owned()),
    };
    let version = found.as_ref().map(|_| BINDGEN.version.to_owned()).unwrap_or_default();
    Ok(Row { name: "bindgen", version, place: found.map(shown).unwrap_or_default(), advice })
}

fn rust_library() -> Result<Row> {
    let rustc = Command::build("rustc").arg("-vV").read()?;
    let found = toolchain::present_rust_library(&rustc)?;
    let advice = match found {
        Some(_) => Advice::Fine,
        None => Advice::Required("missing: `cargo xtask setup` gets it into the cache".to_owned()),
    };
    Ok(Row {
        name: "Rust library source",
        version: String::new(),
        place: found.map(shown).unwrap_or_default(),
        advice,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "a function to map an Option with")]
fn shown(path: std::path::PathBuf) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tools::Probe;

    fn tool(name: &'static str, minimum: Option<&'static str>, need: Need) -> Tool {
        let probe = Probe::Program(&["-c", "echo tool 2.5"]);
        Tool { name, probe, minimum, debian: "a-package", purpose: "a test", need }
    }

    #[test]
    fn what_is_missing_names_its_package() {
        let row = row(&tool("no-such-tool", None, Need::Required));
        assert!(matches!(row.advice, Advice::Required(text) if text.contains("a-package")));
    }

    #[test]
    fn what_is_too_old_is_not_fine() {
        assert!(matches!(row(&tool("sh", Some("2.6"), Need::Required)).advice, Advice::Required(_)));
        assert!(matches!(row(&tool("sh", Some("2.5"), Need::Required)).advice, Advice::Fine));
    }

    #[test]
    fn a_missing_component_names_the_way_to_it() {
        let row = component("cargo-no-such", "no-such-subcommand", "no-such");
        assert!(matches!(row.advice, Advice::Optional(text) if text.contains("component add no-such")));
        assert_eq!((row.version.as_str(), row.place.as_str()), ("", ""));
    }

    #[test]
    fn what_is_optional_is_not_required() {
        assert!(matches!(row(&tool("no-such-tool", None, Need::Optional)).advice, Advice::Optional(_)));
    }
}
