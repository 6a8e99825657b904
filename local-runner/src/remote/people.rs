//! `updraft users`, `tenants`, `grants`, `groups`, `roles`, `service-accounts` and `auth can`.

use std::{path::PathBuf, process::ExitCode};

use api::v1::{
    groups::GroupBody,
    me::TokenBody,
    roles::RoleBody,
    services::ServiceBody,
    tenants::{TenantBody, TenantPatch},
    users::{UserBody, UserMade, UserPatch},
};
use clap::{Args, Subcommand, ValueEnum};

use super::{
    Error, Service, Session, name,
    screen::{Cell, or_dash, toned},
};
use crate::terminal::Tone;

macro_rules! group {
    ($(#[doc = $doc:literal])* $args:ident, $command:ident, $help:literal) => {
        $(#[doc = $doc])*
        #[derive(Debug, Args)]
        #[command(after_help = $help)]
        pub struct $args {
            #[command(flatten)]
            pub(super) service: Service,
            #[command(subcommand)]
            pub(super) command: $command,
        }
    };
}

group!(
    /// The arguments of `updraft users`.
    Users, UsersCommand, "Example:\n  updraft users create ana\n  updraft users list"
);
group!(
    /// The arguments of `updraft tenants`.
    Tenants, TenantsCommand, "Example:\n  updraft tenants create sales --admin ana\n  updraft tenants list"
);
group!(
    /// The arguments of `updraft grants`.
    Grants, GrantsCommand, "Example:\n  updraft grants list\n  updraft grants add user ana operator"
);
group!(
    /// The arguments of `updraft groups`.
    Groups, GroupsCommand, "Example:\n  updraft groups set analysts --user ana --user bo"
);
group!(
    /// The arguments of `updraft roles`.
    Roles, RolesCommand, "Example:\n  updraft roles list\n  updraft roles set sales-only --file role.json"
);
group!(
    /// The arguments of `updraft service-accounts`.
    ServiceAccounts, ServiceAccountsCommand, "Example:\n  updraft service-accounts create ci\n  updraft service-accounts token ci deploy"
);
group!(
    /// The arguments of `updraft auth`.
    Auth, AuthCommand, "Example:\n  updraft auth can ana read dag:sales_daily"
);

#[derive(Debug, Subcommand)]
pub(super) enum UsersCommand {
    /// List people's accounts
    #[command(after_help = "Example:\n  updraft users list")]
    List,
    /// Make an account, and show its first password once
    #[command(after_help = "Example:\n  updraft users create ana")]
    Create {
        /// The name
        name: String,
        /// They administer tenants and accounts
        #[arg(long)]
        platform_admin: bool,
    },
    /// Give somebody a new first password; their sessions and tokens end
    #[command(after_help = "Example:\n  updraft users reset-password ana")]
    ResetPassword {
        /// The name
        name: String,
    },
    /// Switch an account off; its sessions and tokens end
    #[command(after_help = "Example:\n  updraft users disable ana")]
    Disable {
        /// The name
        name: String,
    },
    /// Switch an account on again
    #[command(after_help = "Example:\n  updraft users enable ana")]
    Enable {
        /// The name
        name: String,
    },
    /// Delete an account with its grants and tokens
    #[command(after_help = "Example:\n  updraft users delete ana")]
    Delete {
        /// The name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TenantsCommand {
    /// List tenants
    #[command(after_help = "Example:\n  updraft tenants list")]
    List,
    /// Make a tenant
    #[command(after_help = "Example:\n  updraft tenants create sales --admin ana")]
    Create {
        /// The name
        name: String,
        /// The user who administers it
        #[arg(long, value_name = "USER")]
        admin: Option<String>,
    },
    /// Make somebody the administrator of a tenant
    #[command(after_help = "Example:\n  updraft tenants admin sales ana")]
    Admin {
        /// The tenant
        name: String,
        /// The user
        user: String,
    },
    /// Let nobody do anything in a tenant
    #[command(after_help = "Example:\n  updraft tenants suspend sales")]
    Suspend {
        /// The name
        name: String,
    },
    /// Let a tenant go on
    #[command(after_help = "Example:\n  updraft tenants resume sales")]
    Resume {
        /// The name
        name: String,
    },
    /// Delete a tenant that has no DAGs
    #[command(after_help = "Example:\n  updraft tenants delete sales")]
    Delete {
        /// The name
        name: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SubjectArg {
    User,
    Service,
    Group,
}

impl SubjectArg {
    const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
            Self::Group => "group",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum GrantsCommand {
    /// List who has which role
    #[command(after_help = "Example:\n  updraft grants list")]
    List,
    /// Give a role to somebody
    #[command(after_help = "Example:\n  updraft grants add group analysts viewer")]
    Add {
        /// What has it
        kind: SubjectArg,
        /// Its name
        name: String,
        /// viewer, operator, author, tenant_admin, or a role of the tenant
        role: String,
    },
    /// Take a role away
    #[command(after_help = "Example:\n  updraft grants remove user ana operator")]
    Remove {
        /// What has it
        kind: SubjectArg,
        /// Its name
        name: String,
        /// The role
        role: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum GroupsCommand {
    /// List groups and their members
    #[command(after_help = "Example:\n  updraft groups list")]
    List,
    /// Make a group, or give it other members
    #[command(after_help = "Example:\n  updraft groups set analysts --user ana --service ci")]
    Set {
        /// The name
        name: String,
        /// A person in it; may be repeated
        #[arg(long = "user", value_name = "NAME")]
        users: Vec<String>,
        /// A service account in it; may be repeated
        #[arg(long = "service", value_name = "NAME")]
        services: Vec<String>,
    },
    /// Delete a group and what was granted to it
    #[command(after_help = "Example:\n  updraft groups delete analysts")]
    Delete {
        /// The name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RolesCommand {
    /// List roles and their rules
    #[command(after_help = "Example:\n  updraft roles list")]
    List,
    /// Make a role from a file, or make it another one
    #[command(
        after_help = "The file holds {\"rules\": [{\"effect\": \"allow\", \"kinds\": [\"dag\", \"run\"], \
        \"objects\": {\"name\": \"sales_*\"}, \"actions\": [\"read\"]}]}; `{\"tag\": \"sales\"}` instead of a name is about \
        DAGs with that tag, `\"effect\": \"deny\"` takes away.\n\nExample:\n  updraft roles set sales-only --file role.json"
    )]
    Set {
        /// The name
        name: String,
        /// The file with its rules, as JSON
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Delete a role and every grant of it
    #[command(after_help = "Example:\n  updraft roles delete sales-only")]
    Delete {
        /// The name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ServiceAccountsCommand {
    /// List service accounts
    #[command(after_help = "Example:\n  updraft service-accounts list")]
    List,
    /// Make a service account
    #[command(after_help = "Example:\n  updraft service-accounts create ci")]
    Create {
        /// The name
        name: String,
    },
    /// Make a token of a service account, and show it once
    #[command(
        after_help = "Example:\n  updraft service-accounts token ci deploy --scope run:create --days 30"
    )]
    Token {
        /// The service account
        account: String,
        /// What the token is for
        name: String,
        /// What it may be used for, such as `run:create`; everything if none is given
        #[arg(long = "scope", value_name = "KIND:ACTION")]
        scopes: Vec<String>,
        /// How long it lasts, 365 at most
        #[arg(long, value_name = "N", default_value_t = 90)]
        days: u32,
    },
    /// Delete a service account; its tokens end
    #[command(after_help = "Example:\n  updraft service-accounts delete ci")]
    Delete {
        /// The name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AuthCommand {
    /// Say whether somebody may do something, and by which rule; exit code 1 for no
    #[command(after_help = "Example:\n  updraft auth can ana create run:sales_daily")]
    Can {
        /// Who
        user: String,
        /// read, create, change or delete
        verb: String,
        /// What, such as `dag:NAME`, `run:DAG`, `log:DAG`, `pool:NAME` or `connection:NAME`
        #[arg(value_name = "KIND:NAME")]
        resource: String,
    },
}

fn show_password(session: &mut Session<'_>, made: &UserMade) -> Result<(), Error> {
    if session.screen.json {
        return session.screen.document(made);
    }
    let password = made.initial_password.as_deref().unwrap_or("-");
    session.screen.facts(&[
        ("user", made.name.clone().into()),
        ("first password", password.into()),
        ("", toned("good for a day and for setting another one; it isn't shown again", Tone::Dim)),
    ])
}

pub(super) async fn users(session: &mut Session<'_>, command: UsersCommand) -> Result<ExitCode, Error> {
    let switched = |disabled| UserPatch { disabled: Some(disabled), platform_admin: None };
    match command {
        UsersCommand::List => {
            let mut found = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let page = session.client.users(after.as_deref()).await?;
                found.extend(page.items);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let heads = ["USER", "STATE", "MADE", "BY"];
            session.screen.list(&found, found.len() as u64, heads, |user, screen| {
                let state = match (user.disabled, user.must_change_password) {
                    (true, _) => toned("off", Tone::Bad),
                    (_, true) => Cell::from("first password"),
                    _ => Cell::from("on"),
                };
                [
                    user.name.clone().into(),
                    state,
                    screen.time(Some(user.created_at)),
                    user.created_by.clone().into(),
                ]
            })?;
        }
        UsersCommand::Create { name: given, platform_admin } => {
            let body = UserBody { name: name(&given)?, password: None, platform_admin };
            let made = session.client.make_user(&body).await?;
            show_password(session, &made)?;
        }
        UsersCommand::ResetPassword { name } => {
            let made = session.client.reset_password(&name).await?;
            show_password(session, &made)?;
        }
        UsersCommand::Disable { name } => {
            session.client.change_user(&name, &switched(true)).await?;
            session.screen.line(&format!("user {name} is off"))?;
        }
        UsersCommand::Enable { name } => {
            session.client.change_user(&name, &switched(false)).await?;
            session.screen.line(&format!("user {name} is on"))?;
        }
        UsersCommand::Delete { name } => {
            session.client.delete_user(&name).await?;
            session.screen.line(&format!("user {name} is deleted"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn tenants(session: &mut Session<'_>, command: TenantsCommand) -> Result<ExitCode, Error> {
    match command {
        TenantsCommand::List => {
            let found = session.client.tenants().await?.items;
            let heads = ["TENANT", "STATE", "MADE", "ID"];
            session.screen.list(&found, found.len() as u64, heads, |tenant, screen| {
                let state = if tenant.suspended { toned("suspended", Tone::Bad) } else { "active".into() };
                [tenant.name.clone().into(), state, screen.time(Some(tenant.created_at)), tenant.id.into()]
            })?;
        }
        TenantsCommand::Create { name: given, admin } => {
            let admin = admin.as_deref().map(name).transpose()?;
            let made = session.client.make_tenant(&TenantBody { name: name(&given)?, admin }).await?;
            session.screen.line(&format!("tenant {} is there", made.name))?;
        }
        TenantsCommand::Admin { name, user } => {
            session.client.make_tenant_admin(&name, &user).await?;
            session.screen.line(&format!("{user} administers {name}"))?;
        }
        TenantsCommand::Suspend { name } => {
            session.client.change_tenant(&name, &TenantPatch { suspended: true }).await?;
            session.screen.line(&format!("tenant {name} is suspended"))?;
        }
        TenantsCommand::Resume { name } => {
            session.client.change_tenant(&name, &TenantPatch { suspended: false }).await?;
            session.screen.line(&format!("tenant {name} goes on"))?;
        }
        TenantsCommand::Delete { name } => {
            session.client.delete_tenant(&name).await?;
            session.screen.line(&format!("tenant {name} is deleted"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn grants(session: &mut Session<'_>, command: GrantsCommand) -> Result<ExitCode, Error> {
    match command {
        GrantsCommand::List => {
            let found = session.client.grants().await?.items;
            session.screen.list(&found, found.len() as u64, ["KIND", "NAME", "ROLE"], |grant, _| {
                [grant.kind.clone().into(), grant.name.clone().into(), grant.role.clone().into()]
            })?;
        }
        GrantsCommand::Add { kind, name, role } => {
            session.client.grant(kind.word(), &name, &role).await?;
            session.screen.line(&format!("{} {name} has the role {role}", kind.word()))?;
        }
        GrantsCommand::Remove { kind, name, role } => {
            session.client.revoke(kind.word(), &name, &role).await?;
            session.screen.line(&format!("{} {name} hasn't got the role {role} any more", kind.word()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn groups(session: &mut Session<'_>, command: GroupsCommand) -> Result<ExitCode, Error> {
    match command {
        GroupsCommand::List => {
            let found = session.client.groups().await?.items;
            session.screen.list(&found, found.len() as u64, ["GROUP", "MEMBERS"], |group, _| {
                [group.name.clone().into(), group.members.join(", ").into()]
            })?;
        }
        GroupsCommand::Set { name: given, users, services } => {
            let names = |list: Vec<String>| list.iter().map(|one| name(one)).collect::<Result<_, Error>>();
            let body = GroupBody { users: names(users)?, service_accounts: names(services)? };
            session.client.set_group(&given, &body).await?;
            session.screen.line(&format!("group {given} is set"))?;
        }
        GroupsCommand::Delete { name } => {
            session.client.delete_group(&name).await?;
            session.screen.line(&format!("group {name} is deleted"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn roles(session: &mut Session<'_>, command: RolesCommand) -> Result<ExitCode, Error> {
    match command {
        RolesCommand::List => {
            let found = session.client.roles().await?.items;
            session.screen.list(&found, found.len() as u64, ["ROLE", "RULES", "FOR"], |role, _| {
                let rules = if role.built_in { "built in".to_owned() } else { role.rules.len().to_string() };
                [role.name.clone().into(), rules.into(), or_dash(role.description.clone())]
            })?;
        }
        RolesCommand::Set { name, file } => {
            let text = std::fs::read_to_string(&file).map_err(Error::path("read", &file))?;
            let body: RoleBody = serde_json::from_str(&text).map_err(|why| {
                Error::usage(
                    format!("{} can't be read: {why}", file.display()),
                    "see `updraft roles set --help`",
                )
            })?;
            session.client.set_role(&name, &body).await?;
            session.screen.line(&format!("role {name} has {} rules", body.rules.len()))?;
        }
        RolesCommand::Delete { name } => {
            session.client.delete_role(&name).await?;
            session.screen.line(&format!("role {name} is deleted"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn service_accounts(
    session: &mut Session<'_>,
    command: ServiceAccountsCommand,
) -> Result<ExitCode, Error> {
    match command {
        ServiceAccountsCommand::List => {
            let found = session.client.service_accounts().await?.items;
            let heads = ["SERVICE ACCOUNT", "MADE", "BY"];
            session.screen.list(&found, found.len() as u64, heads, |account, screen| {
                let made = screen.time(Some(account.created_at));
                [account.name.clone().into(), made, account.created_by.clone().into()]
            })?;
        }
        ServiceAccountsCommand::Create { name: given } => {
            session.client.make_service_account(&ServiceBody { name: name(&given)? }).await?;
            session.screen.line(&format!("service account {given} is there; it has no role yet"))?;
        }
        ServiceAccountsCommand::Token { account, name: given, scopes, days } => {
            let scopes = (!scopes.is_empty()).then_some(scopes);
            let body = TokenBody { name: name(&given)?, scopes, days: Some(days), tenant: None };
            let made = session.client.make_service_token(&account, &body).await?;
            if session.screen.json {
                session.screen.document(&made)?;
            } else {
                session.screen.line(&made.token)?;
            }
        }
        ServiceAccountsCommand::Delete { name } => {
            session.client.delete_service_account(&name).await?;
            session.screen.line(&format!("service account {name} is deleted"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn auth(session: &mut Session<'_>, command: AuthCommand) -> Result<ExitCode, Error> {
    let AuthCommand::Can { user, verb, resource } = command;
    let (kind, object) = resource.split_once(':').ok_or_else(|| {
        Error::usage(
            format!("`{resource}` names no kind"),
            "write `dag:NAME`, `run:DAG`, `pool:NAME` and so on",
        )
    })?;
    let answer = session.client.can(Some(&user), &verb, kind, object).await?;
    if session.screen.json {
        session.screen.document(&answer)?;
    } else {
        session.screen.line(if answer.allowed { "yes" } else { "no" })?;
        for because in &answer.because {
            let rule = serde_json::to_string(&because.rule).expect("invariant: a rule has text keys");
            session.screen.line(&format!("  by role {}: {rule}", because.role))?;
        }
        if answer.because.is_empty() {
            session.screen.line("  no role of theirs has a rule about it")?;
        }
    }
    Ok(if answer.allowed { ExitCode::SUCCESS } else { ExitCode::from(super::FAILED) })
}
