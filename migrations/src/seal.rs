//! seal
/// E
#[derive(Debug, thiserror::Error)]
pub enum SealError {
}
