//! What the preview of a schedule shows.

use insta::assert_snapshot;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(expression: &str, zone: &str, kind: TimetableKind, catchup: bool, now: &str) -> Request {
    Request {
        schedule: adhoc(When::Crons(vec![expression.into()]), zone, kind, catchup),
        bounds: Bounds::default(),
        now: at(now),
        last_end: None,
        after: None,
        count: 3,
    }
}

fn text(request: &Request) -> String {
    render_text(request, &preview(request).unwrap()).unwrap()
}

fn due(request: &Request) -> Vec<String> {
    preview(request).unwrap().iter().map(|run| run.run_after.to_string()).collect()
}

#[test]
fn clocks_go_forward() {
    let request = cron("30 2 * * *", "Europe/Berlin", TimetableKind::Trigger, false, "2026-03-27T12:00:00Z");
    assert_snapshot!(text(&request), @r#"
    `30 2 * * *`, a run at each tick, one run for all that were missed, Europe/Berlin
    now: Fri 2026-03-27 13:00:00 CET

    #  Europe/Berlin                 UTC
    1  Sat 2026-03-28 02:30:00 CET   2026-03-28T01:30:00Z  in 13h30m
       ~ Sun 2026-03-29 02:00 CET: clocks go forward 1h, to 03:00 CEST
    2  Sun 2026-03-29 03:30:00 CEST  2026-03-29T01:30:00Z  in 1d13h
    3  Mon 2026-03-30 02:30:00 CEST  2026-03-30T00:30:00Z  in 2d12h
    "#);
}

#[test]
fn clocks_go_back() {
    let mut request =
        cron("30 2 * * *", "Europe/Berlin", TimetableKind::Interval, false, "2026-10-24T12:00:00Z");
    request.last_end = Some(at("2026-10-23T00:30:00Z"));
    assert_snapshot!(text(&request), @r#"
    `30 2 * * *`, a run at the end of each interval, one run for all that were missed, Europe/Berlin
    now: Sat 2026-10-24 14:00:00 CEST

    #  Europe/Berlin                 UTC                   covers from (UTC)
    1  Sat 2026-10-24 02:30:00 CEST  2026-10-24T00:30:00Z  2026-10-23T00:30:00Z  11h30m overdue
       ~ Sun 2026-10-25 03:00 CEST: clocks go back 1h, to 02:00 CET
    2  Sun 2026-10-25 02:30:00 CET   2026-10-25T01:30:00Z  2026-10-24T00:30:00Z  in 13h30m
    3  Mon 2026-10-26 02:30:00 CET   2026-10-26T01:30:00Z  2026-10-25T01:30:00Z  in 1d13h
    "#);
}

#[test]
fn years_between_runs() {
    let request =
        cron("0 0 29 2 *", "America/New_York", TimetableKind::Trigger, false, "2026-11-21T06:00:00Z");
    assert_snapshot!(text(&request), @r#"
    `0 0 29 2 *`, a run at each tick, one run for all that were missed, America/New_York
    now: Sat 2026-11-21 01:00:00 EST

    #  America/New_York             UTC
    1  Tue 2028-02-29 00:00:00 EST  2028-02-29T05:00:00Z  in 464d23h
       ~ Sun 2028-03-12 02:00 EST: clocks go forward 1h, to 03:00 EDT
       ~ Sun 2028-11-05 02:00 EDT: clocks go back 1h, to 01:00 EST
       ~ and 6 more changes of the clocks
    2  Sun 2032-02-29 00:00:00 EST  2032-02-29T05:00:00Z  in 1925d23h
       ~ Sun 2032-03-14 02:00 EST: clocks go forward 1h, to 03:00 EDT
       ~ Sun 2032-11-07 02:00 EDT: clocks go back 1h, to 01:00 EST
       ~ and 6 more changes of the clocks
    3  Fri 2036-02-29 00:00:00 EST  2036-02-29T05:00:00Z  in 3386d23h
    "#);
}

#[test]
fn continuous() {
    let mut request = cron("", "UTC", TimetableKind::Trigger, false, "2026-11-21T06:00:00Z");
    request.schedule.when = When::Continuous;
    request.last_end = Some(at("2026-11-21T04:59:58Z"));
    assert_snapshot!(text(&request), @r#"
    continuous, UTC
    now: Sat 2026-11-21 06:00:00 UTC

    #  UTC                          covers from (UTC)
    1  Sat 2026-11-21 06:00:00 UTC  2026-11-21T04:59:58Z  now
    and the next whenever that has ended
    "#);
}

#[test]
fn nothing_to_come() {
    let why = |change: &dyn Fn(&mut Request)| {
        let mut request = cron("@daily", "UTC", TimetableKind::Interval, true, "2026-11-21T06:00:00Z");
        change(&mut request);
        text(&request).lines().last().unwrap().to_owned()
    };
    assert_snapshot!(why(&|_| {}), @"no runs: an interval timetable with `missed: all` begins at the start date, and there is none");
    assert_snapshot!(why(&|r| r.schedule.when = When::Never), @"no runs: the schedule is `never`: runs are started by hand or by the API");
    assert_snapshot!(why(&|r| r.schedule.when = When::Assets(dags::model::AssetCondition::Asset("a".into()))), @"no runs: runs are made when assets are updated, which can't be foreseen");
    assert_snapshot!(why(&|r| (r.schedule.when, r.last_end) = (When::Once, Some(r.now))), @"no runs: the one run of `once` has been");
    assert_snapshot!(why(&|r| {
        r.bounds = Bounds { start_date: Some(r.now), end_date: Some(r.now.before(Span(1))) };
    }), @"no runs: the end date leaves room for none");
}

#[test]
fn json() {
    let mut request = cron("@daily", "UTC", TimetableKind::Interval, false, "2026-01-10T06:00:00Z");
    request.count = 1;
    assert_snapshot!(render_json(&preview(&request).unwrap()), @r#"
    [
      {
        "logical_date": "2026-01-09T00:00:00Z",
        "data_interval_start": "2026-01-09T00:00:00Z",
        "data_interval_end": "2026-01-10T00:00:00Z",
        "run_after": "2026-01-10T00:00:00Z"
      }
    ]
    "#);
    let run = Planned { run_after: at("2026-01-10T06:00:00.25Z"), logical_date: None, interval: None };
    assert_snapshot!(render_json(&[run]), @r#"
    [
      {
        "logical_date": null,
        "data_interval_start": null,
        "data_interval_end": null,
        "run_after": "2026-01-10T06:00:00.25Z"
      }
    ]
    "#);
    assert_eq!(render_json(&[]), "[]\n");
}

#[test]
fn missed_runs_come_first() {
    let mut request = cron("@daily", "UTC", TimetableKind::Trigger, true, "2026-01-10T06:00:00Z");
    request.last_end = Some(at("2026-01-08T00:00:00Z"));
    assert_eq!(due(&request), ["2026-01-09T00:00:00Z", "2026-01-10T00:00:00Z", "2026-01-11T00:00:00Z"]);
    request.schedule.missed = Missed::Latest;
    assert_eq!(due(&request), ["2026-01-10T00:00:00Z", "2026-01-11T00:00:00Z", "2026-01-12T00:00:00Z"]);
    request.schedule.missed = Missed::None;
    assert_eq!(due(&request)[0], "2026-01-11T00:00:00Z");
}

#[test]
fn after_skips_without_walking() {
    let walked = |request: &Request, after: &str| -> Vec<String> {
        let all = due(&Request { count: COUNT_MAX, ..request.clone() });
        all.into_iter().filter(|run| at(run) > at(after)).take(request.count).collect()
    };
    let crons = ["*/15 * * * *", "30 2 * * *", "0 9 * * 1"].map(|cron| When::Crons(vec![cron.into()]));
    for when in crons.into_iter().chain([When::Every(Span::seconds(7 * 3600))]) {
        for kind in [TimetableKind::Trigger, TimetableKind::Interval] {
            for catchup in [true, false] {
                for after in ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z", "2026-03-27T00:00:00Z"] {
                    let mut request = cron("", "Europe/Berlin", kind, catchup, "2026-03-27T12:00:00Z");
                    request.schedule.when = when.clone();
                    request.bounds.start_date = Some(at("2026-03-01T00:00:00Z"));
                    let expected = walked(&request, after);
                    request.after = Some(at(after));
                    assert_eq!(due(&request), expected, "{when:?} {kind} {catchup} {after}");
                }
            }
        }
    }
    // A run each second, thirty years ahead.
    let mut request = cron("* * * * * *", "UTC", TimetableKind::Trigger, false, "2026-01-01T00:00:00Z");
    request.after = Some(at("2056-01-01T00:00:00Z"));
    assert_eq!(due(&request)[0], "2056-01-01T00:00:01Z");
}

#[test]
fn what_cannot_be_listed() {
    let mut request = cron("0 25 * * *", "UTC", TimetableKind::Trigger, false, "2026-01-01T00:00:00Z");
    assert_snapshot!(preview(&request).unwrap_err(), @"cron expression `0 25 * * *`: the hour `25` is out of range: 0 to 23");
    request.count = 100_000;
    assert_snapshot!(preview(&request).unwrap_err(), @"100000 runs are too many to list: at most 10000");
}
