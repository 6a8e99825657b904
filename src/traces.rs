//! Spans for a collector, if the settings name one.

use anyhow::{Context as _, bail};
use telemetry::trace::{self, Exporter};
use tokio_util::sync::CancellationToken;

use crate::settings::Tracing;

/// What sends this process's spans, if somebody wants them.
fn exporter(settings: &Tracing, service: &'static str) -> anyhow::Result<Option<Exporter>> {
    let Some(endpoint) = &settings.endpoint else { return Ok(None) };
    let headers = headers(settings)?;
    if !headers.is_empty() && is_open(endpoint) {
        bail!(
            "`tracing.endpoint` is {endpoint:?}, but what is in `tracing.headers_file` would be in the clear on the way: write \
             `https://`, or name a collector of this machine"
        );
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let exporter = trace::install(trace::Settings {
        endpoint: endpoint.clone(),
        headers,
        service,
        version: env!("CARGO_PKG_VERSION"),
        instance: format!("{}:{}", host.trim(), std::process::id()),
        sample_percent: settings.sample_percent,
    });
    exporter
        .context("failed to prepare for sending spans (`tracing.endpoint`, `tracing.headers_file`)")
        .map(Some)
}

/// Does a role's work, and sends the spans that come of it until it ends.
pub(crate) async fn follow(
    settings: Tracing,
    service: &'static str,
    role: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let Some(exporter) = exporter(&settings, service)? else { return role.await };
    let over = CancellationToken::new();
    let work = async {
        let ended = role.await;
        over.cancel();
        ended
    };
    let (ended, ()) = tokio::join!(work, exporter.run(over.clone()));
    ended
}

/// Whether what is sent to that URL can be read on the way.
fn is_open(endpoint: &str) -> bool {
    let Some(rest) = endpoint.strip_prefix("http://") else { return false };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name != "localhost" && !address.is_ok_and(|address| address.is_loopback())
}

fn headers(settings: &Tracing) -> anyhow::Result<Vec<(String, String)>> {
    let Some(file) = &settings.headers_file else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(file).with_context(|| {
        format!("failed to read the file of headers (`tracing.headers_file`), {}", file.display())
    })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(n, line): (usize, &str)| {
        // The line itself may hold a secret.
        let (name, value) = line.split_once(':').with_context(|| {
            format!("line {} of {} (`tracing.headers_file`) isn't `Name: value`", n + 1, file.display())
        })?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    lines.map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_go_in_the_clear_on_this_machine_only() {
        for open in ["http://collector:4318", "http://10.0.0.1/x", "http://127.0.0.1.example:1"] {
            assert!(is_open(open), "{open}");
        }
        for closed in
            ["https://collector:4318", "http://localhost:4318", "http://127.0.0.1", "http://[::1]:4318/"]
        {
            assert!(!is_open(closed), "{closed}");
        }
    }

    #[test]
    fn a_file_of_headers_is_read_and_its_lines_are_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("headers");
        std::fs::write(&file, "Authorization: Bearer a:b\n\nX-Scope: one\n").unwrap();
        let settings = Tracing { headers_file: Some(file.clone()), ..Tracing::default() };
        let read = headers(&settings).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read, [pair("Authorization", "Bearer a:b"), pair("X-Scope", "one")]);
        std::fs::write(&file, "X-Scope: one\nsecret without a name\n").unwrap();
        let said = headers(&settings).unwrap_err().to_string();
        assert!(said.contains("line 2") && !said.contains("secret without"), "{said}");
    }
}
