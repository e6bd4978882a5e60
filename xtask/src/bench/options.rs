// SPDX-License-Identifier: MIT OR Apache-2.0

//! The options of commands that run guests.

use std::iter;
use std::num::NonZeroU32;

use anyhow::{Result, anyhow, bail};
use clap::{Parser, ValueEnum};

use super::{Bench, Isolation, VARIABLE};
use crate::host::command::quoted;
use crate::kernel;
use crate::kernel::flavour::Flavour;
use crate::qemu::accelerator::Wish;

/// What a run is to use.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub(super) kernel: kernel::Choice,
    /// What guests run under.
    #[arg(long, value_enum, default_value_t, value_name = "ACCELERATOR")]
    pub(super) accel: Wish,
    /// What every cell starts from.
    #[arg(long, value_enum, default_value_t, value_name = "START")]
    pub(super) isolation: Isolation,
    /// Processors of each guest.
    #[arg(long, default_value = "1", value_name = "N", value_parser = processors)]
    pub(super) smp: NonZeroU32,
    /// Guests' clocks count instructions, not time; emulation only.
    #[arg(long)]
    pub(super) icount: bool,
    /// See [`Seeded`].
    #[arg(skip)]
    pub(super) seed: Option<u64>,
}

/// The same for commands that run many cells.
#[derive(Clone, Debug, clap::Args)]
pub struct Seeded {
    #[command(flatten)]
    options: Options,
    /// Sets the order in which cells start, and which ones `test` runs from both starts [default: by the guest's image]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Seeded {
    /// The options, which have the seed.
    pub fn options(&self) -> Options {
        Options { seed: self.seed, ..self.options.clone() }
    }
}

/// Options as they are typed, and nothing else.
#[derive(Parser)]
struct Typed {
    #[command(flatten)]
    options: Seeded,
}

/// How many the guests' kernels are built for.
const PROCESSORS: u32 = 64;

fn processors(text: &str) -> Result<NonZeroU32, String> {
    let number = text.parse().ok().filter(|number: &NonZeroU32| number.get() <= PROCESSORS);
    number.ok_or_else(|| format!("a guest has 1 to {PROCESSORS} processors"))
}

impl Options {
    /// What faults of the driver are hunted on: the kernel that finds the most of them, and two processors.
    pub fn of_hunt(seed: u64) -> Self {
        Self {
            kernel: kernel::Choice { flavour: Flavour::Sanitize, ..kernel::Choice::default() },
            accel: Wish::default(),
            isolation: Isolation::default(),
            smp: NonZeroU32::MIN.saturating_add(1),
            icount: false,
            seed: Some(seed),
        }
    }

    /// The same with a seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// The flavour of the kernel.
    pub fn flavour(&self) -> Flavour {
        self.kernel.flavour
    }

    /// What guests are to run under: instructions can be counted only where they are emulated.
    pub(super) fn wish(&self) -> Result<Wish> {
        match (self.icount, self.accel) {
            (true, Wish::Kvm) => bail!("--icount counts emulated instructions; leave --accel kvm out"),
            (true, Wish::Auto | Wish::Tcg) => Ok(Wish::Tcg),
            (false, wish) => Ok(wish),
        }
    }

    /// Fails where these options were asked for, and a bench was made by others; the order of cells is another matter.
    pub fn are_of(&self, bench: &Bench) -> Result<()> {
        let made = bench.environment.get("options").map_or(Ok(String::new()), |typed| {
            Self::parse(typed).map(|options| options.without_seed().typed())
        })?;
        let asked = self.clone().without_seed().typed();
        if asked.is_empty() || asked == made {
            return Ok(());
        }
        let prepared = if made.is_empty() { "without options".to_owned() } else { format!("by {made}") };
        bail!(
            "{VARIABLE} names a bench that was prepared {prepared}; unset it, or set it to what \
             `cargo xtask image {asked}` prints last"
        )
    }

    fn without_seed(self) -> Self {
        Self { seed: None, ..self }
    }

    /// The options that were typed so; an error where they mean nothing any more.
    pub fn parse(typed: &str) -> Result<Self> {
        let words = shlex::split(typed).unwrap_or_default().into_iter();
        let parsed = Typed::try_parse_from(iter::once("typed".to_owned()).chain(words));
        let parsed = parsed.map_err(|_| anyhow!("the options '{typed}' mean nothing to this pinbed"))?;
        Ok(parsed.options.options())
    }

    /// Those that are not the default, as they are typed.
    pub(crate) fn typed(&self) -> String {
        fn name(value: &impl ValueEnum) -> String {
            value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
        }
        let series = self.kernel.series.as_ref().map(|series| format!("--series {series}"));
        let flavour = (self.kernel.flavour != Flavour::default())
            .then(|| format!("--flavour {}", name(&self.kernel.flavour)));
        let accel = (self.accel != Wish::default()).then(|| format!("--accel {}", name(&self.accel)));
        let isolation = (self.isolation != Isolation::default())
            .then(|| format!("--isolation {}", name(&self.isolation)));
        let smp = (self.smp != NonZeroU32::MIN).then(|| format!("--smp {}", self.smp));
        let icount = self.icount.then(|| "--icount".to_owned());
        let seed = self.seed.map(|seed| format!("--seed {seed}"));
        let patches =
            self.kernel.patches.iter().map(|patch| format!("--patch {}", quoted(&kernel::whole_name(patch))));
        let all = [series, flavour, accel, isolation, smp, icount, seed];
        all.into_iter().flatten().chain(patches).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tests::bench;

    fn options(line: &str) -> Options {
        Options::parse(line).unwrap()
    }

    #[test]
    fn options_are_what_was_typed() {
        let line = "--series 7.2 --flavour sanitize --isolation boot --smp 2 --icount --seed 7 --patch '/a (1).patch'";
        assert_eq!(options(line).typed(), line);
        assert_eq!(options("").typed(), "");
        assert!(Options::parse("--what").unwrap_err().to_string().contains("'--what' mean nothing"));
    }

    #[test]
    fn a_bench_of_other_options_is_refused() {
        let mut bench = bench();
        bench.environment.insert("options".to_owned(), "--flavour sanitize --seed 3".to_owned());
        for fine in ["", "--seed 4", "--flavour sanitize", "--flavour sanitize --seed 4"] {
            assert!(options(fine).are_of(&bench).is_ok(), "{fine}");
        }
        let error = options("--smp 2").are_of(&bench).unwrap_err().to_string();
        assert!(error.contains("prepared by --flavour sanitize;"), "{error}");
        assert!(error.contains("`cargo xtask image --smp 2`"), "{error}");
    }
}
