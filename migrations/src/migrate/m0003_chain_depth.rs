//! How many runs started each other before a run, so that a chain of them has an end.

use super::Texts;

pub(super) const STEP: Texts = Texts {
    name: "m0003_chain_depth",
    postgres: "ALTER TABLE run ADD COLUMN chain_depth integer NOT NULL DEFAULT 0",
    sqlite: "ALTER TABLE run ADD COLUMN chain_depth INTEGER NOT NULL DEFAULT 0",
    down: "ALTER TABLE run DROP COLUMN chain_depth",
};
