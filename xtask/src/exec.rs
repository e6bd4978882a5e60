// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask exec`: runs any program of the user's in a guest, on a setup.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use fs_harness::cell::Setup;
use fs_harness::protocol::Program;

use crate::bench::{self, Bench, Options};
use crate::luggage::Luggage;
use crate::{note, session};

/// What to run, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// What is mounted
    #[arg(long, value_name = "SETUP", default_value = "ext4", value_parser = setups())]
    fs: Setup,
    /// A file or folder that comes along to the same path, or a program by its name
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// A variable for the program's environment
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Show every line that the kernel logged
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    bench: Options,
    /// The program of this host, and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Runs the program, and returns its exit code.
pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    // Before anything is built: a typing error must not cost ten minutes.
    let environment = environment(&arguments.env)?;
    let mut luggage = Luggage::new()?;
    let mut words = arguments.command.clone();
    match luggage.add_program(&words[0])? {
        Ok(path) => words[0] = path,
        Err(refusal) => {
            note!("error: {}", refusal.why);
            return Ok(refusal.code.into());
        }
    }
    for file in &arguments.with {
        luggage.add(file)?;
    }
    let luggage = luggage.pack()?;
    let bench = prepare(&arguments.bench)?;
    let program = Program { words, environment, folder: None, terminal: None };
    let seen = session::run(&bench, arguments.fs, program, luggage)?;
    let account = session::account(&seen, &bench, arguments.fs, arguments.verbose)?;
    note!("{}", account.text.trim_end());
    Ok(account.code.into())
}

/// Has everything ready. Other runs in this checkout wait only until then. Tests name a bench that is ready, which
/// has to be the one that the options ask for, if they ask for any.
pub fn prepare(options: &Options) -> Result<Bench> {
    if env::var_os(bench::VARIABLE).is_some() {
        let bench = Bench::load()?;
        options.are_of(&bench)?;
        return Ok(bench);
    }
    let _alone = bench::occupy()?;
    Bench::prepare(options)
}

/// Takes the name of a setup.
pub fn setups() -> impl TypedValueParser<Value = Setup> {
    PossibleValuesParser::new(Setup::ALL.iter().map(|setup| setup.name())).map(|name| {
        let is_it = |setup: &&Setup| setup.name() == name;
        *Setup::ALL.iter().find(is_it).expect("the parser knows no other names")
    })
}

/// What the program sees of the user's environment, and what the user adds.
pub fn environment(added: &[String]) -> Result<Vec<(String, String)>> {
    let inherited =
        ["TERM", "LANG", "TZ"].into_iter().filter_map(|name| Some((name.to_owned(), env::var(name).ok()?)));
    let fixed = [("USER", "root"), ("LOGNAME", "root"), ("SHELL", "/bin/sh"), ("HOSTNAME", "pinbed")];
    let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut all: Vec<_> = inherited.chain(fixed).collect();
    for variable in added {
        match variable.split_once('=') {
            Some((name, value)) if !name.is_empty() => all.push((name.to_owned(), value.to_owned())),
            _ => bail!("--env {variable} is not of the form NAME=VALUE"),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_a_name_and_a_value() {
        let all = environment(&["A=b=c".to_owned()]).unwrap();
        assert_eq!(all.last().unwrap(), &("A".to_owned(), "b=c".to_owned()));
        for wrong in ["A", "=b", ""] {
            assert!(environment(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_setup_is_one_of_all() {
        let command = clap::Command::new("exec").arg(clap::Arg::new("fs").value_parser(setups()));
        let parse = |name: &str| command.clone().try_get_matches_from(["exec", name]);
        let error = parse("zfs").unwrap_err().to_string();
        assert!(Setup::ALL.iter().all(|setup| error.contains(setup.name())), "{error}");
        for setup in Setup::ALL {
            assert_eq!(parse(setup.name()).unwrap().get_one("fs"), Some(setup));
        }
    }
}
