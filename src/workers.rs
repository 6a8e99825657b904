//! `updraft workers`: which machines may be workers, and which there are.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use dags::{ids::TenantId, time::Span};
use migrations::{
    Db, Role, migrate,
    store::{self, tenant::TenantState},
};
use plugins::token::{self, Kind};

use crate::settings::Settings;

/// How long an enrolment token is good.
const ENROLMENT: Span = Span::seconds(3600);
/// The most workers that are listed.
const LIST_MAX: u64 = 1_000;

/// What is asked.
#[derive(Debug)]
pub(crate) enum Ask {
    /// A token with which one machine becomes a worker, with limits on what its workers may offer.
    Enrol { tenant: Option<String>, slots: Option<u32>, queues: Vec<String> },
    /// The workers, those that have ended as well.
    List { all: bool },
    /// The end of a machine's credentials.
    Revoke { name: String },
}

/// Does it, and says what is to be printed.
pub(crate) async fn answer(settings: Settings, ask: Ask) -> anyhow::Result<String> {
    let db =
        Db::connect(&settings.own_database()?, Role::Service).await.context("failed to open the database")?;
    migrate::check(&db).await?;
    match ask {
        Ask::Enrol { tenant, slots, queues } => {
            let tenant = tenant_of(&db, tenant.as_deref()).await?;
            let queues = (!queues.is_empty()).then(|| queues.into_iter().collect());
            let limits = store::worker::Limits { tenants: Some([tenant].into()), queues, slots };
            let token = token::random(Kind::Enrolment)?;
            let (hash, prefix) =
                token::stored(Kind::Enrolment, &token).context("invariant: a token that was just made")?;
            let hashed = store::worker::Hashed { hash, prefix };
            store::worker::enrol(&db, "cli", &hashed, &limits, ENROLMENT).await?;
            Ok(format!("{token}\n"))
        }
        Ask::List { all } => {
            let mut text = String::new();
            for worker in store::worker::list(&db, all, LIST_MAX).await? {
                let queues: Vec<&str> = worker.spec.queues.iter().map(String::as_str).collect();
                let queues = if queues.is_empty() { "default".to_owned() } else { queues.join(",") };
                let ended = match (worker.ended_at, worker.lost_at) {
                    (Some(at), _) => format!("  ended {at}"),
                    (None, Some(at)) => format!("  lost {at}"),
                    (None, None) => String::new(),
                };
                let (id, slots, since) = (worker.spec.worker, worker.spec.slots, worker.registered_at);
                writeln!(text, "{id}  {}  {slots} slots  {queues}  since {since}{ended}", worker.name)?;
            }
            Ok(text)
        }
        Ask::Revoke { name } => match store::worker::revoke(&db, &name).await? {
            0 => bail!("no machine called `{name}` may be a worker"),
            n => Ok(format!("{n} credentials of `{name}` are taken back\n")),
        },
    }
}

/// Whose attempts a machine may run: one tenant's, because all attempts of a machine run as the same user.
async fn tenant_of(db: &Db, wanted: Option<&str>) -> anyhow::Result<TenantId> {
    let tenants = store::tenant::list(db).await?;
    let there: Vec<_> = tenants.iter().filter(|tenant| tenant.state != TenantState::Deleted).collect();
    let names = || there.iter().map(|tenant| tenant.name.as_str()).collect::<Vec<_>>().join(", ");
    match (wanted, &there[..]) {
        (Some(name), _) => match there.iter().find(|tenant| tenant.name == name) {
            Some(tenant) => Ok(tenant.id),
            None => bail!("there is no tenant `{name}`; there are: {}", names()),
        },
        (None, [only]) => Ok(only.id),
        (None, _) => bail!(
            "say whose attempts the machine may run, with `--tenant NAME`: a machine runs those of one tenant, and there are: {}",
            names()
        ),
    }
}
