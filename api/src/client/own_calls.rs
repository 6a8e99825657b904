//! Calls of signing in and of our own API, one function each.

use hyper::Method;
use uuid::Uuid;

use super::{Call, Client, ClientError};
use crate::{
    auth::{AccessToken, Login},
    v1::{
        Items,
        bundles::{ARCHIVE, Activated, Activation, BundleView, Plan},
        can::Can,
        grants::GrantView,
        groups::{GroupBody, GroupView},
        me::{Me, PasswordBody, TokenBody, TokenMade, TokenView},
        quotas::{NodeKind, QuotaBody, QuotaView},
        roles::{RoleBody, RoleView},
        services::{ServiceBody, ServiceView},
        tenants::{TenantBody, TenantPatch, TenantView},
        users::{User, UserBody, UserMade, UserPatch},
    },
};

type Answer<T> = Result<T, ClientError>;

fn get<'a>(segments: impl IntoIterator<Item = &'a str>) -> Call {
    Call::own(Method::GET, segments)
}

impl Client {
    /// Gives a token for a name and a password, good for a day.
    pub async fn sign_in(&self, login: &Login) -> Answer<AccessToken> {
        self.send(Call::under("/auth", Method::POST, ["token"]).body(login)).await
    }

    /// Ends the token that is used.
    pub async fn sign_out(&self) -> Answer<()> {
        self.done(Call::own(Method::DELETE, ["session"])).await
    }

    /// Who one is.
    pub async fn me(&self) -> Answer<Me> {
        self.send(get(["me"])).await
    }

    /// Sets one's password, which ends every token of one's own.
    pub async fn change_password(&self, body: &PasswordBody) -> Answer<()> {
        self.done(Call::own(Method::POST, ["me", "password"]).body(body)).await
    }

    /// One's sessions and tokens.
    pub async fn tokens(&self) -> Answer<Items<TokenView>> {
        self.send(get(["me", "tokens"])).await
    }

    /// Makes a token of one's own.
    pub async fn make_token(&self, body: &TokenBody) -> Answer<TokenMade> {
        self.send(Call::own(Method::POST, ["me", "tokens"]).body(body)).await
    }

    /// Ends a session or token of one's own.
    pub async fn end_token(&self, id: Uuid) -> Answer<()> {
        self.done(Call::own(Method::DELETE, ["me", "tokens", &id.to_string()])).await
    }

    /// People's accounts, a page at a time.
    pub async fn users(&self, after: Option<&str>) -> Answer<Items<User>> {
        self.send(get(["users"]).with("after", after)).await
    }

    /// Makes a person's account.
    pub async fn make_user(&self, body: &UserBody) -> Answer<UserMade> {
        self.send(Call::own(Method::POST, ["users"]).body(body)).await
    }

    /// Changes a person's account.
    pub async fn change_user(&self, name: &str, patch: &UserPatch) -> Answer<User> {
        self.send(Call::own(Method::PATCH, ["users", name]).body(patch)).await
    }

    /// Gives somebody a password that nobody chose.
    pub async fn reset_password(&self, name: &str) -> Answer<UserMade> {
        self.send(Call::own(Method::POST, ["users", name, "password"])).await
    }

    /// Deletes a person's account.
    pub async fn delete_user(&self, name: &str) -> Answer<()> {
        self.done(Call::own(Method::DELETE, ["users", name])).await
    }

    /// Tenants.
    pub async fn tenants(&self) -> Answer<Items<TenantView>> {
        self.send(get(["tenants"])).await
    }

    /// Makes a tenant.
    pub async fn make_tenant(&self, body: &TenantBody) -> Answer<TenantView> {
        self.send(Call::own(Method::POST, ["tenants"]).body(body)).await
    }

    /// Suspends a tenant, or lets it go on.
    pub async fn change_tenant(&self, name: &str, patch: &TenantPatch) -> Answer<TenantView> {
        self.send(Call::own(Method::PATCH, ["tenants", name]).body(patch)).await
    }

    /// Deletes a tenant.
    pub async fn delete_tenant(&self, name: &str) -> Answer<()> {
        self.done(Call::own(Method::DELETE, ["tenants", name])).await
    }

    /// Makes somebody the administrator of a tenant.
    pub async fn make_tenant_admin(&self, tenant: &str, user: &str) -> Answer<()> {
        self.done(Call::own(Method::PUT, ["tenants", tenant, "admins", user])).await
    }

    /// Bundles, the active one first.
    pub async fn bundles(&self) -> Answer<Items<BundleView>> {
        self.send(get(["bundles"])).await
    }

