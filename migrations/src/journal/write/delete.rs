//! What is forgotten: runs and DAGs, each with everything of theirs.

use dags::ids::{DagId, RunId, TaskId, TenantId};

use crate::{
    columns::{Both, Columns, Tx},
    journal::write::{Refused, any_number, exactly},
};

/// A run and what belongs to it; the run itself comes last.
const RUNS: [Both; 8] = [
    Both {
        doing: "delete from task_instance",
        postgres: "
            DELETE FROM task_instance AS t USING unnest($1::uuid[], $2::uuid[]) AS n (tenant_id, run_id)
            WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id",
        sqlite: "
            DELETE FROM task_instance WHERE (tenant_id, run_id) IN (SELECT unhex(value ->> 0), unhex(value ->> 1) FROM jsonb_each(?1))",
    },
    Both {
        doing: "delete from attempt",
        postgres: "
            DELETE FROM attempt AS t USING unnest($1::uuid[], $2::uuid[]) AS n (tenant_id, run_id)
            WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id",
        sqlite: "
            DELETE FROM attempt WHERE (tenant_id, run_id) IN (SELECT unhex(value ->> 0), unhex(value ->> 1) FROM jsonb_each(?1))",
    },
    Both {
        doing: "delete from member",
        postgres: "
            DELETE FROM member AS t USING unnest($1::uuid[], $2::uuid[]) AS n (tenant_id, run_id)
            WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id",
        sqlite: "
            DELETE FROM member WHERE (tenant_id, run_id) IN (SELECT unhex(value ->> 0), unhex(value ->> 1) FROM jsonb_each(?1))",
    },
    Both {
        doing: "delete from attempt_claim",
        postgres: "
            DELETE FROM attempt_claim AS t USING unnest($1::uuid[], $2::uuid[]) AS n (tenant_id, run_id)
            WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id",
        sqlite: "
            DELETE FROM attempt_claim WHERE (tenant_id, run_id) IN (SELECT unhex(value ->> 0), unhex(value ->> 1) FROM jsonb_each(?1))",
    },
    Both {
        doing: "delete from result",
        postgres: "
            DELETE FROM result AS t USING unnest($1::uuid[], $2::uuid[]) AS n (tenant_id, run_id)
            WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id",
        sqlite: "
            DELETE FROM result WHERE (tenant_id, run_id) IN (SELECT unhex(value ->> 0), unhex(value ->> 1) FROM jsonb_each(?1))",
    },
    Both {
        doing: "delete from input_request",
        postgres: "
            DELETE FROM input_request AS t USING unnest($1::uuid[], $2::uuid[]) AS n (tenant_id, run_id)
            WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id",
        sqlite: "
            DELETE FROM input_request WHERE (tenant_id, run_id) IN (SELECT unhex(value ->> 0), unhex(value ->> 1) FROM jsonb_each(?1))",
    },
    Both {
        doing: "delete from event",
        postgres: "
            DELETE FROM event AS t USING unnest($1::uuid[], $2::uuid[]) AS n (tenant_id, run_id)
            WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id",
        sqlite: "
            DELETE FROM event WHERE (tenant_id, run_id) IN (SELECT unhex(value ->> 0), unhex(value ->> 1) FROM jsonb_each(?1))",
    },
    Both {
        doing: "delete from run",
        postgres: "
            DELETE FROM run AS t USING unnest($1::uuid[], $2::uuid[]) AS n (tenant_id, run_id)
            WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id",
        sqlite: "
            DELETE FROM run WHERE (tenant_id, run_id) IN (SELECT unhex(value ->> 0), unhex(value ->> 1) FROM jsonb_each(?1))",
    },
];

