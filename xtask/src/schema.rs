// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo xtask schema`: the JSON schema of a record, made from the types that write it.

use anyhow::{Context, Result};
use fs_harness::record::{Record, SCHEMA};
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::say;

/// Prints the schema; `docs/record.schema.json` is what it printed last.
pub fn main() -> Result<()> {
    let text = serde_json::to_string_pretty(&schema()?).context("turn the schema into text")?;
    say!("{text}");
    Ok(())
}

/// The schema that every `record.json` of this version fulfils.
pub fn schema() -> Result<Value> {
    let mut schema =
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Record>();
    schema.insert("title".to_owned(), format!("pinbed record, version {SCHEMA}").into());
    // A reader that knows this version alone must notice another one.
    schema
        .pointer_mut("/properties/schema")
        .and_then(Value::as_object_mut)
        .context("the schema does not describe the record's version")?
        .insert("const".to_owned(), SCHEMA.into());
    Ok(schema.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use fs_harness::record::Record;

    use super::*;

    fn record() -> Value {
        let (cell, _) = workloads::catalogue::cells().next().unwrap();
        serde_json::to_value(Record::new(cell, BTreeMap::new())).unwrap()
    }

    #[test]
    fn the_documented_schema_is_that_of_the_types() {
        let path = crate::workspace().join("docs/record.schema.json");
        let documented: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert!(
            documented == schema().unwrap(),
            "the types of a record have changed: raise SCHEMA in fs-harness/src/record.rs and say in \
             docs/record.md what changed, then `cargo xtask schema > docs/record.schema.json`"
        );
    }

    #[test]
    fn a_record_fulfils_the_schema_and_what_is_none_does_not() {
        let validator = jsonschema::validator_for(&schema().unwrap()).unwrap();
        let check = |change: &dyn Fn(&mut Value)| {
            let mut record = record();
            change(&mut record);
            validator.is_valid(&record)
        };
        assert!(check(&|_| ()));
        assert!(!check(&|record| record["schema"] = (SCHEMA + 1).into()));
        assert!(!check(&|record| record["cell"] = "hold_sync".into()));
        assert!(!check(&|record| record["outcome"]["kind"] = "fine".into()));
        assert!(!check(&|record| record["more"] = true.into()));
        assert!(!check(&|record| record["checks"] = Value::Null));
    }
}