    /// Sends a bundle, as an archive.
    pub async fn send_bundle(&self, bundle: &str, archive: Vec<u8>) -> Answer<BundleView> {
        self.send(Call::own(Method::PUT, ["bundles", bundle]).bytes(ARCHIVE, archive)).await
    }

    /// What would change with a bundle.
    pub async fn plan_bundle(&self, bundle: &str) -> Answer<Plan> {
        self.send(Call::own(Method::POST, ["bundles", bundle, "plan"])).await
    }

    /// Makes a bundle the active one.
    pub async fn activate_bundle(&self, bundle: &str, how: &Activation) -> Answer<Activated> {
        self.send(Call::own(Method::POST, ["bundles", bundle, "activate"]).body(how)).await
    }

    /// Quotas and their use.
    pub async fn quotas(&self) -> Answer<Items<QuotaView>> {
        self.send(get(["quotas"])).await
    }

    /// One quota and its use.
    pub async fn quota(&self, kind: NodeKind, name: &str) -> Answer<QuotaView> {
        self.send(get(["quotas", kind.as_str(), name])).await
    }

    /// Sets a quota in place of the one that is there.
    pub async fn set_quota(&self, kind: NodeKind, name: &str, body: &QuotaBody) -> Answer<()> {
        self.done(Call::own(Method::PUT, ["quotas", kind.as_str(), name]).body(body)).await
    }

    /// Takes a quota away.
    pub async fn delete_quota(&self, kind: NodeKind, name: &str) -> Answer<()> {
        self.done(Call::own(Method::DELETE, ["quotas", kind.as_str(), name])).await
    }

    /// Who has which role.
    pub async fn grants(&self) -> Answer<Items<GrantView>> {
        self.send(get(["grants"])).await
    }

    /// Gives a role; `kind` is `user`, `service` or `group`.
    pub async fn grant(&self, kind: &str, name: &str, role: &str) -> Answer<()> {
        self.done(Call::own(Method::PUT, ["grants", kind, name, role])).await
    }

    /// Takes a role away.
    pub async fn revoke(&self, kind: &str, name: &str, role: &str) -> Answer<()> {
        self.done(Call::own(Method::DELETE, ["grants", kind, name, role])).await
    }

    /// Groups.
    pub async fn groups(&self) -> Answer<Items<GroupView>> {
        self.send(get(["groups"])).await
    }

    /// Makes a group, or gives it other members.
    pub async fn set_group(&self, name: &str, body: &GroupBody) -> Answer<()> {
        self.done(Call::own(Method::PUT, ["groups", name]).body(body)).await
    }

    /// Deletes a group.
    pub async fn delete_group(&self, name: &str) -> Answer<()> {
        self.done(Call::own(Method::DELETE, ["groups", name])).await
    }

    /// Roles.
    pub async fn roles(&self) -> Answer<Items<RoleView>> {
        self.send(get(["roles"])).await
    }

    /// Makes a role, or makes it another one.
    pub async fn set_role(&self, name: &str, body: &RoleBody) -> Answer<()> {
        self.done(Call::own(Method::PUT, ["roles", name]).body(body)).await
    }

    /// Deletes a role.
    pub async fn delete_role(&self, name: &str) -> Answer<()> {
        self.done(Call::own(Method::DELETE, ["roles", name])).await
    }

    /// Service accounts.
    pub async fn service_accounts(&self) -> Answer<Items<ServiceView>> {
        self.send(get(["service-accounts"])).await
    }

    /// Makes a service account.
    pub async fn make_service_account(&self, body: &ServiceBody) -> Answer<ServiceView> {
        self.send(Call::own(Method::POST, ["service-accounts"]).body(body)).await
    }

    /// Deletes a service account.
    pub async fn delete_service_account(&self, name: &str) -> Answer<()> {
        self.done(Call::own(Method::DELETE, ["service-accounts", name])).await
    }

    /// Makes a token of a service account.
    pub async fn make_service_token(&self, name: &str, body: &TokenBody) -> Answer<TokenMade> {
        self.send(Call::own(Method::POST, ["service-accounts", name, "tokens"]).body(body)).await
    }

    /// Whether somebody may do something, and by which rule.
    pub async fn can(&self, user: Option<&str>, action: &str, kind: &str, name: &str) -> Answer<Can> {
        let call = get(["can"]).with("user", user).with("action", Some(action));
        self.send(call.with("kind", Some(kind)).with("name", Some(name))).await
    }
}
