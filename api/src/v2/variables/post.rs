//! `POST /variables`

use migrations::policy::{Action, Kind};
use migrations::store::variable::{self, NewVariable};

use crate::{
    access::{Access, Resource},
    describe::Created,
    error::Error,
    extract::Body,
    v2::{
        pools::no_team,
        variables::{Variable, VariableBody, find, named, text, view},
    },
};

/// Makes a variable.
pub(crate) async fn post(access: Access, Body(body): Body<VariableBody>) -> Result<Created<Variable>, Error> {
    let may = access.authorize(Resource::named(Kind::Variable, &body.key), Action::Create).await?;
    no_team(body.team_name.as_ref())?;
    named("key", &body.key)?;
    if variable::get(may.db(), may.scope, &body.key).await?.is_some() {
        return Err(Error::Conflict(format!("there is a variable `{}` already", body.key)));
    }
    let new = NewVariable {
        name: body.key,
        value: text(body.value),
        secret: body.secret.unwrap_or_default(),
        description: body.description,
    };
    variable::set(may.db(), may.scope, &may.state.sealer, &may.actor, &new).await?;
    Ok(Created(view(find(&may, &new.name).await?)))
}
