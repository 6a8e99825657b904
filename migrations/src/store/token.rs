//! Tokens. Only their SHA-256 is kept, and whether one is good is read here each time, so that ending one binds every
//! replica at once.

use dags::{
    ids::TenantId,
    time::{Span, Timestamp},
};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, sea_query::Expr};
use serde_json::json;
use uuid::Uuid;

use crate::{
    db::Db,
    entity::{account, token},
    error::{Doing as _, Error},
    rows,
    scope::TenantScope,
    store::{
        account::{Account, AccountId, read as read_account},
        audit,
    },
};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A sign-in.
    Session,
    /// A person's program.
    Api,
    /// A service account's program.
    Service,
}

impl TokenKind {
    /// The word for it, in the database and in the token's text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Api => "api",
            Self::Service => "service",
        }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        [Self::Session, Self::Api, Self::Service]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| Error::corrupt("token", format!("kind {text:?}")))
    }
}

/// A token without its text, which nobody has but its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Names it in lists.
    pub id: Uuid,
    /// Whose it is.
    pub account: AccountId,
    /// What it is for.
    pub kind: TokenKind,
    /// The one tenant that it is good for; none for all of its account's.
    pub tenant: Option<TenantId>,
    /// What its owner calls it.
    pub name: String,
    /// How its random part begins.
    pub prefix: String,
    /// What it may be used for; none for everything that its account may do.
    pub scopes: Option<Vec<String>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// It ends as well when it wasn't used for so long.
    pub idle: Option<Span>,
    /// When it was last used, to within [`USE_STEP`].
    pub used_at: Timestamp,
    /// From which address.
    pub used_from: Option<String>,
}

/// A token that is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// SHA-256 of its text.
    pub hash: [u8; 32],
    /// What it is for.
    pub kind: TokenKind,
    /// The one tenant that it is good for.
    pub tenant: Option<TenantId>,
    /// What its owner calls it.
    pub name: String,
    /// How its random part begins.
    pub prefix: String,
    /// What it may be used for.
    pub scopes: Option<Vec<String>>,
    /// How long it lasts.
    pub life: Span,
    /// It ends as well when it wasn't used for so long.
    pub idle: Option<Span>,
    /// From which address it was asked for.
    pub from: Option<String>,
}

/// How often the last use is written down.
pub const USE_STEP: Span = Span::seconds(300);

fn read(row: token::Model) -> Result<Token, Error> {
    Ok(Token {
        id: row.id,
        account: AccountId(row.account_id),
        kind: TokenKind::parse(&row.kind)?,
        tenant: row.tenant_id.map(TenantId),
        name: row.name,
        prefix: row.prefix,
        scopes: row.scopes.map(|text| rows::json("token", &text)).transpose()?,
        created_at: Timestamp(row.created_at),
        expires_at: Timestamp(row.expires_at),
        idle: row.idle_micros.map(Span),
        used_at: Timestamp(row.used_at),
        used_from: row.used_from,
    })
}

/// Keeps a token of an account. `scope` says in whose audit log it appears.
pub async fn insert(
    db: &Db,
    scope: Option<TenantScope>,
    actor: &str,
    account: AccountId,
    new: NewToken,
) -> Result<Token, Error> {
    let doing = "keep a token";
    let now = db.now().await?.0;
    let row = token::Model {
        hash: new.hash.to_vec(),
        id: Uuid::now_v7(),
        account_id: account.0,
        kind: new.kind.as_str().to_owned(),
        tenant_id: new.tenant.map(|tenant| tenant.0),
        name: new.name,
        prefix: new.prefix,
        scopes: new.scopes.as_ref().map(rows::to_json),
        created_at: now,
        expires_at: now.saturating_add(new.life.0),
        idle_micros: new.idle.map(|idle| idle.0),
        used_at: now,
        used_from: new.from.clone(),
    };
    let transaction = db.begin().await.doing(doing)?;
    // What has ended long ago is of no use to anybody.
    token::Entity::delete_many()
        .filter(token::Column::AccountId.eq(account.0))
        .filter(token::Column::ExpiresAt.lt(now))
        .exec(&transaction)
        .await
        .doing(doing)?;
    token::Entity::insert(token::ActiveModel::from(row.clone()))
        .exec_without_returning(&transaction)
        .await
        .doing(doing)?;
    let payload = json!({"token": row.id, "kind": row.kind, "account": account.0, "from": new.from});
    audit::note(&transaction, scope.unwrap_or(audit::PLATFORM), now, actor, "make_token", &payload).await?;
    transaction.commit().await.doing(doing)?;
    read(row)
}

/// The token of that hash with its account, if it is good now.
pub async fn find(db: &Db, hash: &[u8; 32], from: Option<&str>) -> Result<Option<(Token, Account)>, Error> {
    let doing = "look up a token";
    let Some(row) = token::Entity::find_by_id(hash.to_vec()).one(db.read()).await.doing(doing)? else {
        return Ok(None);
    };
    let now = db.now().await?.0;
    let idle_since = now.saturating_sub(row.used_at);
    if row.expires_at <= now || row.idle_micros.is_some_and(|idle| idle_since >= idle) {
        return Ok(None);
    }
    let owner = account::Entity::find_by_id(row.account_id).one(db.read()).await.doing(doing)?;
    let Some(owner) = owner.filter(|owner| !owner.disabled) else { return Ok(None) };
    if idle_since >= USE_STEP.0 || row.used_from.as_deref() != from {
        token::Entity::update_many()
            .col_expr(token::Column::UsedAt, Expr::value(now))
            .col_expr(token::Column::UsedFrom, Expr::value(from))
            .filter(token::Column::Hash.eq(hash.to_vec()))
            .exec(db.write())
            .await
            .doing("note the use of a token")?;
    }
    Ok(Some((read(row)?, read_account(owner))))
}

/// Tokens of an account that haven't ended, newest first.
pub async fn list(db: &Db, account: AccountId) -> Result<Vec<Token>, Error> {
    let now = db.now().await?.0;
    let found = token::Entity::find()
        .filter(token::Column::AccountId.eq(account.0))
        .filter(token::Column::ExpiresAt.gt(now))
        .order_by_desc(token::Column::CreatedAt)
        .all(db.read())
        .await
        .doing("list tokens")?;
    found.into_iter().map(read).collect()
}

/// Ends one token of an account. False if it has none of that id.
pub async fn delete(
    db: &Db,
    scope: Option<TenantScope>,
    actor: &str,
    account: AccountId,
    id: Uuid,
) -> Result<bool, Error> {
    let doing = "end a token";
    let now = db.now().await?.0;
    let transaction = db.begin().await.doing(doing)?;
    let done = token::Entity::delete_many()
        .filter(token::Column::AccountId.eq(account.0))
        .filter(token::Column::Id.eq(id))
        .exec(&transaction)
        .await
        .doing(doing)?;
    if done.rows_affected == 0 {
        return Ok(false);
    }
    let payload = json!({"token": id, "account": account.0});
    audit::note(&transaction, scope.unwrap_or(audit::PLATFORM), now, actor, "end_token", &payload).await?;
    transaction.commit().await.doing(doing)?;
    Ok(true)
}
