//! Holds records to the schema that stands beside their description.

use boon::{Compiler, Schemas};
use serde_json::Value;

/// Reads `text`, a file of records, each of which must fit the schema.
pub(crate) fn check_records(text: &str) -> Vec<Value> {
    let schema = serde_json::from_str(include_str!("../../../docs/records.schema.json")).unwrap();
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("records.schema.json", schema).unwrap();
    let schema = compiler.compile("records.schema.json", &mut schemas).unwrap();
    let records: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for record in &records {
        if let Err(error) = schemas.validate(record, schema) {
            panic!("{record:#}\n{error:#}");
        }
    }
    records
}
