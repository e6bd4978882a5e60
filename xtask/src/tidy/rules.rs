// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules, each with its reason.

use super::code::{code_of, has_word};
use super::{Rule, Source, Violation};

/// Files longer than this are several concepts.
const MAX_LINES: usize = 400;

/// The crates of the workspace and which of them each may use. Arrows point one way.
const ARROWS: &[(&str, &[&str])] = &[
    ("kmod-blk/abi", &[]),
    ("kmod-blk/logic", &["pinblk-abi"]),
    ("fs-harness", &["pinblk-abi"]),
    ("workloads", &["pinblk-abi", "fs-harness"]),
    ("xtask", &["pinblk-abi", "fs-harness", "workloads"]),
    ("snapshots", &["pinblk-abi", "fs-harness", "workloads", "xtask"]),
];
const CRATES: &[&str] = &["pinblk-abi", "pinblk-logic", "fs-harness", "workloads", "xtask", "snapshots"];

/// Every rule.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "spdx",
        rationale: "every file says under which licence it is, and the module is GPL-2.0 as the kernel is",
        check: spdx,
    },
    Rule {
        id: "trailing-space",
        rationale: "what cannot be seen does not belong into a diff",
        check: trailing_space,
    },
    Rule { id: "final-newline", rationale: "a file is lines, and lines end", check: final_newline },
    Rule {
        id: "length",
        rationale: "a newcomer finds a concept by its file, and a long file holds several",
        check: length,
    },
    Rule {
        id: "unsafe-in-sys",
        rationale: "in the driver, unsafe code stands in one folder, where it is reviewed together",
        check: unsafe_in_sys,
    },
    Rule {
        id: "no-sleep",
        rationale: "nothing waits by sleeping: it waits for an event, with a deadline",
        check: no_sleep,
    },
    Rule {
        id: "no-placeholder",
        rationale: "what is not done yet is not called done, and debugging aids are not left behind",
        check: no_placeholder,
    },
    Rule {
        id: "arrows",
        rationale: "dependencies point one way, so that a crate is understood without those above it",
        check: arrows,
    },
];

fn spdx(source: &Source) -> Vec<Violation> {
    let path = &source.path;
    if ["md", "yml", "yaml"].contains(&extension(source)) {
        return Vec::new();
    }
    let expected = match path.as_str() {
        path if path.starts_with("kmod-blk/abi/") => "GPL-2.0 OR MIT OR Apache-2.0",
        path if path.starts_with("kmod-blk/") => "GPL-2.0",
        _ => "MIT OR Apache-2.0",
    };
    // A script's first line is for the kernel.
    let mut lines = source.text.lines().take(2).map(|line| line.trim_end_matches("*/").trim_end());
    let found =
        lines.find_map(|line| line.split_once("SPDX-License-Identifier: ")).map(|(_, licence)| licence);
    match found {
        Some(licence) if licence == expected => Vec::new(),
        Some(licence) => one(1, format!("the licence is `{licence}` and should be `{expected}`")),
        None => one(1, format!("no `SPDX-License-Identifier: {expected}` at the top")),
    }
}

fn trailing_space(source: &Source) -> Vec<Violation> {
    each_line(source, |line| (line.trim_end() != line).then(|| "the line ends with white space".to_owned()))
}

fn final_newline(source: &Source) -> Vec<Violation> {
    if source.text.is_empty() || source.text.ends_with("\n\n") || !source.text.ends_with('\n') {
        return one(source.text.lines().count().max(1), "the file does not end with one newline".to_owned());
    }
    Vec::new()
}

fn length(source: &Source) -> Vec<Violation> {
    let lines = source.text.lines().count();
    if is_code(source) && lines > MAX_LINES {
        return one(lines, format!("{lines} lines, more than {MAX_LINES}"));
    }
    Vec::new()
}

fn unsafe_in_sys(source: &Source) -> Vec<Violation> {
    let path = &source.path;
    if !path.starts_with("kmod-blk/") || path.starts_with("kmod-blk/sys/") || !is_rust(source) {
        return Vec::new();
    }
    each_code_line(source, |code| {
        has_word(code, "unsafe")
            .then(|| "unsafe outside kmod-blk/sys/; give sys a safe function for it".to_owned())
    })
}

fn no_sleep(source: &Source) -> Vec<Violation> {
    each_code_line(source, |code| {
        let sleeps = code.contains("thread::sleep") || code.contains("time::sleep");
        sleeps.then(|| "sleeps; wait for the event, with a deadline".to_owned())
    })
}

fn no_placeholder(source: &Source) -> Vec<Violation> {
    each_code_line(source, |code| {
        let names = ["todo", "unimplemented", "dbg"];
        let found = names.iter().find(|name| code.contains(&format!("{name}!(")) && has_word(code, name));
        found.map(|name| format!("{name}! is left"))
    })
}

