//! `updraft migrate`: the schema of the database.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use migrations::{
    Db, Role, migrate,
    seal::{MasterKey, Sealer},
};

use crate::{
    args::MigrateCommand,
    settings::{Secret, Settings},
};

/// Does it, and says what was done.
pub(crate) async fn run(settings: Settings, command: MigrateCommand) -> anyhow::Result<String> {
    let url = match settings.database.url.as_ref().map(Secret::expose) {
        Some(url) => url.to_owned(),
        None => format!("sqlite:{}", settings.data()?.join("updraft.db").display()),
    };
    let db = Db::connect(&url, Role::Owner).await.context("failed to open the database")?;
    match command {
        MigrateCommand::Up => up(&settings, &db).await,
        MigrateCommand::Down { steps, yes } => {
            if !yes {
                bail!(
                    "taking back {steps} of the schema's steps destroys what is stored in what they made: make a backup, then \
                     say `--yes`"
                );
            }
            migrate::down(&db, steps).await?;
            status(&db).await
        }
        MigrateCommand::ForgetSecrets { yes } => forget_secrets(&settings, &db, yes).await,
        MigrateCommand::Status => status(&db).await,
    }
}

/// After a master key was lost: what it sealed can't be opened any more, and is in the way of what is sealed anew.
async fn forget_secrets(settings: &Settings, db: &Db, yes: bool) -> anyhow::Result<String> {
    migrate::check(db).await?;
    let file = settings.master_file()?;
    let key = MasterKey::load_or_create(&file).with_context(|| {
        format!("failed to read or make the master key (`keys.master_file`), {}", file.display())
    })?;
    let sealer = Sealer::new(key);
    if sealer.check(db).await.is_ok() {
        return Ok(format!("{} opens every secret of this database: nothing is given up\n", file.display()));
    }
    if !yes {
        bail!(
            "this gives up every secret variable and connection that {} doesn't open, for good: look once more for the lost \
             key, then say `--yes`",
            file.display()
        );
    }
    let keys = sealer.forget_foreign(db).await?;
    Ok(format!(
        "{keys} keys of tenants are given up: set their secret variables and connections anew, and enrol the workers again\n"
    ))
}

/// A database that is new needs a master key; one that isn't needs the key that it was made with.
async fn up(settings: &Settings, db: &Db) -> anyhow::Result<String> {
    if migrate::schema_number(db).await? == 0 {
        let file = settings.master_file()?;
        MasterKey::load_or_create(&file).with_context(|| {
            format!("failed to make the master key (`keys.master_file`), {}", file.display())
        })?;
    }
    migrate::up(db).await?;
    status(db).await
}

async fn status(db: &Db) -> anyhow::Result<String> {
    let mut text = String::new();
    for step in migrate::status(db).await? {
        let _ = writeln!(text, "{:<9} {}", if step.applied { "applied" } else { "missing" }, step.name);
    }
    let (database, binary) = (migrate::schema_number(db).await?, migrate::newest());
    let _ = writeln!(text, "the database's schema has number {database}, this binary needs {binary}");
    Ok(text)
}
