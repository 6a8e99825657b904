//! Sending mail through the SMTP server of a connection: for the operator `email` and for notifications.

use std::{net::ToSocketAddrs as _, time::Duration};

use lettre::{
    Message, SmtpTransport, Transport as _,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{context::Connection, policy::Policy};

/// How many people one mail may go to.
const RECIPIENTS_MAX: usize = 100;
/// The longest body, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The time for each answer of the server.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Security {
    None,
    Starttls,
    Tls,
}

/// A mail to send, as plain text.
#[derive(Debug)]
pub(crate) struct Mail<'a> {
    /// Addresses, or names of the connection's `recipients`.
    pub(crate) to: &'a [String],
    /// More of them, who get a copy.
    pub(crate) cc: &'a [String],
    /// One line.
    pub(crate) subject: &'a str,
    /// The text.
    pub(crate) body: &'a str,
}

/// Why a mail wasn't sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    /// The mail itself can't be sent. Says why.
    Mail(String),
    /// The connection can't be used. Says why, to be read after its name.
    Connection(String),
    /// The server refused it for good.
    Refused(String),
    /// It may work later.
    Later(String),
}

/// Sends the mail and says to how many. It blocks. `known` are the fields that the connection's `extra` may have.
pub(crate) fn send(
    mail: &Mail<'_>,
    connection: &Connection,
    known: &[&str],
    policy: &Policy,
) -> Result<usize, Error> {
    if let Some(key) = connection.extra.keys().find(|key| !known.contains(&key.as_str())) {
        let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        let why = format!("has `extra.{key}`, which isn't known: {} are", names.join(", "));
        return Err(Error::Connection(why));
    }
    let message = message(mail, connection)?;
    let count = message.envelope().to().len();
    match transport(connection, policy)?.send(&message) {
        Ok(_) => Ok(count),
        Err(error) if error.is_permanent() => Err(Error::Refused(explain(&error))),
        Err(error) => Err(Error::Later(explain(&error))),
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

fn message(mail: &Mail<'_>, connection: &Connection) -> Result<Message, Error> {
    if mail.subject.contains(['\r', '\n']) {
        return Err(Error::Mail("`subject` must be one line".to_owned()));
    }
    if mail.body.len() > BODY_BYTES_MAX {
        return Err(Error::Mail(format!("`body` is longer than {BODY_BYTES_MAX} bytes")));
    }
    let from = connection.extra.get("from").and_then(Value::as_str);
    let from =
        from.ok_or_else(|| Error::Connection("has no `extra.from`, the sender's address".to_owned()))?;
    let from: Mailbox = from
        .parse()
        .map_err(|_| Error::Connection(format!("has `extra.from: {from}`, which is no address")))?;
    let mut builder = Message::builder().from(from).subject(mail.subject);
    let mut count = 0;
    for mailbox in mailboxes(mail.to, connection)? {
        builder = builder.to(mailbox);
        count += 1;
    }
    if count == 0 {
        return Err(Error::Mail("`to` names nobody".to_owned()));
    }
    for mailbox in mailboxes(mail.cc, connection)? {
        builder = builder.cc(mailbox);
        count += 1;
    }
    if count > RECIPIENTS_MAX {
        return Err(Error::Mail(format!(
            "the mail would go to {count} people; at most {RECIPIENTS_MAX} are allowed"
        )));
    }
    builder
        .header(ContentType::TEXT_PLAIN)
        .body(mail.body.to_owned())
        .map_err(|e| Error::Mail(format!("no mail can be made of it: {e}")))
}

fn mailboxes(names: &[String], connection: &Connection) -> Result<Vec<Mailbox>, Error> {
    let mut found = Vec::new();
    for name in names {
        if name.contains('@') {
            found.push(address(name)?);
            continue;
        }
        let known = connection.extra.get("recipients").and_then(|recipients| recipients.get(name));
        let known = known.ok_or_else(|| {
            Error::Connection(format!(
                "knows no recipients named `{name}`: add them to `extra.recipients`, or write an address"
            ))
        })?;
        for text in crate::catalog::names(known) {
            found.push(address(&text)?);
        }
    }
    Ok(found)
}

fn address(text: &str) -> Result<Mailbox, Error> {
    text.parse().map_err(|_| Error::Mail(format!("{text:?} is no mail address")))
}

/// The way to the server.
fn transport(connection: &Connection, policy: &Policy) -> Result<SmtpTransport, Error> {
    let wrong = |why: &str| Error::Connection(why.to_owned());
    let host = connection.host.as_deref().ok_or_else(|| wrong("has no host"))?;
    let port = connection.port.unwrap_or(587);
    let security = match connection.extra.get("tls") {
        None if port == 465 => Security::Tls,
        None => Security::Starttls,
        Some(given) => serde_json::from_value(given.clone())
            .map_err(|_| wrong("has an unknown `extra.tls`: write `starttls`, `tls` or `none`"))?,
    };
    if security == Security::None && (connection.login.is_some() || !policy.plain_http) {
        return Err(wrong(
            "has `extra.tls: none`, which isn't allowed with a login or on a shared installation",
        ));
    }
    let Ok(found) = (host, port).to_socket_addrs() else {
        return Err(Error::Later("the mail server's name could not be resolved".to_owned()));
    };
    // The connection goes to the address that was judged; the certificate is for the name.
    let Some(address) = found.into_iter().find(|a| policy.permits(a.ip(), a.port())) else {
        return Err(Error::Later(
            "the mail server's address is not allowed: a platform admin can open it".to_owned(),
        ));
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let parameters =
        || TlsParameters::new(host.to_owned()).map_err(|_| wrong("has a host that no certificate can name"));
    let tls = match security {
        Security::None => Tls::None,
        Security::Starttls => Tls::Required(parameters()?),
        Security::Tls => Tls::Wrapper(parameters()?),
    };
    let mut builder =
        SmtpTransport::builder_dangerous(address.ip().to_string()).port(port).timeout(Some(TIMEOUT)).tls(tls);
    if let Some(login) = &connection.login {
        let password = connection.password.clone().unwrap_or_default();
        builder = builder.credentials(Credentials::new(login.clone(), password));
    }
    Ok(builder.build())
}
