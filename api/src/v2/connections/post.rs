//! `POST /connections`

use migrations::policy::{Action, Kind};
use migrations::store::connection::{self, Address, NewConnection, Secrets};

use crate::{
    access::{Access, Resource},
    describe::Created,
    error::Error,
    extract::Body,
    v2::{
        connections::{Connection, ConnectionBody, extra, find, view},
        pools::no_team,
        variables::named,
    },
};

/// Makes a connection.
pub(crate) async fn post(
    access: Access,
    Body(body): Body<ConnectionBody>,
) -> Result<Created<Connection>, Error> {
    let may =
        access.authorize(Resource::named(Kind::Connection, &body.connection_id), Action::Create).await?;
    no_team(body.team_name.as_ref())?;
    named("connection_id", &body.connection_id)?;
    if connection::get(may.db(), may.scope, &body.connection_id).await?.is_some() {
        return Err(Error::Conflict(format!("there is a connection `{}` already", body.connection_id)));
    }
    let secrets = Secrets { extra: extra(body.extra.as_deref())?, password: body.password };
    let given = secrets.password.is_some() || !secrets.extra.is_empty();
    let ConnectionBody { connection_id, conn_type, description, host, login, schema, port, .. } = body;
    let new = NewConnection {
        name: connection_id,
        address: Address { conn_type, host, port, schema, login },
        secrets: given.then_some(secrets),
        description,
    };
    connection::set(may.db(), may.scope, &may.state.sealer, &may.actor, &new).await?;
    Ok(Created(view(find(&may, &new.name).await?)))
}
