//! `email`: sends a mail through an SMTP server.

use std::{net::ToSocketAddrs as _, time::Duration};

use lettre::{
    Message, SmtpTransport, Transport as _,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operator;
use crate::{
    context::Connection,
    flow::Names,
    log,
    operator::{Failure, Finished, Job, Step},
};

/// How many people one mail may go to.
const RECIPIENTS_MAX: usize = 100;
/// The longest body, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The time for each answer of the server.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a mail, as plain text.
///
/// The connection is of type `smtp`: `host`, `port` (587 if absent), `login`, `password`, and in `extra` `from` (the
/// sender's address, required), `tls` (`starttls`, the default; `tls`, the default for port 465; `none`, without login
/// only) and `recipients`: lists of addresses by a name that `to` and `cc` may use, so that a DAG says
/// `to: sales-data` and the connection knows who that is. The result is `{ recipients }`, their number.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Email {
    /// An address, a name of the connection's `recipients`, or a list of these.
    to: Names,
    /// More of them, who get a copy.
    #[serde(default = "nobody")]
    cc: Names,
    /// The subject, one line.
    subject: String,
    /// The text.
    #[serde(default)]
    body: String,
    /// The connection.
    #[serde(default = "smtp")]
    connection: String,
}

fn nobody() -> Names {
    Names::Several(Vec::new())
}

fn smtp() -> String {
    "smtp".to_owned()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Security {
    None,
    Starttls,
    Tls,
}

impl Operator for Email {
    const NAME: &'static str = "email";
    const TEMPLATED: &'static [&'static str] = &["to", "cc", "subject", "body"];
    const CONNECTIONS: &'static [&'static str] = &["connection"];

    fn step(self, job: &Job<'_>) -> Result<Step, Failure> {
        let connection = job.connection(&self.connection)?;
        if connection.conn_type != "smtp" {
            return Err(self.wrong(format!("is of type `{}`, not `smtp`", connection.conn_type)));
        }
        let message = self.message(connection)?;
        let count = message.envelope().to().len();
        let transport = match self.transport(job, connection)? {
            Ok(transport) => transport,
            Err(why) => return Ok(Step::Done(Finished::failed(why))),
        };
        Ok(Step::Done(match transport.send(&message) {
            Ok(_) => {
                log(&format!("sent to {count} recipients"));
                Finished::success(Some(json!({"recipients": count})))
            }
            Err(error) if error.is_permanent() => Finished::failed_for_good(explain(&error)),
            Err(error) => Finished::failed(explain(&error)),
        }))
    }
}

/// What went wrong, without the server's address.
fn explain(error: &lettre::transport::smtp::Error) -> String {
    if error.is_permanent() || error.is_transient() {
        format!("the mail server refused the mail: {error}")
    } else if error.is_tls() {
        "the TLS handshake with the mail server failed".to_owned()
    } else if error.is_timeout() {
        "the mail server took too long".to_owned()
    } else if error.is_client() {
        "the mail server lacks something that the connection asks for: TLS, or a way to log in".to_owned()
    } else {
        "the connection to the mail server could not be made, or broke".to_owned()
    }
}

impl Email {
    fn wrong(&self, why: String) -> Failure {
        Failure::Connection { name: self.connection.clone(), why }
    }

    fn invalid(why: String) -> Failure {
        Failure::Invalid { operator: Self::NAME.to_owned(), why }
    }

