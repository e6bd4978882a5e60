// SPDX-License-Identifier: MIT OR Apache-2.0

//! The results of KUnit suites, out of the KTAP that the kernel logs
//! (`Documentation/dev-tools/ktap.rst`).

/// How the cases of a suite are indented.
const INDENT: &str = "    ";

/// How `/dev/kmsg` has a line feed within a record.
const NEW_LINE: &str = "\\x0a";

/// What was said of one suite.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// How many cases it was to have.
    pub planned: usize,
    /// Those that ended, in order.
    pub cases: Vec<Case>,
    /// Whether all of it passed; none where it never ended.
    pub passed: Option<bool>,
}

/// How one case of a suite ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// It ran and passed: one that was skipped did not.
    pub passed: bool,
    /// All that was logged while it ran.
    pub said: Vec<String>,
}

impl Suite {
    /// What is wrong with it as a whole, if anything: its cases speak for themselves.
    pub fn complaint(&self) -> Option<String> {
        match (self.passed, self.cases.len()) {
            (None, ended) => Some(format!("it never ended; {ended} of its {} cases did", self.planned)),
            (_, 0) => Some("it has no case".to_owned()),
            (_, ended) if ended != self.planned => {
                Some(format!("{ended} of its {} cases ended", self.planned))
            }
            (Some(false), _) if self.cases.iter().all(|case| case.passed) => {
                Some("it failed, and none of its cases did".to_owned())
            }
            _ => None,
        }
    }
}

/// The suites in these lines of the kernel's log. Lines of others in between are taken for what the
/// running case said.
pub fn suites<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Suite> {
    let mut suites: Vec<Suite> = Vec::new();
    let mut said = Vec::new();
    for line in lines {
        let of_case = line.strip_prefix(INDENT);
        if let Some(name) = of_case.and_then(|line| line.strip_prefix("# Subtest: ")) {
            suites.push(Suite { name: name.to_owned(), ..Suite::default() });
            continue;
        }
        let Some(suite) = suites.last_mut().filter(|suite| suite.passed.is_none()) else { continue };
        if let Some(planned) = of_case.and_then(plan) {
            suite.planned = planned;
            said.clear();
        } else if let Some((name, passed)) = of_case.and_then(result) {
            suite.cases.push(Case { name, passed, said: std::mem::take(&mut said) });
        } else if let Some((name, passed)) = result(line)
            && name == suite.name
        {
            suite.passed = Some(passed);
        } else {
            said.extend(line.split(NEW_LINE).map(|line| line.trim().to_owned()));
        }
    }
    suites
}

/// `1..7`
fn plan(line: &str) -> Option<usize> {
    line.strip_prefix("1..")?.parse().ok()
}

/// `ok 2 name`, `not ok 2 name`, `ok 2 name # SKIP why`.
fn result(line: &str) -> Option<(String, bool)> {
    let (rest, ok) = match line.strip_prefix("not ") {
        Some(rest) => (rest, false),
        None => (line, true),
    };
    let (number, name) = rest.strip_prefix("ok ")?.split_once(' ')?;
    number.parse::<u32>().ok()?;
    let (name, skipped) = match name.split_once(" # SKIP") {
        Some((name, _)) => (name, true),
        None => (name, false),
    };
    Some((name.to_owned(), ok && !skipped))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "pinblk_kunit: loading out-of-tree module taints kernel.
KTAP version 1
1..2
    KTAP version 1
    # Subtest: store
    # module: pinblk_kunit
    1..2
    ok 1 reads
    # writes: ASSERTION FAILED at store_suite.rs:7\\x0a    Expected 1 == 2 to be true, but is false
    not ok 2 writes
# store: pass:1 fail:1 skip:0 total:2
# Totals: pass:1 fail:1 skip:0 total:2
not ok 1 store
    KTAP version 1
    # Subtest: bios
    1..1
    ok 1 ends # SKIP no disk
ok 2 bios
";

    #[test]
    fn suites_and_cases_are_read_with_what_they_said() {
        let found = suites(LOG.lines());
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), found[0].planned, found[0].passed), ("store", 2, Some(false)));
        assert_eq!(found[0].complaint(), None);
        let writes = &found[0].cases[1];
        assert!(!writes.passed);
        assert_eq!(
            writes.said,
            ["# writes: ASSERTION FAILED at store_suite.rs:7", "Expected 1 == 2 to be true, but is false"]
        );
        assert_eq!(
            found[1].cases,
            [Case { name: "ends".to_owned(), passed: false, said: vec![] }],
            "a case that was skipped did not pass"
        );
    }

    #[test]
    fn a_suite_that_is_cut_off_or_empty_is_complained_of() {
        let complaint = |log: &str| suites(log.lines()).pop().and_then(|suite| suite.complaint());
        let until = |end: &str| &LOG[..LOG.find(end).unwrap()];
        assert_eq!(complaint(until("    not ok 2 writes")).unwrap(), "it never ended; 1 of its 2 cases did");
        assert_eq!(complaint(&LOG.replace("    ok 1 reads\n", "")[..]), None);
        assert_eq!(
            complaint("    # Subtest: bios\n    1..2\n    ok 1 a\nok 1 bios\n").unwrap(),
            "1 of its 2 cases ended"
        );
        assert_eq!(complaint("    # Subtest: bios\n    1..0\nok 1 bios\n").unwrap(), "it has no case");
        assert_eq!(
            complaint("    # Subtest: bios\n    1..1\n    ok 1 a\nnot ok 1 bios\n").unwrap(),
            "it failed, and none of its cases did"
        );
        assert!(suites("nothing of the kind".lines()).is_empty());
    }
}
