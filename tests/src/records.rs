//! The records of a jail, held to their schema.

use std::fs;
use std::path::Path;

use boon::{Compiler, Schemas};
use serde_json::Value;

/// Reads a file of records.
///
/// # Panics
/// When it can't be read, or one of them doesn't fit the schema.
#[must_use]
pub fn read(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a file of records");
    let schema = include_str!("../../docs/records.schema.json");
    let schema = serde_json::from_str(schema).expect("the schema is JSON");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("records.schema.json", schema).expect("it's a schema");
    let schema = compiler.compile("records.schema.json", &mut schemas).expect("it's a schema");
    let read = |line| serde_json::from_str(line).expect("each line is JSON");
    let records: Vec<Value> = text.lines().map(read).collect();
    for record in &records {
        let checked = schemas.validate(record, schema).map_err(|error| error.to_string());
        assert_eq!(checked, Ok(()), "{record:#}");
    }
    records
}
