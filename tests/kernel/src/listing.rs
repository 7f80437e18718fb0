//! What the kernel says that our table holds, in a form that can be compared.

use rempart_plan::nft::{Names, TABLE};
use rempart_system::nft::Objects;
use serde_json::Value;
use tokio::process::Command;

use crate::node::Failure;

/// The table as the kernel lists it, in this thread's namespace: without handles and counts, objects and elements
/// in a fixed order, rules in theirs.
pub async fn listing() -> Result<Vec<String>, Failure> {
    let output = Command::new("nft").args(["-j", "list", "table", "inet", TABLE]).output().await?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let mut listing: Value = serde_json::from_slice(&output.stdout)?;
    let mut out: Vec<(String, usize, String)> = Vec::new();
    for (position, object) in listing["nftables"].as_array_mut().into_iter().flatten().enumerate() {
        normalise(object);
        let Some((kind, body)) = object.as_object().and_then(|o| o.iter().next()) else { continue };
        // Rules sort by their chain, and in it as they are listed.
        let name = body.get("chain").filter(|_| kind == "rule").or_else(|| body.get("name"));
        let key = format!("{kind} {}", name.and_then(Value::as_str).unwrap_or(""));
        out.push((key, if kind == "rule" { position } else { 0 }, object.to_string()));
    }
    out.sort();
    Ok(out.into_iter().map(|(_, _, text)| text).collect())
}

fn normalise(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for volatile in ["handle", "packets", "bytes"] {
                map.remove(volatile);
            }
            if let Some(Value::Array(elements)) = map.get_mut("elem") {
                elements.sort_by_cached_key(Value::to_string);
            }
            map.values_mut().for_each(normalise);
        }
        Value::Array(list) => list.iter_mut().for_each(normalise),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The names that a transaction has to know.
pub fn names(objects: Objects) -> Names {
    Names {
        chains: objects.chains,
        maps: objects.maps,
        sets: objects.sets,
        counters: objects.counters,
        helpers: objects.helpers,
    }
}
