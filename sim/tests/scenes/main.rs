//! Named scenes.
#![forbid(unsafe_code)]
