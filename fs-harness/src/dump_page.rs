// SPDX-License-Identifier: MIT OR Apache-2.0

//! Parser of what the kernel's `dump_page()` prints (`mm/debug.c`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One `dump_page()` report, line by line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DumpPage {
    /// References to the folio; a pin of a single page adds 1024.
    pub refcount: i32,
    /// Mappings of this page.
    pub mapcount: i32,
    /// Whether the folio belongs to a mapping (the pointer itself is hashed by the kernel).
    pub mapping: bool,
    /// Offset in the file in pages, or the virtual page number of anonymous memory.
    pub index: u64,
    /// Page frame number.
    pub pfn: u64,
    /// Printed for large folios only.
    pub head: Option<Head>,
    /// The mapping's operations and file, where there is a mapping.
    pub owner: Option<Owner>,
    /// The word before the flags.
    pub kind: Kind,
    /// Names of the page flags, in the kernel's order, without node, zone and the like.
    pub flags: Vec<String>,
    /// Type of a page that is neither anonymous nor a file's, as "buddy".
    pub page_type: Option<String>,
    /// Why the page was dumped.
    pub reason: Option<String>,
}

/// The `head:` line of a large folio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The folio has 2^order pages.
    pub order: u32,
    /// Mappings of the whole folio and of its pages.
    pub mapcount: i32,
    /// Mappings of the folio as a whole.
    pub entire_mapcount: i32,
    /// Pages with a mapping of their own.
    pub nr_pages_mapped: i32,
    /// Pins, exactly.
    pub pincount: i32,
}

/// The `aops:` line of a folio with a mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// Symbol of the address space operations, as `ext4_da_aops`.
    pub aops: String,
    /// Inode number, where the mapping has an inode.
    pub inode: Option<u64>,
    /// Last component of a path to the file, where one is cached.
    pub name: Option<String>,
}

/// What `dump_page` calls the folio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Anonymous memory.
    Anon,
    /// Anonymous memory shared by KSM.
    Ksm,
    /// All else.
    #[default]
    Plain,
}

/// Why text is not a `dump_page()` report.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseError {
    /// A line that every report has is missing.
    #[error("the report has no '{0}' line")]
    Missing(&'static str),
    /// A line lacks a field, or the field is not a number.
    #[error("no number '{field}' in the line '{line}'")]
    Field {
        /// Its name.
        field: &'static str,
        /// The whole line.
        line: String,
    },
    /// The kernel itself doubts what it read.
    #[error("the kernel read the page while it changed: '{0}'")]
    Unfaithful(String),
    /// A line that this parser does not know.
    #[error("unknown line '{0}'")]
    Unknown(String),
}

impl DumpPage {
    /// Parses the messages of one report, without log prefixes.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, ParseError> {
        let mut page = Self::default();
        let (mut seen_page, mut seen_flags) = (false, false);
        for line in lines.into_iter().map(str::trim_end) {
            if let Some(rest) = line.strip_prefix("page: ") {
                page.page_line(&Fields::of(rest, line))?;
                seen_page = true;
            } else if let Some(rest) = line.strip_prefix("head: order:") {
                page.head = Some(Head::parse(&Fields::of(&format!("order:{rest}"), line))?);
            } else if line.starts_with("aops:") {
                page.owner = Some(Owner::parse(line)?);
            } else if let Some((kind, flags)) = flags_line(line) {
                page.kind = kind;
                page.flags = flag_names(flags);
                seen_flags = true;
            } else if let Some(rest) = line.strip_prefix("page_type: ") {
                page.page_type = rest.split_once('(').map(|(_, name)| name.trim_end_matches(')').to_owned());
            } else if let Some(reason) = line.strip_prefix("page dumped because: ") {
                page.reason = Some(reason.to_owned());
            } else if line.starts_with("page does not match folio") || line.contains("poisoned") {
                return Err(ParseError::Unfaithful(line.to_owned()));
            } else if !is_ignored(line) {
                return Err(ParseError::Unknown(line.to_owned()));
            }
        }
        match (seen_page, seen_flags) {
            (false, _) => Err(ParseError::Missing("page:")),
            (_, false) => Err(ParseError::Missing("flags:")),
            _ => Ok(page),
        }
    }

    /// Whether the report carries the named page flag.
    pub fn has_flag(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }

    fn page_line(&mut self, fields: &Fields<'_>) -> Result<(), ParseError> {
        self.refcount = fields.decimal("refcount")?;
        self.mapcount = fields.decimal("mapcount")?;
        self.mapping = fields.text("mapping")?.bytes().any(|digit| digit != b'0');
        self.index = fields.hex("index")?;
        self.pfn = fields.hex("pfn")?;
        Ok(())
    }
}