    fn message(&self, connection: &Connection) -> Result<Message, Failure> {
        if self.subject.contains(['\r', '\n']) {
            return Err(Self::invalid("`subject` must be one line".to_owned()));
        }
        if self.body.len() > BODY_BYTES_MAX {
            return Err(Self::invalid(format!("`body` is longer than {BODY_BYTES_MAX} bytes")));
        }
        let from = connection.extra.get("from").and_then(Value::as_str);
        let from = from.ok_or_else(|| self.wrong("has no `extra.from`, the sender's address".to_owned()))?;
        let from: Mailbox =
            from.parse().map_err(|_| self.wrong(format!("has `extra.from: {from}`, which is no address")))?;
        let mut builder = Message::builder().from(from).subject(&self.subject);
        let mut count = 0;
        for mailbox in self.mailboxes(&self.to, connection)? {
            builder = builder.to(mailbox);
            count += 1;
        }
        if count == 0 {
            return Err(Self::invalid("`to` names nobody".to_owned()));
        }
        for mailbox in self.mailboxes(&self.cc, connection)? {
            builder = builder.cc(mailbox);
            count += 1;
        }
        if count > RECIPIENTS_MAX {
            return Err(Self::invalid(format!(
                "the mail would go to {count} people; at most {RECIPIENTS_MAX} are allowed"
            )));
        }
        builder
            .header(ContentType::TEXT_PLAIN)
            .body(self.body.clone())
            .map_err(|e| Self::invalid(format!("no mail can be made of it: {e}")))
    }

    fn mailboxes(&self, names: &Names, connection: &Connection) -> Result<Vec<Mailbox>, Failure> {
        let mut found = Vec::new();
        for name in names.as_slice() {
            if name.contains('@') {
                found.push(address(name)?);
                continue;
            }
            let known = connection.extra.get("recipients").and_then(|recipients| recipients.get(name));
            let known = known.ok_or_else(|| {
                self.wrong(format!(
                    "knows no recipients named `{name}`: add them to `extra.recipients`, or write an address"
                ))
            })?;
            for text in crate::catalog::names(known) {
                found.push(address(&text)?);
            }
        }
        Ok(found)
    }

    /// The way to the server; the inner error is a sentence about a server that can't be reached.
    fn transport(
        &self,
        job: &Job<'_>,
        connection: &Connection,
    ) -> Result<Result<SmtpTransport, String>, Failure> {
        let known = ["from", "tls", "recipients"];
        if let Some(key) = connection.extra.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(self
                .wrong(format!("has `extra.{key}`, which isn't known: `from`, `tls` and `recipients` are")));
        }
        let host = connection.host.as_deref().ok_or_else(|| self.wrong("has no host".to_owned()))?;
        let port = connection.port.unwrap_or(587);
        let security = match connection.extra.get("tls") {
            None if port == 465 => Security::Tls,
            None => Security::Starttls,
            Some(given) => serde_json::from_value(given.clone()).map_err(|_| {
                self.wrong("has an unknown `extra.tls`: write `starttls`, `tls` or `none`".to_owned())
            })?,
        };
        if security == Security::None && (connection.login.is_some() || !job.ctx.policy.plain_http) {
            return Err(self.wrong(
                "has `extra.tls: none`, which isn't allowed with a login or on a shared installation"
                    .to_owned(),
            ));
        }
        let Ok(found) = (host, port).to_socket_addrs() else {
            return Ok(Err("the mail server's name could not be resolved".to_owned()));
        };
        // The connection goes to the address that was judged; the certificate is for the name.
        let Some(address) = found.into_iter().find(|a| job.ctx.policy.permits(a.ip(), a.port())) else {
            return Ok(Err(
                "the mail server's address is not allowed: a platform admin can open it".to_owned()
            ));
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let parameters = || {
            TlsParameters::new(host.to_owned())
                .map_err(|_| self.wrong("has a host that no certificate can name".to_owned()))
        };
        let tls = match security {
            Security::None => Tls::None,
            Security::Starttls => Tls::Required(parameters()?),
            Security::Tls => Tls::Wrapper(parameters()?),
        };
        let mut builder = SmtpTransport::builder_dangerous(address.ip().to_string())
            .port(port)
            .timeout(Some(TIMEOUT))
            .tls(tls);
        if let Some(login) = &connection.login {
            let password = connection.password.clone().unwrap_or_default();
            builder = builder.credentials(Credentials::new(login.clone(), password));
        }
        Ok(Ok(builder.build()))
    }
}

fn address(text: &str) -> Result<Mailbox, Failure> {
    text.parse().map_err(|_| Email::invalid(format!("{text:?} is no mail address")))
}
