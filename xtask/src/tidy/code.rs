// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of a source line is code.

/// A line without its comment and without the contents of its strings. Strings over several lines are
/// not followed: a rule may then see words that are no code, and never misses code.
pub(super) fn code_of(line: &str) -> String {
    let mut code = String::new();
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '/' if rest.peek() == Some(&'/') => break,
            '"' => {
                code.push_str("\"\"");
                skip_string(&mut rest);
            }
            // The character literal of a quote would open a string.
            '\'' if rest.peek() == Some(&'"') => {
                rest.next();
            }
            _ => code.push(c),
        }
    }
    code
}

fn skip_string(rest: &mut impl Iterator<Item = char>) {
    while let Some(c) = rest.next() {
        match c {
            '\\' => drop(rest.next()),
            '"' => return,
            _ => {}
        }
    }
}

/// Whether code has a word, not as a part of another.
pub(super) fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|found| found == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_no_code() {
        assert_eq!(code_of("let x = 1; // unsafe"), "let x = 1; ");
        assert_eq!(code_of(r#"f("a \" // b", c)"#), r#"f("", c)"#);
        assert_eq!(code_of(r#"c == '"' && unsafe"#), "c == ' && unsafe");
        assert_eq!(code_of("&'a str // b"), "&'a str ");
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("unsafe { x }", "unsafe"));
        assert!(!has_word("unsafe_op_in_unsafe_fn", "unsafe"));
    }
}
