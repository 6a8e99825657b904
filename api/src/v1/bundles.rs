//! `/bundles`: folders of DAGs that are sent here, what would change with one, and making it the active one.
//!
//! Deploying a DAG is `create` on it, taking one away is `delete`. A bundle that touches a DAG of which the caller may not do
//! that is refused as a whole.

use std::{io, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{FromRequest, Request},
    http::header,
};
use dags::{bundle::Size, ids::BundleId, time::Timestamp};
use engine::command::{ActivatedDag, Base, Command, Refusal};
use http_body_util::BodyExt as _;
use migrations::{
    policy::{Action, Kind},
    store::{
        audit,
        bundle::{self, NewBundle, NewVersion},
        import_error,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    access::{Access, Permit},
    bundles::{Archive, body},
    describe::{Created, Describe, Shaped, Sketch},
    error::Error,
    extract::{Asked, Body as JsonBody, Named, Nothing, is_kind},
    v1::Items,
};

mod diff;
mod plan;

pub use diff::Difference;
pub use plan::{Cause, Change, Plan, PlannedDag, Trouble};

/// The refusal of an activation whose base isn't active.
const OVERTAKEN: &str = "bundle.overtaken";
/// How far back the audit log is read for who made a bundle active.
const LATEST: u64 = 20;
/// The media type of a bundle on its way.
pub(crate) const ARCHIVE: &str = "application/x-tar";
/// The largest archive: the most that a bundle's files may have, and what tar adds to so many files.
pub(crate) const ARCHIVE_BYTES_MAX: u64 = (100 << 20) + 20_000 * 2048;
/// How long the next piece of one may take.
const PIECE_TIME: Duration = Duration::from_secs(30);
/// The most bundles that a list shows.
const LISTED_MAX: u64 = 200;
/// The most bundles of a tenant that were sent and never made active.
const UNUSED_MAX: u64 = 100;

/// An archive as a body.
pub(crate) struct Tar(Body);

impl<S: Send + Sync> FromRequest<S> for Tar {
    type Rejection = Error;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Error> {
        let is_archive = is_kind(request.headers(), ARCHIVE);
        is_archive.then(|| Self(request.into_body())).ok_or(Error::MediaType(ARCHIVE))
    }
}

impl Describe for Tar {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.takes(&[ARCHIVE], &json!({}));
    }
}

/// An archive as an answer, for the document.
pub(crate) struct Packed;

impl Describe for Packed {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.answers.insert(200, vec![(ARCHIVE, json!({}))]);
    }
}

/// An address in a path. What is none is simply not found.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub(crate) struct Address(BundleId);

impl TryFrom<String> for Address {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let fits = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if fits {
            Ok(Self(BundleId(text.into())))
        } else {
            Err("a bundle's address has 64 hexadecimal digits")
        }
    }
}

/// A bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BundleView {
    /// Its content address.
    pub bundle: String,
    /// The bytes of all files together.
    pub bytes: u64,
    /// How many files it has.
    pub files: u32,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// Who stored it first; none for the folder that the service watches.
    pub created_by: Option<String>,
    /// When it was last made active.
    pub activated_at: Option<Timestamp>,
    /// Whether it is the active one.
    pub active: bool,
    /// Whether it was sent here, and not made of the folder that the service watches.
    pub deployed: bool,
}

fn view(found: bundle::Bundle, active: Option<&BundleId>) -> BundleView {
    BundleView {
        active: active == Some(&found.digest),
        deployed: found.is_deployed(),
        created_by: found.deployed_by().map(str::to_owned),
        bundle: found.digest.to_string(),
        bytes: found.bytes,
        files: found.files,
        created_at: found.created_at,
        activated_at: found.activated_at,
    }
}

/// `GET /bundles`: those that were active, the latest first, and then those that never were.
pub(crate) async fn list(access: Access, _: Asked<Nothing>) -> Result<Json<Items<BundleView>>, Error> {
    let may = access.list(Kind::Dag).await?;
    let mut found = bundle::list(may.db(), may.scope, LISTED_MAX).await?;
    let active = bundle::active(may.db(), may.scope).await?;
    if let Some(active) = &active
        && !found.iter().any(|bundle| bundle.digest == active.digest)
    {
        found.push(active.clone());
    }
    found.sort_by_key(|bundle| std::cmp::Reverse((bundle.activated_at, bundle.created_at)));
    let active = active.map(|active| active.digest);
    Ok(Items::all(found.into_iter().map(|bundle| view(bundle, active.as_ref()))))
}

