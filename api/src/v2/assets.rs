//! Assets: what tasks update and DAGs wait for. They exist by being named in DAGs.

use std::collections::BTreeMap;

use dags::{ids::DagId, model::AssetCondition, time::Timestamp};
use migrations::{
    policy::{Kind, Visible},
    store::{
        Window,
        dag::{self, DagFilter, DagWithModel},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    access::{Access, NO_TAGS, Permit, tags},
    error::Error,
};

pub(crate) mod events;
pub(crate) mod get;
pub(crate) mod list;

pub use events::{AssetEvent, AssetEventBody, AssetEventCollection};

/// DAGs that are read at once.
const DAGS_AT_ONCE: u64 = 500;
/// Numbers of assets fit into the integers that JavaScript has.
const ID_MASK: u64 = (1 << 53) - 1;

/// An asset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Asset {
    /// A number made of its name.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its name.
    pub uri: String,
    /// `asset`.
    pub group: String,
    /// None.
    #[serde(default)]
    pub extra: Option<Map<String, Value>>,
    /// Unknown: the beginning of time.
    pub created_at: Timestamp,
    /// Unknown: the beginning of time.
    pub updated_at: Timestamp,
    /// DAGs that wait for it.
    pub scheduled_dags: Vec<DagRef>,
    /// Tasks that update it.
    pub producing_tasks: Vec<TaskRef>,
    /// None.
    pub consuming_tasks: Vec<Value>,
    /// None.
    pub aliases: Vec<Value>,
    /// None.
    pub watchers: Vec<Value>,
    /// Unknown here: the events say it.
    #[serde(default)]
    pub last_asset_event: Option<Value>,
}

/// A DAG that waits for an asset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct DagRef {
    /// The DAG.
    pub dag_id: String,
    /// Unknown.
    pub created_at: Timestamp,
    /// Unknown.
    pub updated_at: Timestamp,
}

/// A task that updates an asset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct TaskRef {
    /// The DAG.
    pub dag_id: String,
    /// The task.
    pub task_id: String,
    /// Unknown.
    pub created_at: Timestamp,
    /// Unknown.
    pub updated_at: Timestamp,
}

/// A page of assets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AssetCollection {
    /// The assets.
    pub assets: Vec<Asset>,
    /// How many there are on all pages.
    pub total_entries: u64,
}

/// The number of an asset, made of its name.
pub(crate) fn id(name: &str) -> u64 {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).as_u64_pair().0 & ID_MASK
}

/// What somebody may see of assets: which, and which DAGs at their ends.
struct Seen {
    may: Permit,
    dags: Visible,
}

impl Seen {
    async fn of(access: &Access) -> Result<Self, Error> {
        Ok(Self { may: access.list(Kind::Asset).await?, dags: access.seen(Kind::Dag) })
    }

    async fn sees(&self, dag_id: &DagId) -> Result<bool, Error> {
        let tags = if self.dags.asks_for_tags() {
            tags(self.may.db(), self.may.scope, dag_id).await?
        } else {
            NO_TAGS
        };
        Ok(self.dags.covers(dag_id.as_str(), &tags))
    }

    fn dag(&self, found: &DagWithModel) -> bool {
        self.dags.covers(found.row.dag_id.as_str(), &found.tags())
    }
}

/// Every asset that may be seen and that a DAG names, by name.
async fn all(seen: &Seen) -> Result<BTreeMap<String, Asset>, Error> {
    let Seen { may, .. } = seen;
    let mut assets = BTreeMap::new();
    let mut offset = 0;
    loop {
        let window = Window { limit: DAGS_AT_ONCE, offset };
        let page = dag::list(may.db(), may.scope, &DagFilter::default(), window).await?;
        for found in &page.rows {
            let Ok(model) = found.model() else { continue };
            if let Some(condition) = model.schedule.when.assets() {
                consumer(&mut assets, condition, seen.dag(found).then_some(&found.row.dag_id));
            }
            for task in &model.tasks {
                for name in &task.outlets {
                    let asset = known(&mut assets, name);
                    if seen.dag(found) {
                        asset.producing_tasks.push(TaskRef {
                            dag_id: found.row.dag_id.to_string(),
                            task_id: task.task_id.to_string(),
                            created_at: Timestamp(0),
                            updated_at: Timestamp(0),
                        });
                    }
                }
            }
        }
        offset += DAGS_AT_ONCE;
        if offset >= page.total {
            assets.retain(|name, _| may.visible.covers(name, &NO_TAGS));
            return Ok(assets);
        }
    }
}

fn consumer(assets: &mut BTreeMap<String, Asset>, condition: &AssetCondition, dag_id: Option<&DagId>) {
    match condition {
        AssetCondition::Asset(name) => {
            let asset = known(assets, name);
            asset.scheduled_dags.extend(dag_id.map(|dag_id| DagRef {
                dag_id: dag_id.to_string(),
                created_at: Timestamp(0),
                updated_at: Timestamp(0),
            }));
        }
        AssetCondition::Any(list) | AssetCondition::All(list) => {
            for condition in list {
                consumer(assets, condition, dag_id);
            }
        }
    }
}

fn known<'a>(assets: &'a mut BTreeMap<String, Asset>, name: &str) -> &'a mut Asset {
    assets.entry(name.to_owned()).or_insert_with(|| Asset {
        id: id(name),
        name: name.to_owned(),
        uri: name.to_owned(),
        group: "asset".to_owned(),
        extra: None,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        scheduled_dags: Vec::new(),
        producing_tasks: Vec::new(),
        consuming_tasks: Vec::new(),
        aliases: Vec::new(),
        watchers: Vec::new(),
        last_asset_event: None,
    })
}

/// The asset of that number, or not found.
async fn find(seen: &Seen, id: u64) -> Result<Asset, Error> {
    let found = all(seen).await?.into_values().find(|asset| asset.id == id);
    found.ok_or_else(|| Error::NotFound(format!("no DAG names an asset with the number {id}")))
}