/// The same for all runs of a DAG.
const RUNS_OF_DAGS: [Both; 8] = [
    Both {
        doing: "delete from task_instance",
        postgres: "
            DELETE FROM task_instance AS t USING unnest($1::uuid[], $2::text[]) AS n (tenant_id, dag_id), run AS r
            WHERE r.tenant_id = n.tenant_id AND r.dag_id = n.dag_id AND t.tenant_id = r.tenant_id AND t.run_id = r.run_id",
        sqlite: "
            DELETE FROM task_instance WHERE (tenant_id, run_id) IN (SELECT r.tenant_id, r.run_id
                FROM jsonb_each(?1) AS n JOIN run AS r ON r.tenant_id = unhex(n.value ->> 0) AND r.dag_id = n.value ->> 1)",
    },
    Both {
        doing: "delete from attempt",
        postgres: "
            DELETE FROM attempt AS t USING unnest($1::uuid[], $2::text[]) AS n (tenant_id, dag_id), run AS r
            WHERE r.tenant_id = n.tenant_id AND r.dag_id = n.dag_id AND t.tenant_id = r.tenant_id AND t.run_id = r.run_id",
        sqlite: "
            DELETE FROM attempt WHERE (tenant_id, run_id) IN (SELECT r.tenant_id, r.run_id
                FROM jsonb_each(?1) AS n JOIN run AS r ON r.tenant_id = unhex(n.value ->> 0) AND r.dag_id = n.value ->> 1)",
    },
    Both {
        doing: "delete from member",
        postgres: "
            DELETE FROM member AS t USING unnest($1::uuid[], $2::text[]) AS n (tenant_id, dag_id), run AS r
            WHERE r.tenant_id = n.tenant_id AND r.dag_id = n.dag_id AND t.tenant_id = r.tenant_id AND t.run_id = r.run_id",
        sqlite: "
            DELETE FROM member WHERE (tenant_id, run_id) IN (SELECT r.tenant_id, r.run_id
                FROM jsonb_each(?1) AS n JOIN run AS r ON r.tenant_id = unhex(n.value ->> 0) AND r.dag_id = n.value ->> 1)",
    },
    Both {
        doing: "delete from attempt_claim",
        postgres: "
            DELETE FROM attempt_claim AS t USING unnest($1::uuid[], $2::text[]) AS n (tenant_id, dag_id), run AS r
            WHERE r.tenant_id = n.tenant_id AND r.dag_id = n.dag_id AND t.tenant_id = r.tenant_id AND t.run_id = r.run_id",
        sqlite: "
            DELETE FROM attempt_claim WHERE (tenant_id, run_id) IN (SELECT r.tenant_id, r.run_id
                FROM jsonb_each(?1) AS n JOIN run AS r ON r.tenant_id = unhex(n.value ->> 0) AND r.dag_id = n.value ->> 1)",
    },
    Both {
        doing: "delete from result",
        postgres: "
            DELETE FROM result AS t USING unnest($1::uuid[], $2::text[]) AS n (tenant_id, dag_id), run AS r
            WHERE r.tenant_id = n.tenant_id AND r.dag_id = n.dag_id AND t.tenant_id = r.tenant_id AND t.run_id = r.run_id",
        sqlite: "
            DELETE FROM result WHERE (tenant_id, run_id) IN (SELECT r.tenant_id, r.run_id
                FROM jsonb_each(?1) AS n JOIN run AS r ON r.tenant_id = unhex(n.value ->> 0) AND r.dag_id = n.value ->> 1)",
    },
    Both {
        doing: "delete from input_request",
        postgres: "
            DELETE FROM input_request AS t USING unnest($1::uuid[], $2::text[]) AS n (tenant_id, dag_id), run AS r
            WHERE r.tenant_id = n.tenant_id AND r.dag_id = n.dag_id AND t.tenant_id = r.tenant_id AND t.run_id = r.run_id",
        sqlite: "
            DELETE FROM input_request WHERE (tenant_id, run_id) IN (SELECT r.tenant_id, r.run_id
                FROM jsonb_each(?1) AS n JOIN run AS r ON r.tenant_id = unhex(n.value ->> 0) AND r.dag_id = n.value ->> 1)",
    },
    Both {
        doing: "delete from event",
        postgres: "
            DELETE FROM event AS t USING unnest($1::uuid[], $2::text[]) AS n (tenant_id, dag_id), run AS r
            WHERE r.tenant_id = n.tenant_id AND r.dag_id = n.dag_id AND t.tenant_id = r.tenant_id AND t.run_id = r.run_id",
        sqlite: "
            DELETE FROM event WHERE (tenant_id, run_id) IN (SELECT r.tenant_id, r.run_id
                FROM jsonb_each(?1) AS n JOIN run AS r ON r.tenant_id = unhex(n.value ->> 0) AND r.dag_id = n.value ->> 1)",
    },
    Both {
        doing: "delete from run",
        postgres: "
            DELETE FROM run AS t USING unnest($1::uuid[], $2::text[]) AS n (tenant_id, dag_id)
            WHERE t.tenant_id = n.tenant_id AND t.dag_id = n.dag_id",
        sqlite: "
            DELETE FROM run WHERE (tenant_id, dag_id) IN (SELECT unhex(value ->> 0), value ->> 1 FROM jsonb_each(?1))",
    },
];

