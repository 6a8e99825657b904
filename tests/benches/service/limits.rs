//! What the machine does at most, by the servers' simplest use.

use std::{process::Command, time::Instant};

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use sqlx::Executor as _;

use crate::{
    Size,
    figures::{Figures, per_second},
    place::Place,
    sequence::interpreter,
};

/// Rows of a batch.
const BATCH: usize = 1_000;
/// Messages without a confirm at once.
const UNDER_WAY: usize = 256;
/// About as long as a report.
const MESSAGE: [u8; 300] = [b'x'; 300];

pub(crate) async fn measure(size: Size) -> anyhow::Result<Figures> {
    let place = Place::new().await?;
    let mut figures = Figures::default();
    rows(&place, size, &mut figures).await?;
    messages(&place, size, &mut figures).await?;
    processes(size, &mut figures)?;
    place.close().await?;
    Ok(figures)
}

async fn rows(place: &Place, size: Size, figures: &mut Figures) -> anyhow::Result<()> {
    let mut database = place.database().await?;
    database
        .execute("CREATE TABLE narrow (id integer PRIMARY KEY, state text NOT NULL) WITH (fillfactor = 50)")
        .await?;
    sqlx::query("INSERT INTO narrow SELECT n, 'none' FROM generate_series(1, $1) AS n")
        .bind(size.limits as i32)
        .execute(&mut database)
        .await?;
    let ids: Vec<i32> = (1..=size.limits as i32).collect();
    let start = Instant::now();
    for batch in ids.chunks(BATCH) {
        let text = "UPDATE narrow SET state = 'queued' FROM unnest($1::integer[]) AS new (id) WHERE narrow.id = new.id";
        sqlx::query(text).bind(batch).execute(&mut database).await?;
    }
    let what = format!("PostgreSQL: narrow rows updated, {BATCH} per commit");
    figures.add(&what, per_second(ids.len(), start.elapsed().as_secs_f64()), "-", "");
    let single = size.limits / 50;
    let start = Instant::now();
    for id in 1..=single as i32 {
        sqlx::query("UPDATE narrow SET state = 'running' WHERE id = $1")
            .bind(id)
            .execute(&mut database)
            .await?;
    }
    figures.add("PostgreSQL: one row per commit", per_second(single, start.elapsed().as_secs_f64()), "-", "");
    Ok(())
}

async fn messages(place: &Place, size: Size, figures: &mut Figures) -> anyhow::Result<()> {
    let connection = Connection::connect(&place.broker()?, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("limits".into(), durable, arguments).await?;
    for (what, count, under_way) in [
        (
            format!("RabbitMQ: messages confirmed by a quorum queue, {UNDER_WAY} under way"),
            size.limits,
            UNDER_WAY,
        ),
        ("RabbitMQ: one message at a time".to_owned(), size.limits / 50, 1),
    ] {
        let start = Instant::now();
        let confirmed: Vec<lapin::Result<()>> = futures::stream::iter(0..count)
            .map(|_| publish(&channel))
            .buffer_unordered(under_way)
            .collect()
            .await;
        let seconds = start.elapsed().as_secs_f64();
        confirmed.into_iter().collect::<lapin::Result<()>>()?;
        figures.add(&what, per_second(count, seconds), "-", "300 bytes each");
    }
    connection.close(200, "done".into()).await?;
    Ok(())
}

async fn publish(channel: &Channel) -> lapin::Result<()> {
    let properties = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    channel.basic_publish("".into(), "limits".into(), options, &MESSAGE, properties).await?.await.map(drop)
}

fn processes(size: Size, figures: &mut Figures) -> anyhow::Result<()> {
    let count = (size.limits / 50).max(4);
    let start = Instant::now();
    spawn("true", &[], count)?;
    figures.add("processes `true`, one by one", per_second(count, start.elapsed().as_secs_f64()), "-", "");
    let start = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| spawn("true", &[], count / 4))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().ok().context("a thread panicked")?)
    })?;
    figures.add(
        "processes `true`, four at once",
        per_second(count / 4 * 4, start.elapsed().as_secs_f64()),
        "-",
        "",
    );
    for (program, arguments) in [("bash".to_owned(), ["-c", "true"]), (interpreter()?, ["-c", "pass"])] {
        let count = (size.limits / 500).max(1);
        let start = Instant::now();
        spawn(&program, &arguments, count)?;
        let seconds = start.elapsed().as_secs_f64();
        let name = std::path::Path::new(&program).file_name().map(|name| name.to_string_lossy().into_owned());
        let what = format!("processes `{} {}`, one by one", name.unwrap_or(program), arguments.join(" "));
        figures.add(
            &what,
            per_second(count, seconds),
            "-",
            format!("{:.2} ms each", seconds * 1e3 / count as f64),
        );
    }
    Ok(())
}

fn spawn(program: &str, arguments: &[&str], count: usize) -> anyhow::Result<()> {
    for _ in 0..count {
        ensure!(Command::new(program).args(arguments).status()?.success(), "{program} fails");
    }
    Ok(())
}
