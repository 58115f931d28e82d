//! As much of JSON Schema (draft 7) as the interface's OpenRPC document uses. What it does not know it refuses, so that
//! no schema says something that nobody checks.

use regex::Regex;
use serde_json::{Value, json};

/// Whether `schema` allows `value`, and if not, what is wrong where. References point into `document`.
///
/// # Errors
/// If the value breaks the schema, or the schema is wrong or uses a keyword that is not known here.
pub fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let rules = schema.as_object().ok_or_else(|| format!("{schema} is no schema"))?;
    for (keyword, rule) in rules {
        keep(document, rules, keyword, rule, value).map_err(|what| format!("{what} ({keyword})"))?;
    }
    Ok(())
}

type Rules = serde_json::Map<String, Value>;

fn keep(document: &Value, rules: &Rules, keyword: &str, rule: &Value, value: &Value) -> Result<(), String> {
    let allowed = match keyword {
        "description" => rule.is_string(),
        "$ref" if rules.len() == 1 => return check(document, resolve(document, rule)?, value),
        "type" => match rule {
            Value::Array(names) => names.iter().any(|name| is(value, name)),
            name => is(value, name),
        },
        "enum" => list(rule)?.contains(value),
        "oneOf" => {
            let results: Vec<_> = list(rule)?.iter().map(|schema| check(document, schema, value)).collect();
            if results.iter().filter(|result| result.is_ok()).count() != 1 {
                return Err(format!("{value} is not exactly one of: {results:?}"));
            }
            true
        }
        "minimum" => value.as_f64().is_none_or(|number| rule.as_f64().is_some_and(|least| number >= least)),
        "maximum" => value.as_f64().is_none_or(|number| rule.as_f64().is_some_and(|most| number <= most)),
        "pattern" => {
            let pattern = Regex::new(rule.as_str().unwrap_or("(")).map_err(|error| error.to_string())?;
            value.as_str().is_none_or(|text| pattern.is_match(text))
        }
        "items" => {
            for (index, element) in value.as_array().into_iter().flatten().enumerate() {
                check(document, rule, element).map_err(|what| format!("[{index}]: {what}"))?;
            }
            true
        }
        "required" => match value.as_object() {
            Some(fields) => list(rule)?.iter().all(|name| name.as_str().is_some_and(|name| fields.contains_key(name))),
            None => true,
        },
        "properties" => {
            for (name, schema) in rule.as_object().ok_or("properties are an object")? {
                if let Some(field) = value.get(name) {
                    check(document, schema, field).map_err(|what| format!("{name}: {what}"))?;
                }
            }
            true
        }
        "additionalProperties" if *rule == json!(false) => {
            let known = &rules["properties"];
            value.as_object().is_none_or(|fields| fields.keys().all(|name| known.get(name).is_some()))
        }
        _ => return Err("this keyword is not known here".to_owned()),
    };
    if allowed { Ok(()) } else { Err(format!("{value} breaks {rule}")) }
}

/// What a reference leads to.
///
/// # Errors
/// If it leads nowhere within `document`.
pub fn resolve<'a>(document: &'a Value, reference: &Value) -> Result<&'a Value, String> {
    let pointer = reference.as_str().and_then(|text| text.strip_prefix('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).ok_or_else(|| format!("{reference} leads nowhere"))
}

fn list(rule: &Value) -> Result<&Vec<Value>, String> {
    rule.as_array().ok_or_else(|| format!("{rule} is no list"))
}

fn is(value: &Value, name: &Value) -> bool {
    match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    }
}

/// What a strict schema refuses if it allows `value`: each value within it with another type, each object within it without
/// one of its fields, and with one more.
pub fn corrupted(value: &Value) -> Vec<Value> {
    let mut all = vec![match value {
        Value::String(_) => json!(-1),
        Value::Object(_) => json!([[]]),
        _ => json!({ "of": "another type" }),
    }];
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let mut without = fields.clone();
                without.remove(name);
                all.push(Value::Object(without));
                for wrong in corrupted(field) {
                    let mut changed = fields.clone();
                    changed.insert(name.clone(), wrong);
                    all.push(Value::Object(changed));
                }
            }
            let mut more = fields.clone();
            more.insert("one_more".to_owned(), Value::Null);
            all.push(Value::Object(more));
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                for wrong in corrupted(element) {
                    let mut changed = elements.clone();
                    changed[index] = wrong;
                    all.push(Value::Array(changed));
                }
            }
        }
        _ => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_keyword_allows_and_refuses() {
        let document = json!({ "digits": { "type": "string", "pattern": "^[0-9]{2}$" } });
        let strict = json!({
            "type": "object", "additionalProperties": false, "required": ["a"],
            "properties": { "a": { "type": "integer" }, "b": { "type": ["boolean", "null"] } },
        });
        for (schema, good, bad) in [
            (json!({ "$ref": "#/digits" }), json!("12"), vec![json!("123"), json!("1x"), json!(12)]),
            (json!({ "type": "integer", "minimum": 0, "maximum": 2 }), json!(2), vec![json!(-1), json!(3), json!(1.5)]),
            (json!({ "type": "number" }), json!(1.5), vec![json!("1"), json!(null)]),
            (json!({ "enum": ["x", "y"] }), json!("y"), vec![json!("z")]),
            (json!({ "type": "array", "items": { "type": "null" } }), json!([null]), vec![json!([null, 1]), json!({})]),
            (json!({ "oneOf": [{ "type": "number" }, { "type": "integer" }] }), json!(0.5), vec![json!(1), json!("")]),
            (
                strict,
                json!({ "a": 1, "b": null }),
                vec![json!({}), json!({ "a": 1, "c": 1 }), json!({ "a": 1, "b": 0 })],
            ),
        ] {
            assert_eq!(check(&document, &schema, &good), Ok(()), "{schema}");
            for bad in bad {
                assert!(check(&document, &schema, &bad).is_err(), "{schema} allows {bad}");
            }
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for schema in
            [json!({ "format": "ipv4" }), json!({ "$ref": "#/nowhere" }), json!({ "additionalProperties": {} })]
        {
            assert!(check(&json!({}), &schema, &json!("x")).is_err(), "{schema}");
        }
    }

    #[test]
    fn corruption_reaches_everything() {
        // Itself; the array in another type; its element; without the array; with one more field.
        assert_eq!(corrupted(&json!({ "a": [1] })).len(), 5);
    }
}
