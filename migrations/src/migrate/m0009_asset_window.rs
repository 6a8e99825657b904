//! Which events of assets a run stands for.

use super::Texts;

pub(super) const STEP: Texts = Texts {
    name: "m0009_asset_window",
    postgres: "
        ALTER TABLE run ADD COLUMN assets_after bigint;
        ALTER TABLE run ADD COLUMN assets_until bigint;",
    sqlite: "
        ALTER TABLE run ADD COLUMN assets_after INTEGER;
        ALTER TABLE run ADD COLUMN assets_until INTEGER;",
    down: "
        ALTER TABLE run DROP COLUMN assets_until;
        ALTER TABLE run DROP COLUMN assets_after;",
};
