//! Each rule refuses what it is for, with a message for the person who typed it.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too, which the lint does not see.

mod backup;
mod schedule;
mod storage;

use kube::CustomResourceExt;
use kube::core::cel::Validator;
use serde_json::Value;

fn messages<T: CustomResourceExt>(object: &Value, old: Option<&Value>) -> Vec<String> {
    let crd = serde_json::to_value(T::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    match Validator::new().validate(schema, object, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_iter().map(|error| error.to_string()).collect(),
    }
}

fn assert_refused(messages: &[String], expected: &str) {
    assert!(
        messages.iter().any(|message| message.contains(expected)),
        "expected {expected:?}, got {messages:?}"
    );
}
