//! The custom resources: types, validation rules, printer columns.
