//! `PATCH /variables/{variable_key}`

use axum::Json;
use migrations::policy::{Action, Kind};
use migrations::store::variable::{self, NewVariable};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::{Asked, Body, Named},
    list::Masked,
    v2::{
        pools::no_team,
        variables::{Variable, VariableBody, find, text, view},
    },
};

/// Changes a variable. A secret one stays secret unless the body says `"secret": false` and gives the value.
pub(crate) async fn patch(
    access: Access,
    Named(key): Named<String>,
    query: Asked<Masked>,
    Body(body): Body<VariableBody>,
) -> Result<Json<Variable>, Error> {
    let may = access.authorize(Resource::named(Kind::Variable, &key), Action::Change).await?;
    let mask = query.mask(&["key", "value", "description"])?;
    no_team(body.team_name.as_ref())?;
    if body.key != key {
        return Err(Error::BadRequest(
            "a variable's name can't be changed: make another variable".to_owned(),
        ));
    }
    let now = find(&may, &key).await?;
    let value = match (mask.contains(&"value"), now.value) {
        (true, _) => text(body.value),
        (false, Some(value)) => value,
        (false, None) => {
            let message =
                "the value of a secret variable can't be read, so it must be given again with every change";
            return Err(Error::BadRequest(message.to_owned()));
        }
    };
    let description = if mask.contains(&"description") { body.description } else { now.description };
    let new = NewVariable { name: key, value, secret: body.secret.unwrap_or(now.secret), description };
    variable::set(may.db(), may.scope, &may.state.sealer, &may.actor, &new).await?;
    Ok(Json(view(find(&may, &new.name).await?)))
}