/// `PUT /bundles/{bundle}`: sends a bundle, as a tar archive of its files. One that is there is taken as it is, for who sends all
/// of it.
pub(crate) async fn put(
    access: Access,
    Named(Address(address)): Named<Address>,
    Tar(body): Tar,
) -> Result<Created<BundleView>, Error> {
    let may = access.any(Kind::Dag, Action::Create).await?;
    if bundle::count_unused(may.db(), may.scope).await? >= UNUSED_MAX {
        return Err(Error::Conflict(format!(
            "{UNUSED_MAX} bundles of this tenant were sent and never made active: they go by themselves after \
             `retention.bundle_days`"
        )));
    }
    let (pieces, archive) = Archive::channel();
    let received = may.state.bundles.receive(address.clone(), archive);
    let (fed, received) = tokio::join!(feed(body, pieces), received);
    fed?;
    let Size { bytes, files } = received?;
    let created_by = Some(bundle::deployed_by(&may.actor));
    let new = NewBundle { digest: address.clone(), bytes, files, created_by, versions: Vec::new() };
    bundle::send(may.db(), may.scope, &may.actor, &new).await?;
    let found = bundle::get(may.db(), may.scope, &address).await?.ok_or_else(|| absent(&address))?;
    let active = bundle::active(may.db(), may.scope).await?.map(|active| active.digest);
    Ok(Created(view(found, active.as_ref())))
}

/// Hands a body on, piece by piece.
async fn feed(
    mut body: Body,
    pieces: tokio::sync::mpsc::Sender<io::Result<bytes::Bytes>>,
) -> Result<(), Error> {
    let mut bytes = 0;
    loop {
        let error = match tokio::time::timeout(PIECE_TIME, body.frame()).await {
            Err(_) => Error::Slow,
            Ok(None) => return Ok(()),
            Ok(Some(Err(error))) => Error::BadRequest(format!("the body can't be read: {error}")),
            Ok(Some(Ok(frame))) => {
                let Ok(piece) = frame.into_data() else { continue };
                bytes += piece.len() as u64;
                if bytes <= ARCHIVE_BYTES_MAX {
                    if pieces.send(Ok(piece)).await.is_err() {
                        // Whoever reads has seen enough, and says what is wrong.
                        return Ok(());
                    }
                    continue;
                }
                let most = ARCHIVE_BYTES_MAX >> 20;
                Error::BundleTooLarge(format!("the archive has more than {most} MiB"))
            }
        };
        // It ends with an error there, so that what has come isn't taken for all.
        let _ = pieces.send(Err(io::Error::other("the body broke off"))).await;
        return Err(error);
    }
}

fn absent(address: &BundleId) -> Error {
    Error::NotFound(format!("the bundle `{address}` was not found"))
}

/// `GET /bundles/{bundle}`: the bundle, as a tar archive of its files, for who takes it to another service. It holds the code of
/// all its DAGs, so whoever may not read that of some gets nothing of it.
pub(crate) async fn get(
    access: Access,
    Named(Address(address)): Named<Address>,
) -> Result<Shaped<Packed>, Error> {
    let may = access.list(Kind::Code).await?;
    bundle::get(may.db(), may.scope, &address).await?.ok_or_else(|| absent(&address))?;
    if !may.visible.is_all() {
        audit::denied(may.db(), may.scope, &may.actor, &format!("read the bundle {address}")).await?;
        let message = "a bundle has the code of all its DAGs, and you may not read that of some";
        return Err(Error::Forbidden(message.to_owned()));
    }
    let file = may.state.bundles.pack(address).await?;
    Ok(Shaped::new(([(header::CONTENT_TYPE, ARCHIVE)], body(file))))
}

/// `POST /bundles/{bundle}/plan`: what would change with it, and what stands in the way. Changes nothing.
pub(crate) async fn plan(
    access: Access,
    Named(Address(address)): Named<Address>,
) -> Result<Json<Plan>, Error> {
    let may = access.any(Kind::Dag, Action::Create).await?;
    let target = bundle::get(may.db(), may.scope, &address).await?.ok_or_else(|| absent(&address))?;
    Ok(Json(plan::make(&access, &may, &target).await?.plan))
}