const DAGS: Both = Both {
    doing: "delete DAGs",
    postgres: "
        DELETE FROM dag AS t USING unnest($1::uuid[], $2::text[]) AS n (tenant_id, dag_id)
        WHERE t.tenant_id = n.tenant_id AND t.dag_id = n.dag_id",
    sqlite: "
        DELETE FROM dag WHERE (tenant_id, dag_id) IN (SELECT unhex(value ->> 0), value ->> 1 FROM jsonb_each(?1))",
};

const PENDING: Both = Both {
    doing: "delete pending assets",
    postgres: "
        DELETE FROM pending_asset AS t USING unnest($1::uuid[], $2::text[]) AS n (tenant_id, dag_id)
        WHERE t.tenant_id = n.tenant_id AND t.dag_id = n.dag_id",
    sqlite: "
        DELETE FROM pending_asset WHERE (tenant_id, dag_id) IN (SELECT unhex(value ->> 0), value ->> 1 FROM jsonb_each(?1))",
};

const TASKS: Both = Both {
    doing: "delete placeholders of expanded tasks",
    postgres: "
        DELETE FROM task_instance AS t
        USING unnest($1::uuid[], $2::uuid[], $3::text[], $4::int4[]) AS n (tenant_id, run_id, task_id, map_index)
        WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id AND t.task_id = n.task_id
            AND t.map_index = n.map_index",
    sqlite: "
        DELETE FROM task_instance WHERE (tenant_id, run_id, task_id, map_index) IN (
            SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3 FROM jsonb_each(?1))",
};

/// A task that was moved to a version in which it is mapped may have returned something before.
const RESULTS_OF_TASKS: Both = Both {
    doing: "delete results of expanded tasks",
    postgres: "
        DELETE FROM result AS t
        USING unnest($1::uuid[], $2::uuid[], $3::text[], $4::int4[]) AS n (tenant_id, run_id, task_id, map_index)
        WHERE t.tenant_id = n.tenant_id AND t.run_id = n.run_id AND t.task_id = n.task_id
            AND t.map_index = n.map_index",
    sqlite: "
        DELETE FROM result WHERE (tenant_id, run_id, task_id, map_index) IN (
            SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3 FROM jsonb_each(?1))",
};

/// The rows of index -1 of tasks that were expanded.
pub(super) async fn tasks(tx: &mut Tx<'_>, rows: &[(TenantId, RunId, TaskId, i32)]) -> Result<(), Refused> {
    let columns = || Columns::of(rows).uuid(|r| r.0.0).uuid(|r| r.1.0).text(|r| r.2.as_str()).int(|r| r.3);
    any_number(tx, &RESULTS_OF_TASKS, columns()).await?;
    exactly(tx, &TASKS, columns(), rows.len()).await
}

pub(super) async fn runs(tx: &mut Tx<'_>, rows: &[(TenantId, RunId)]) -> Result<(), Refused> {
    for both in &RUNS {
        any_number(tx, both, Columns::of(rows).uuid(|r| r.0.0).uuid(|r| r.1.0)).await?;
    }
    Ok(())
}

/// Models stay: they are content, and a bundle that names them may be about to be activated.
pub(super) async fn dags(tx: &mut Tx<'_>, rows: &[(TenantId, DagId)]) -> Result<(), Refused> {
    for both in RUNS_OF_DAGS.iter().chain([&PENDING, &DAGS]) {
        any_number(tx, both, Columns::of(rows).uuid(|r| r.0.0).text(|r| r.1.as_str())).await?;
    }
    Ok(())
}

pub(super) async fn pending_assets(tx: &mut Tx<'_>, rows: &[(TenantId, DagId)]) -> Result<(), Refused> {
    any_number(tx, &PENDING, Columns::of(rows).uuid(|r| r.0.0).text(|r| r.1.as_str())).await
}
