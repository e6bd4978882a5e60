// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pages that are released by the wrong call do not compile: a copy of the driver is built with each
//! mistake, by the kernel's own build system, and the compiler must name it.

use std::sync::LazyLock;

use libtest_mimic::{Arguments, Failed, Trial};
use xtask::bench::Bench;

use driver_copy::DriverCopy;

mod driver_copy;

static BENCH: LazyLock<Result<Bench, String>> =
    LazyLock::new(|| Bench::load().map_err(|error| format!("{error:#}")));

/// A mistake: some text of a source file, and what it is replaced by.
struct Mistake {
    name: &'static str,
    file: &'static str,
    /// Stands in the file just once.
    right: &'static str,
    wrong: &'static str,
    /// What the compiler must say; nothing where it must be content.
    says: &'static [&'static str],
}

const MISTAKES: &[Mistake] = &[
    Mistake { name: "none", file: "sys/calls.rs", right: "trait Pins {}", wrong: "trait Pins {}", says: &[] },
    Mistake {
        name: "references_released_as_pins",
        file: "sys/calls.rs",
        right: "trait Pins {}",
        wrong: "trait Pins {}\npub(crate) fn wrong(pages: &Acquired<Get>) { unsafe { <Pin as Calls>::release(pages) } }",
        says: &["mismatched types", "expected `&Acquired<Pin>`, found `&Acquired<Get>`"],
    },
    Mistake {
        name: "pins_released_as_references",
        file: "sys/calls.rs",
        right: "trait Pins {}",
        wrong: "trait Pins {}\npub(crate) fn wrong(pages: &Acquired<Pin>) { unsafe { <Get as Calls>::release(pages) } }",
        says: &["mismatched types", "expected `&Acquired<Get>`, found `&Acquired<Pin>`"],
    },
    Mistake {
        name: "references_dirtied_as_pins",
        file: "sys/calls.rs",
        right: "trait Pins {}",
        wrong: "trait Pins {}\npub(crate) fn wrong(pages: &Acquired<Get>) { unsafe { unpin(pages, true) } }",
        says: &["the trait bound `Get: Pins` is not satisfied"],
    },
    Mistake {
        name: "held_by_the_wrong_mode",
        file: "hold.rs",
        right: "Mode::Get => HeldPages::Get(CountedPages::acquire(counters, path, wanted)?),",
        wrong: "Mode::Get => HeldPages::Get(CountedPages::<Pin>::acquire(counters, path, wanted)?),",
        says: &["expected `CountedPages<Get>`, found `CountedPages<Pin>`"],
    },
    Mistake {
        name: "a_bio_of_two_modes",
        file: "request.rs",
        right: "let buffer = self.acquire::<A>(how, counters, segment)?;\n            buffers.push(buffer,",
        wrong: "let other = self.acquire::<Get>(how, counters, segment)?;\n            let buffer = self.acquire::<A>(how, counters, segment)?;\n            buffers.push(buffer, GFP_KERNEL_ACCOUNT)?;\n            buffers.push(other,",
        says: &["mismatched types", "Buffer<"],
    },
    Mistake {
        name: "released_twice",
        file: "acquisition.rs",
        right: "        pages.release_dirty();\n",
        wrong: "        pages.release_dirty();\n        pages.release_dirty();\n",
        says: &["use of moved value: `pages`"],
    },
];

fn main() {
    xtask::host::command::end_with_runner();
    let arguments = Arguments::from_args();
    let trial =
        |mistake: &'static Mistake| Trial::test(format!("release::{}", mistake.name), move || check(mistake));
    libtest_mimic::run(&arguments, MISTAKES.iter().map(trial).collect()).exit();
}

fn check(mistake: &Mistake) -> Result<(), Failed> {
    let copy = DriverCopy::make(&xtask::artefacts().join("release").join(mistake.name))?;
    copy.replace(mistake.file, "", mistake.right, mistake.wrong)?;
    let kernel = BENCH.as_ref()?.machine.kernel.parent().ok_or("the kernel's file has no folder")?;
    match (copy.build(kernel, "main.o")?, mistake.says) {
        (None, []) => Ok(()),
        (None, _) => Err("it compiles".into()),
        (Some(said), []) => Err(format!("the driver as it is does not compile: {said}").into()),
        (Some(said), says) => match says.iter().find(|part| !said.contains(**part)) {
            None => Ok(()),
            Some(missing) => Err(format!("the compiler does not say '{missing}' but: {said}").into()),
        },
    }
}
