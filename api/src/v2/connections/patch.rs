//! `PATCH /connections/{connection_id}`

use axum::Json;
use migrations::policy::{Action, Kind};
use migrations::store::connection::{self, Address, NewConnection, Secrets};

use crate::{
    access::{Access, Permit, Resource},
    error::Error,
    extract::{Asked, Body, Named},
    list::Masked,
    v2::{
        connections::{Connection, ConnectionBody, extra, find, view},
        pools::no_team,
    },
};

const FIELDS: [&str; 9] =
    ["connection_id", "conn_type", "description", "host", "login", "schema", "port", "password", "extra"];

/// Changes a connection. Secrets that aren't given stay, unless type, host or port change: then they are deleted, so that
/// nobody can send them elsewhere.
pub(crate) async fn patch(
    access: Access,
    Named(name): Named<String>,
    query: Asked<Masked>,
    Body(body): Body<ConnectionBody>,
) -> Result<Json<Connection>, Error> {
    let may = access.authorize(Resource::named(Kind::Connection, &name), Action::Change).await?;
    let mask = query.mask(&FIELDS)?;
    no_team(body.team_name.as_ref())?;
    if body.connection_id != name {
        return Err(Error::BadRequest(
            "a connection's name can't be changed: make another connection".to_owned(),
        ));
    }
    let now = find(&may, &name).await?;
    let has = |field: &str| mask.contains(&field);
    let address = Address {
        conn_type: if has("conn_type") { body.conn_type } else { now.address.conn_type.clone() },
        host: if has("host") { body.host } else { now.address.host.clone() },
        port: if has("port") { body.port } else { now.address.port },
        schema: if has("schema") { body.schema } else { now.address.schema.clone() },
        login: if has("login") { body.login } else { now.address.login.clone() },
    };
    let password = body.password.filter(|_| has("password"));
    let extra_text = body.extra.filter(|_| has("extra"));
    let same_place = (&address.conn_type, &address.host, address.port)
        == (&now.address.conn_type, &now.address.host, now.address.port);
    let secrets = secrets(&may, &name, password, extra_text, same_place).await?;
    let description = if has("description") { body.description } else { now.description };
    let new = NewConnection { name, address, secrets, description };
    connection::set(may.db(), may.scope, &may.state.sealer, &may.actor, &new).await?;
    Ok(Json(view(find(&may, &new.name).await?)))
}

/// The secrets with what is given put in; none if nothing is given. They are one sealed document, so the part that
/// isn't given is opened and sealed again, never shown.
async fn secrets(
    may: &Permit,
    name: &str,
    password: Option<String>,
    extra_text: Option<String>,
    same_place: bool,
) -> Result<Option<Secrets>, Error> {
    if password.is_none() && extra_text.is_none() {
        return Ok(None);
    }
    let before = if same_place {
        connection::open(may.db(), may.scope, &may.state.sealer, name).await?.map(|(_, secrets)| secrets)
    } else {
        None
    };
    let before = before.unwrap_or_default();
    Ok(Some(Secrets {
        password: password.or(before.password),
        extra: match extra_text {
            Some(text) => extra(Some(&text))?,
            None => before.extra,
        },
    }))
}
