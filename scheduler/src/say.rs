//! Log lines about a dispatch: every one names tenant, DAG, run, task and attempt, in fields that are the same everywhere.

/// Writes a line of this level about a [`engine::dispatch::Dispatch`].
macro_rules! about {
    ($level:ident, $dispatch:expr, $($rest:tt)+) => {{
        let of: &engine::dispatch::Dispatch = $dispatch;
        tracing::$level!(
            tenant.id = %of.tenant,
            dag.id = %of.dag_id,
            run.id = %of.run,
            run.name = %of.run_name,
            task.id = %of.task_id,
            map_index = of.map_index,
            attempt = %of.id.attempt,
            dispatch = %of.id,
            $($rest)+
        );
    }};
}

pub(crate) use about;
