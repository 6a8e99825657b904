//! `updraft retention`: how long tenants keep their finished runs.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use dags::ids::ShardId;
use migrations::{Db, Role, ShardScope, migrate, store};

use crate::settings::Settings;

/// What is asked.
#[derive(Debug)]
pub(crate) enum Ask {
    /// What holds for each tenant.
    List,
    /// A tenant keeps its runs this long: days, 0 for ever, none as the settings say.
    Set { tenant: String, days: Option<u32> },
}

/// Does it, and says what is to be printed.
pub(crate) async fn answer(settings: Settings, ask: Ask) -> anyhow::Result<String> {
    let db =
        Db::connect(&settings.own_database()?, Role::Service).await.context("failed to open the database")?;
    migrate::check(&db).await?;
    let default = settings.retention.run_days;
    match ask {
        Ask::List => {
            let mut text = String::new();
            let scope = ShardScope::maintenance(ShardId::DEFAULT);
            for kept in store::retention::policies(&db, scope).await? {
                let says = match kept.days {
                    None => format!("{} (`retention.run_days`)", words(default)),
                    Some(days) => words(days),
                };
                writeln!(text, "{}  {says}", kept.name)?;
            }
            Ok(text)
        }
        Ask::Set { tenant, days } => {
            let Some(found) = store::tenant::by_name(&db, &tenant).await? else {
                bail!("there is no tenant `{tenant}`: `updraft retention list` names all");
            };
            store::retention::set_policy(&db, "cli", found.id, days).await?;
            let says = words(days.unwrap_or(default));
            Ok(format!("`{tenant}` keeps its finished runs {says}\n"))
        }
    }
}

fn words(days: u32) -> String {
    match days {
        0 => "for ever".to_owned(),
        1 => "for a day".to_owned(),
        days => format!("for {days} days"),
    }
}
