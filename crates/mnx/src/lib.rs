//! mnx
