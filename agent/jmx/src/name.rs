//! Names of MBeans.

use std::fmt;
use std::str::FromStr;

/// A `javax.management.ObjectName`: `domain:key=value,key=value`, or a pattern of names
/// (`domain:type=Tables,*`).
///
/// The order of the properties is kept and counts in comparisons; Java ignores it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    text: String,
    colon: usize,
}

/// A text that is no name of an MBean.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the name of an MBean (domain:key=value,…): {problem}")]
pub struct InvalidObjectName {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl ObjectName {
    /// The part before the colon.
    pub fn domain(&self) -> &str {
        &self.text[..self.colon]
    }

    /// The value of a key; quoted values are given as written, with their quotes.
    pub fn key(&self, key: &str) -> Option<&str> {
        split(&self.text[self.colon + 1..])
            .filter_map(|property| property.split_once('='))
            .find_map(|(name, value)| (name == key).then_some(value))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A value in quotes, as values need that contain any of `,=:"*?` or a line end.
    pub fn quote(value: &str) -> String {
        let mut quoted = String::with_capacity(value.len() + 2);
        quoted.push('"');
        for c in value.chars() {
            match c {
                '\n' => quoted.push_str("\\n"),
                '"' | '\\' | '*' | '?' => quoted.extend(['\\', c]),
                c => quoted.push(c),
            }
        }
        quoted.push('"');
        quoted
    }
}

impl FromStr for ObjectName {
    type Err = InvalidObjectName;

    fn from_str(text: &str) -> Result<Self, InvalidObjectName> {
        let invalid = |problem| InvalidObjectName {
            text: text.to_owned(),
            problem,
        };
        let colon = text.find(':').ok_or_else(|| invalid("it has no colon"))?;
        if text.contains('\n') {
            return Err(invalid("it contains a line end"));
        }
        let mut empty = true;
        for property in split(&text[colon + 1..]) {
            empty = false;
            if property == "*" {
                continue;
            }
            match property.split_once('=') {
                Some((key, value)) if !key.is_empty() && !value.is_empty() => {}
                _ => return Err(invalid("each property is key=value")),
            }
        }
        if empty {
            return Err(invalid("it has no properties"));
        }
        Ok(ObjectName {
            text: text.to_owned(),
            colon,
        })
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The properties between the commas that are not in quotes.
fn split(properties: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    properties
        .split(move |c| {
            let separates = c == ',' && !quoted;
            match c {
                '"' if !escaped => quoted = !quoted,
                _ => {}
            }
            escaped = quoted && c == '\\' && !escaped;
            separates
        })
        .filter(|property| !property.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_and_keys_are_found_whatever_their_order() {
        let name: ObjectName = "org.apache.cassandra.db:type=Tables,keyspace=shop,table=orders"
            .parse()
            .unwrap();
        assert_eq!(name.domain(), "org.apache.cassandra.db");
        assert_eq!(name.key("table"), Some("orders"));
        assert_eq!(name.key("keyspace"), Some("shop"));
        assert_eq!(name.key("index"), None);
    }

    #[test]
    fn quoted_values_may_contain_separators() {
        let text = format!("d:a={},b=2", ObjectName::quote("x,\"b=1\"\\"));
        let name: ObjectName = text.parse().unwrap();
        assert_eq!(name.key("a"), Some(r#""x,\"b=1\"\\""#));
        assert_eq!(name.key("b"), Some("2"));
    }

    #[test]
    fn patterns_are_names_and_fragments_are_not() {
        for good in ["d:*", "d:type=T,*", "*:*", ":type=T"] {
            assert!(good.parse::<ObjectName>().is_ok(), "{good}");
        }
        for bad in ["", "d", "d:", "d:a", "d:=b", "d:a=", "d:a=b\n"] {
            assert!(bad.parse::<ObjectName>().is_err(), "{bad}");
        }
    }
}
