//! Validation rules in CEL whose text is put together from parts.

use kube::core::{Message, Rule};
use schemars::Schema;
use serde_json::Value;

use crate::names::ALLOWED_NAME;

/// A cluster id or backup name that can become part of a path in the storage.
pub(crate) fn storage_name(field: &str) -> Rule {
    Rule::new(format!("self.matches('{ALLOWED_NAME}')")).message(Message::Message(format!(
        "{field} becomes part of a path in the storage: use letters, digits, '.', '_' and '-', and begin with a letter or digit"
    )))
}

/// Fields of a spec that always have a value, and fields that may be absent, keep what they are.
///
/// A rule on the field itself would not see a field that is added or removed.
pub(crate) fn unchanged(present: &[&str], optional: &[&str], message: &str) -> Rule {
    let present = present
        .iter()
        .map(|field| format!("self.{field} == oldSelf.{field}"));
    let optional = optional.iter().map(|field| {
        format!(
            "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
        )
    });
    let rule: Vec<_> = present.chain(optional).collect();
    Rule::new(rule.join(" && ")).message(message)
}

/// Five fields as of cron, or a word for them.
pub(crate) fn schedule(field: &str) -> Rule {
    Rule::new("self.matches('^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[0-9A-Za-z*,/?#-]+( +[0-9A-Za-z*,/?#-]+){4})$')")
        .message(Message::Message(format!(
            "{field} must be five fields (minute, hour, day of month, month, day of week), such as '30 2 * * *', or one of @hourly, @daily, @weekly, @monthly, @yearly"
        )))
}

/// Names of keyspaces, as they are in the schema.
pub(crate) fn keyspaces() -> Rule {
    Rule::new("self.all(name, name.matches('^[A-Za-z0-9_]+$'))")
        .message("keyspaces must be names of keyspaces: letters, digits and '_'")
}

/// Names of tables with their keyspace.
pub(crate) fn tables() -> Rule {
    Rule::new("self.all(name, name.matches('^[A-Za-z0-9_]+[.][A-Za-z0-9_]+$'))")
        .message("tables must be written as keyspace.table, such as shop.orders")
}

/// The name of a table with its keyspace.
pub(crate) fn table(field: &str) -> Rule {
    let message = format!("{field} must be written as keyspace.table, such as shop.orders");
    Rule::new("self.matches('^[A-Za-z0-9_]+[.][A-Za-z0-9_]+$')").message(Message::Message(message))
}

/// Bytes per second, more than none.
pub(crate) fn bandwidth() -> Rule {
    Rule::new("isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))")
        .message("bandwidthPerNode must be a positive quantity of bytes per second, such as 100Mi")
}

/// What is cancelled stays so.
pub(crate) fn only_once(what: &str, kind: &str) -> Rule {
    Rule::new("self || !oldSelf").message(Message::Message(format!(
        "a {what} that was cancelled cannot be resumed: make a new {kind} instead"
    )))
}

/// Exactly one of the fields is set.
pub(crate) fn exactly_one(fields: &[&str], message: &str) -> Rule {
    let present: Vec<_> = fields
        .iter()
        .map(|field| format!("has(self.{field})"))
        .collect();
    Rule::new(format!("[{}].filter(x, x).size() == 1", present.join(", "))).message(message)
}

/// A selector that does not select everything.
pub(crate) fn names_labels() -> Rule {
    Rule::new(
        "(has(self.matchLabels) && self.matchLabels.size() > 0) || (has(self.matchExpressions) && self.matchExpressions.size() > 0)",
    )
    .message("podSelector must name labels: an empty one would select every pod of the namespace")
}

/// A bucket's name, which is no URL.
pub(crate) fn bucket_name() -> Rule {
    Rule::new("self.matches('^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$')")
        .message("bucket must be the name of a bucket, 3 to 255 characters: no URL and no path")
}

/// A path inside a bucket that stays there.
pub(crate) fn inner_path() -> Rule {
    Rule::new(
        "!self.startsWith('/') && !self.endsWith('/') && !self.split('/').exists(part, part == '..')",
    )
    .message("prefix must not begin or end with '/' and must not contain '..'")
}

/// The URL of a server, and of nothing on it.
pub(crate) fn server_url() -> Rule {
    Rule::new("self.matches('^https?://[^/?#@ ]+/?$')").message(
        "endpoint must be a URL such as https://minio.example.org:9000, without path or credentials",
    )
}

/// Takes out the rules that compare with the old object: what is a template may change, although
/// what is made of it may not.
pub(crate) fn changeable(schema: &mut Schema) {
    if let Some(map) = schema.as_object_mut() {
        map.values_mut().for_each(forget_old);
        forget_old_rules(map);
    }
}

fn forget_old(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(forget_old);
            forget_old_rules(map);
        }
        Value::Array(list) => list.iter_mut().for_each(forget_old),
        _ => {}
    }
}

fn forget_old_rules(map: &mut serde_json::Map<String, Value>) {
    const RULES: &str = "x-kubernetes-validations";
    let Some(Value::Array(rules)) = map.get_mut(RULES) else {
        return;
    };
    rules.retain(|rule| {
        let text = rule.get("rule").and_then(Value::as_str);
        !text.is_some_and(|text| text.contains("oldSelf"))
    });
    if rules.is_empty() {
        map.remove(RULES);
    }
}
