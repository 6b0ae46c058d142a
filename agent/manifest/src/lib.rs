//! Storage layout, manifest and tokens file.
