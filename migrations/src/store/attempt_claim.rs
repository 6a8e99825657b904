//! Who runs a member of a dispatch: the first to say so, and nobody else.

use dags::ids::{DispatchId, RunId};
use sea_orm::{ActiveValue::Set, EntityTrait as _, sea_query::OnConflict};

use crate::{
    columns::without_nul,
    db::Db,
    entity::attempt_claim,
    error::{Doing as _, Error},
    scope::TenantScope,
};

/// The answer to "may I run?". Whether the dispatch is still current is for the caller to check first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Yes: the claimant is the first, or asks again.
    Yours,
    /// No: somebody else was first.
    Taken {
        /// Who.
        by: String,
    },
}

/// Claims a member of a dispatch.
pub async fn claim(
    db: &Db,
    scope: TenantScope,
    run: RunId,
    dispatch: DispatchId,
    member: u32,
    claimant: &str,
) -> Result<Claim, Error> {
    let doing = "claim a member of a dispatch";
    let claimant = without_nul(claimant);
    let inserted = attempt_claim::Entity::insert(attempt_claim::ActiveModel {
        attempt_id: Set(dispatch.attempt.0),
        n: Set(dispatch.n as i32),
        member: Set(member as i32),
        tenant_id: Set(scope.tenant().0),
        run_id: Set(run.0),
        claimant: Set(claimant.clone().into_owned()),
        claimed_at: Set(db.now().await?.0),
    })
    .on_conflict(OnConflict::new().do_nothing().to_owned())
    .exec_without_returning(db.write())
    .await
    .doing(doing)?;
    if inserted > 0 {
        return Ok(Claim::Yours);
    }
    let key = (dispatch.attempt.0, dispatch.n as i32, member as i32);
    let found = attempt_claim::Entity::find_by_id(key).one(db.write()).await.doing(doing)?;
    match found {
        Some(row) if row.tenant_id == scope.tenant().0 && row.claimant == claimant => Ok(Claim::Yours),
        Some(row) if row.tenant_id == scope.tenant().0 => Ok(Claim::Taken { by: row.claimant }),
        // A dispatch of another tenant: nothing is said about it.
        _ => Ok(Claim::Taken { by: String::new() }),
    }
}