fn arrows(source: &Source) -> Vec<Violation> {
    let Some(folder) = source.path.strip_suffix("/Cargo.toml") else {
        return Vec::new();
    };
    let allowed = ARROWS.iter().find(|(name, _)| *name == folder).map_or(&[][..], |(_, allowed)| allowed);
    let mut in_dependencies = false;
    each_line(source, |line| {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
        }
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let wrong = in_dependencies && CRATES.contains(&name) && !allowed.contains(&name);
        wrong.then(|| format!("{folder} must not use {name}"))
    })
}

fn is_rust(source: &Source) -> bool {
    extension(source) == "rs"
}

fn is_code(source: &Source) -> bool {
    ["rs", "c", "h", "sh"].contains(&extension(source))
}

fn extension(source: &Source) -> &str {
    source.path.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn one(line: usize, what: String) -> Vec<Violation> {
    vec![Violation { line, what }]
}

fn each_line(source: &Source, mut check: impl FnMut(&str) -> Option<String>) -> Vec<Violation> {
    let lines = (1..).zip(source.text.lines());
    lines.filter_map(|(line, text)| check(text).map(|what| Violation { line, what })).collect()
}

fn each_code_line(source: &Source, mut check: impl FnMut(&str) -> Option<String>) -> Vec<Violation> {
    if !is_rust(source) {
        return Vec::new();
    }
    each_line(source, |line| check(&code_of(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines at which a rule finds fault with a text.
    fn faults(id: &str, path: &str, text: &str) -> Vec<usize> {
        let rule = RULES.iter().find(|rule| rule.id == id).unwrap();
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        (rule.check)(&source).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn spdx_knows_the_licence_of_each_folder() {
        let check = |path, header: &str, fine: bool| {
            assert_eq!(faults("spdx", path, &format!("{header}\n")).is_empty(), fine, "{path} {header}");
        };
        check("xtask/src/a.rs", "// SPDX-License-Identifier: MIT OR Apache-2.0", true);
        check("xtask/src/a.rs", "// SPDX-License-Identifier: GPL-2.0", false);
        check("xtask/src/a.rs", "//! No header.", false);
        check("kmod-blk/disk.rs", "// SPDX-License-Identifier: GPL-2.0", true);
        check("kmod-blk/sys/shims.h", "/* SPDX-License-Identifier: GPL-2.0 */", true);
        check("kmod-blk/abi/src/lib.rs", "// SPDX-License-Identifier: GPL-2.0", false);
        check("a.sh", "#!/bin/sh\n# SPDX-License-Identifier: MIT OR Apache-2.0", true);
        check("README.md", "# pinbed", true);
    }

    #[test]
    fn white_space_is_seen() {
        assert_eq!(faults("trailing-space", "a.rs", "a\nb \nc\t\n"), [2, 3]);
        assert_eq!(faults("final-newline", "a.rs", "a\nb"), [2]);
        assert_eq!(faults("final-newline", "a.rs", "a\n\n"), [2]);
        assert_eq!(faults("final-newline", "a.rs", ""), [1]);
        assert!(faults("final-newline", "a.rs", "a\n").is_empty());
    }

    #[test]
    fn long_files_are_seen() {
        assert!(faults("length", "a.rs", &"x\n".repeat(400)).is_empty());
        assert_eq!(faults("length", "a.rs", &"x\n".repeat(401)), [401]);
        assert!(faults("length", "a.md", &"x\n".repeat(401)).is_empty());
    }

    #[test]
    fn unsafe_stays_in_sys() {
        let text = "// unsafe\nlet x = unsafe { y };\n";
        assert_eq!(faults("unsafe-in-sys", "kmod-blk/bio.rs", text), [2]);
        assert_eq!(faults("unsafe-in-sys", "kmod-blk/logic/src/cache.rs", text), [2]);
        assert!(faults("unsafe-in-sys", "kmod-blk/sys/bio.rs", text).is_empty());
        assert!(faults("unsafe-in-sys", "fs-harness/src/device.rs", text).is_empty());
    }

    #[test]
    fn sleeping_is_seen() {
        assert_eq!(
            faults("no-sleep", "a.rs", "// thread::sleep\nstd::thread::sleep(d);\ntokio::time::sleep(d)\n"),
            [2, 3]
        );
    }

    #[test]
    fn placeholders_are_seen() {
        let text = "todo!()\nlet todo = 1;\nunimplemented!(\"x\")\nf(dbg!(x))\n\"todo!()\"\n";
        assert_eq!(faults("no-placeholder", "a.rs", text), [1, 3, 4]);
    }

    #[test]
    fn arrows_point_one_way() {
        let text = "[package]\nname = \"x\"\n[dependencies]\nxtask.workspace = true\nanyhow = \"1\"
[dev-dependencies]\nworkloads = { path = \"x\" }\n";
        assert_eq!(faults("arrows", "fs-harness/Cargo.toml", text), [4, 7]);
        assert!(faults("arrows", "snapshots/Cargo.toml", text).is_empty());
        assert_eq!(faults("arrows", "xtask/Cargo.toml", text), [4]);
    }
}