impl Head {
    fn parse(fields: &Fields<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            order: fields.decimal("order")?,
            mapcount: fields.decimal("mapcount")?,
            entire_mapcount: fields.decimal("entire_mapcount")?,
            nr_pages_mapped: fields.decimal("nr_pages_mapped")?,
            pincount: fields.decimal("pincount")?,
        })
    }
}

impl Owner {
    fn parse(line: &str) -> Result<Self, ParseError> {
        // The name is the last field, in quotes, and may hold anything but a line feed.
        let (fields, name) = match line.split_once(" dentry name(?):\"") {
            Some((fields, name)) => (fields, Some(name.strip_suffix('"').unwrap_or(name).to_owned())),
            None => (line, None),
        };
        let fields = Fields::of(fields, line);
        let inode = if fields.text("ino").is_ok() { Some(fields.hex("ino")?) } else { None };
        Ok(Self { aops: fields.text("aops")?.to_owned(), inode, name })
    }
}

/// `name:value` words of one line.
struct Fields<'a> {
    values: BTreeMap<&'a str, &'a str>,
    line: &'a str,
}

impl<'a> Fields<'a> {
    fn of(words: &'a str, line: &'a str) -> Self {
        Self { values: words.split_whitespace().filter_map(|word| word.split_once(':')).collect(), line }
    }

    fn text(&self, field: &'static str) -> Result<&'a str, ParseError> {
        let missing = || ParseError::Field { field, line: self.line.to_owned() };
        self.values.get(field).copied().ok_or_else(missing)
    }

    fn decimal<T: std::str::FromStr>(&self, field: &'static str) -> Result<T, ParseError> {
        let wrong = |_| ParseError::Field { field, line: self.line.to_owned() };
        self.text(field)?.parse().map_err(wrong)
    }

    fn hex(&self, field: &'static str) -> Result<u64, ParseError> {
        let text = self.text(field)?;
        let wrong = |_| ParseError::Field { field, line: self.line.to_owned() };
        // `%#lx` prints zero as `0x0` or as `0`, by kernel version.
        u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).map_err(wrong)
    }
}

fn flags_line(line: &str) -> Option<(Kind, &str)> {
    [("anon flags: ", Kind::Anon), ("ksm flags: ", Kind::Ksm), ("flags: ", Kind::Plain)]
        .into_iter()
        .find_map(|(prefix, kind)| Some((kind, line.strip_prefix(prefix)?)))
}

/// Names in `0x8000000000000068(uptodate|lru|active|node=0|zone=1) CMA`.
fn flag_names(text: &str) -> Vec<String> {
    let inside =
        text.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(names, _)| names);
    inside.split('|').filter(|name| !name.is_empty() && !name.contains('=')).map(str::to_owned).collect()
}

/// Raw words, the memory cgroup and the page's history: kept in the raw artefact only.
fn is_ignored(line: &str) -> bool {
    ["raw: ", "head: ", "memcg:", "page_owner", "page last", "page has been", " "]
        .iter()
        .any(|prefix| line.starts_with(prefix))
        || line.is_empty()
}

#[cfg(test)]
mod tests;
