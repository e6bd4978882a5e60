// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel's build says: how far it is, and what went wrong first.

/// How many lines of error are shown; the log has the rest.
const SHOWN: usize = 3;

/// Reads a build's output line by line.
#[derive(Default)]
pub(super) struct Output {
    steps: u64,
    errors: Vec<String>,
    failures: Vec<String>,
    /// Whether the line before was an error.
    after_error: bool,
}

impl Output {
    /// Takes note of a line.
    pub(super) fn see(&mut self, line: &str) {
        if is_step(line) {
            self.steps += 1;
        } else if is_error(line) {
            self.errors.push(line.trim().to_owned());
        } else if self.after_error
            && let Some(place) = line.trim().strip_prefix("--> ")
        {
            // rustc says on the next line where it is.
            if let Some(error) = self.errors.last_mut() {
                *error = format!("{place}: {error}");
            }
        } else if line.contains("***") {
            self.failures.push(line.trim().to_owned());
        }
        self.after_error = is_error(line);
    }

    /// How many things were compiled, linked or generated.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// The first errors, or for want of any what make says of its failed targets; one a line.
    pub(super) fn first_errors(&self) -> String {
        let lines = if self.errors.is_empty() { &self.failures } else { &self.errors };
        lines[..lines.len().min(SHOWN)].join(
            "
  ",
        )
    }
}

/// A step reads like `  CC [M]  fs/xfs/xfs_inode.o`.
fn is_step(line: &str) -> bool {
    let word = line.strip_prefix("  ").and_then(|rest| rest.split_whitespace().next());
    let indented_twice = line.starts_with("   ");
    !indented_twice && word.is_some_and(|word| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase()))
}

/// gcc, ld, modpost and rustc each mark an error in their own way.
fn is_error(line: &str) -> bool {
    let marks = ["error: ", "ERROR: ", "error[", "undefined reference", "No space left on device"];
    marks.iter().any(|mark| line.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Output {
        let mut output = Output::default();
        text.lines().for_each(|line| output.see(line));
        output
    }

    #[test]
    fn steps_are_counted_and_nothing_else() {
        let text = "make[1]: Entering directory\n  CC      fs/open.o\n  CC [M]  drivers/null.o\n  RUSTC L rust/core.o
    AB indented\nwarning: x\n  lower case\n  LD      vmlinux\n";
        assert_eq!(seen(text).steps(), 4);
    }

    #[test]
    fn the_first_errors_come_before_what_make_says() {
        let text =
            "  CC a.o\na.c:3:1: error: expected ';'\nmake[2]: *** [a.o] Error 1\nb.c:1:1: error: second
error[E0425]: third\nd.c:1:1: error: fourth\n";
        let shown = seen(text).first_errors();
        assert_eq!(shown, "a.c:3:1: error: expected ';'\n  b.c:1:1: error: second\n  error[E0425]: third");
    }

    #[test]
    fn an_error_of_rustc_has_its_place() {
        let text = "error[E0308]: mismatched types\n   --> rust/kernel/a.rs:185:21\n    |\nwarning: unused\n   --> b.rs:1:1\n";
        assert_eq!(seen(text).first_errors(), "rust/kernel/a.rs:185:21: error[E0308]: mismatched types");
    }

    #[test]
    fn make_speaks_when_nobody_else_does() {
        let shown = seen("make: *** No rule to make target 'x'.  Stop.\n").first_errors();
        assert_eq!(shown, "make: *** No rule to make target 'x'.  Stop.");
        assert_eq!(seen("  CC a.o\n").first_errors(), "");
    }
}