/// How a bundle is to be made active.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// The bundle that was active when the plan was made, as the plan says it. Another one by now is a conflict.
    pub base: Option<String>,
    /// Whether it may lack what the plan misses: pools, connections, variables, room in the quota.
    #[serde(default)]
    pub despite_missing: bool,
    /// Whether it takes the place of what the service's own folder has made.
    #[serde(default)]
    pub take_over: bool,
}

/// What was made active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Activated {
    /// The bundle.
    pub bundle: String,
    /// How many DAGs it has.
    pub active: u64,
    /// How many DAGs are stale now.
    pub stale: u64,
}

/// The refusal of who looked at a plan that isn't true any more, with what is active now and who made it so.
async fn overtaken(may: &Permit) -> Result<Error, Error> {
    let active = bundle::active(may.db(), may.scope).await?.map(|active| active.digest.to_string());
    let latest = audit::latest(may.db(), may.scope, "activate_bundle", LATEST).await?;
    let of = |entry: &&audit::AuditEntry| {
        entry.outcome.is_ok() && active.as_deref().is_some_and(|active| entry.payload["bundle"] == active)
    };
    let who = latest.iter().find(of);
    let what = match (active.as_deref(), who) {
        (Some(active), Some(entry)) => {
            let by = match entry.actor.as_str() {
                bundle::FOLDER => "the folder that the service watches".to_owned(),
                actor => format!("`{actor}`"),
            };
            format!("{by} made the bundle {active} active at {}", entry.at)
        }
        (Some(active), None) => format!("the bundle {active} was made active meanwhile"),
        (None, _) => "no bundle is active any more".to_owned(),
    };
    let message = format!("{what}, which the plan doesn't know: look at the plan again");
    Ok(Error::Refused(Refusal::new(OVERTAKEN, message)))
}

/// `POST /bundles/{bundle}/activate`: makes it the active one, all of it in one transaction, or nothing of it.
pub(crate) async fn activate(
    access: Access,
    Named(Address(address)): Named<Address>,
    JsonBody(body): JsonBody<Activation>,
) -> Result<Json<Activated>, Error> {
    let may = access.any(Kind::Dag, Action::Create).await?;
    let target = bundle::get(may.db(), may.scope, &address).await?.ok_or_else(|| absent(&address))?;
    let plan::Made { plan, size, sources } = plan::make(&access, &may, &target).await?;
    if body.base != plan.base {
        return Err(overtaken(&may).await?);
    }
    let blocking = |trouble: &&Trouble| match trouble.cause {
        Cause::File | Cause::Permission => true,
        Cause::Missing => !body.despite_missing,
        Cause::Folder => !body.take_over,
    };
    let blocking: Vec<&Trouble> = plan.troubles.iter().filter(blocking).collect();
    if let Some(forbidden) = blocking.iter().find(|trouble| trouble.cause == Cause::Permission) {
        let what = format!("deploy {address}: {}", forbidden.message);
        audit::denied(may.db(), may.scope, &may.actor, &what).await?;
        return Err(Error::Forbidden(forbidden.message.clone()));
    }
    if let Some(first) = blocking.first() {
        let more = match blocking.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more: look at the plan)"),
        };
        return Err(Error::Conflict(format!("{}{more}", first.message)));
    }
    let new = NewBundle {
        digest: address.clone(),
        bytes: size.bytes,
        files: size.files,
        created_by: target.created_by,
        versions: sources
            .iter()
            .map(|dag| NewVersion {
                version: dag.version.clone(),
                model: dag.model.clone(),
                source: dag.source.clone(),
            })
            .collect(),
    };
    bundle::store(may.db(), may.scope, &new).await?;
    let dags = sources.iter().map(|dag| ActivatedDag {
        dag_id: dag.model.dag_id.clone(),
        version: dag.version.clone(),
        bundle: None,
        paused_upon_creation: false,
    });
    let base = body.base.map_or(Base::Nothing, |base| Base::Bundle(BundleId(base.into())));
    let command = Command::ActivateBundle { bundle: address.clone(), base, dags: dags.collect() };
    let answer = match may.request(command).await {
        Err(Error::Refused(refusal)) if refusal.code == OVERTAKEN => return Err(overtaken(&may).await?),
        answer => answer?,
    };
    // What a folder left that was watched before. A bundle has no broken files.
    import_error::replace(may.db(), may.scope, &[]).await?;
    let count = |name: &str| answer[name].as_u64().unwrap_or_default();
    Ok(Json(Activated { bundle: address.to_string(), active: count("active"), stale: count("stale") }))
}
