//! `email`: sends a mail through an SMTP server.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::Operator;
use crate::{
    flow::Names,
    log,
    operator::{Failure, Finished, Job, Step},
    smtp::{self, Mail},
};

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

impl Operator for Email {
    const NAME: &'static str = "email";
    const TEMPLATED: &'static [&'static str] = &["to", "cc", "subject", "body"];
    const CONNECTIONS: &'static [&'static str] = &["connection"];

    fn step(self, job: &Job<'_>) -> Result<Step, Failure> {
        let connection = job.connection(&self.connection)?;
        let wrong = |why: String| Failure::Connection { name: self.connection.clone(), why };
        if connection.conn_type != "smtp" {
            return Err(wrong(format!("is of type `{}`, not `smtp`", connection.conn_type)));
        }
        let mail =
            Mail { to: self.to.as_slice(), cc: self.cc.as_slice(), subject: &self.subject, body: &self.body };
        let sent = smtp::send(&mail, connection, &["from", "tls", "recipients"], &job.ctx.policy);
        Ok(Step::Done(match sent {
            Ok(count) => {
                log(&format!("sent to {count} recipients"));
                Finished::success(Some(json!({"recipients": count})))
            }
            Err(smtp::Error::Mail(why)) => {
                return Err(Failure::Invalid { operator: Self::NAME.to_owned(), why });
            }
            Err(smtp::Error::Connection(why)) => return Err(wrong(why)),
            Err(smtp::Error::Refused(why)) => Finished::failed_for_good(why),
            Err(smtp::Error::Later(why)) => Finished::failed(why),
        }))
    }
}
