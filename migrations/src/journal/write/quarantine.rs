//! What is left alone from now on, and what is released. The rest of those rows isn't looked at.

use dags::ids::{DagId, RunId, TenantId};
use engine::rows::{QuarantineRow, Subject};

use crate::{
    columns::{Both, Columns, Tx},
    journal::write::{Refused, any_number},
};

const RUNS: Both = Both {
    doing: "quarantine runs",
    postgres: "
        UPDATE run AS t SET quarantine = n.reason
        FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS n (tenant_id, run_id, reason)
        WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id",
    sqlite: "
        UPDATE run AS t SET quarantine = n.reason
        FROM (SELECT unhex(value ->> 0) AS tenant_id, unhex(value ->> 1) AS run_id, value ->> 2 AS reason
            FROM jsonb_each(?1)) AS n
        WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id",
};

const DAGS: Both = Both {
    doing: "quarantine DAGs",
    postgres: "
        UPDATE dag AS t SET quarantine = n.reason
        FROM unnest($1::uuid[], $2::text[], $3::text[]) AS n (tenant_id, dag_id, reason)
        WHERE t.tenant_id = n.tenant_id AND t.dag_id = n.dag_id",
    sqlite: "
        UPDATE dag AS t SET quarantine = n.reason
        FROM (SELECT unhex(value ->> 0) AS tenant_id, value ->> 1 AS dag_id, value ->> 2 AS reason
            FROM jsonb_each(?1)) AS n
        WHERE t.tenant_id = n.tenant_id AND t.dag_id = n.dag_id",
};

pub(super) async fn write(tx: &mut Tx<'_>, rows: &[QuarantineRow]) -> Result<(), Refused> {
    type Reason<'a> = Option<&'a str>;
    let mut runs: Vec<(TenantId, RunId, Reason<'_>)> = Vec::new();
    let mut dags: Vec<(TenantId, &DagId, Reason<'_>)> = Vec::new();
    for QuarantineRow { subject, reason } in rows {
        match subject {
            Subject::Run(tenant, run) => runs.push((*tenant, *run, reason.as_deref())),
            Subject::Dag(tenant, dag) => dags.push((*tenant, dag, reason.as_deref())),
        }
    }
    let columns = Columns::of(&runs).uuid(|r| r.0.0).uuid(|r| r.1.0).free_or_null(|r| r.2);
    any_number(tx, &RUNS, columns).await?;
    let columns = Columns::of(&dags).uuid(|r| r.0.0).text(|r| r.1.as_str()).free_or_null(|r| r.2);
    any_number(tx, &DAGS, columns).await
}
