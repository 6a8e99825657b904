//! The allow-list of filters, tests and functions, with caps on those whose results can outgrow their inputs.

use minijinja::{Environment, Error, State, Value, filters, functions, tests, value::Kwargs};

use crate::{error::refused, quote, render::OUTPUT_BYTES_MAX};

fn too_large() -> Error {
    refused(
        format_args!("the result is larger than {OUTPUT_BYTES_MAX} bytes (limit: output)"),
        "make it smaller, or build it in the task's own code",
    )
}

/// Replaces every occurrence, refusing results over the output limit before making them.
pub(crate) fn capped_replace(text: &str, from: &str, to: &str) -> Result<String, Error> {
    let hits = if from.is_empty() { text.len() + 1 } else { text.matches(from).count() };
    if hits.saturating_mul(to.len()).saturating_add(text.len()) > OUTPUT_BYTES_MAX {
        return Err(too_large());
    }
    Ok(text.replace(from, to))
}

fn replace(text: &str, from: &str, to: &str) -> Result<String, Error> {
    capped_replace(text, from, to)
}

#[expect(clippy::needless_pass_by_value, reason = "the engine hands keyword arguments over")]
fn indent(text: &str, width: Option<usize>, first: Option<bool>, kwargs: Kwargs) -> Result<String, Error> {
    let width = width.or(kwargs.get("width")?).unwrap_or(4);
    let first = first.or(kwargs.get("first")?).unwrap_or(false);
    kwargs.assert_all_used()?;
    let lines = text.matches('\n').count() + 1;
    if lines.saturating_mul(width).saturating_add(text.len()) > OUTPUT_BYTES_MAX {
        return Err(too_large());
    }
    let pad = " ".repeat(width);
    let mut out = String::new();
    for (i, line) in text.split('\n').enumerate() {
        if i > 0 {
            out.push('\n');
        }
        if !line.is_empty() && (i > 0 || first) {
            out.push_str(&pad);
        }
        out.push_str(line);
    }
    Ok(out)
}

fn join(value: &Value, by: Option<&str>) -> Result<String, Error> {
    let by = by.unwrap_or_default();
    let mut out = String::new();
    for (i, item) in value.try_iter()?.enumerate() {
        if i > 0 {
            out.push_str(by);
        }
        match item.as_str() {
            Some(text) => out.push_str(text),
            None => out.push_str(&item.to_string()),
        }
        if out.len() > OUTPUT_BYTES_MAX {
            return Err(too_large());
        }
    }
    Ok(out)
}

/// As Python's `%`: only directives without width or precision over three digits.
fn format(
    state: &mut State<'_, '_>,
    text: &str,
    args: minijinja::value::Rest<minijinja::value::ValueOrKwargs>,
) -> Result<Value, Error> {
    let digits = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    if digits > 3 || text.contains('*') || text.matches('%').count() > 100 {
        return Err(refused(
            "widths and precisions have at most three digits, and there are at most 100 directives",
            "write the number out",
        ));
    }
    filters::format(state, &Value::from(text), args)
}

/// Adds everything that templates may use besides the date filters.
pub(crate) fn add(env: &mut Environment<'_>) {
    env.add_filter("sh", quote::sh);
    env.add_filter("sql", quote::sql);
    env.add_filter("json", quote::json);
    env.add_filter("tojson", quote::json);
    env.add_filter("ident", quote::ident);
    env.add_filter("raw", quote::raw);
    env.add_filter("replace", replace);
    env.add_filter("indent", indent);
    env.add_filter("join", join);
    env.add_filter("format", format);
    env.add_filter("abs", filters::abs);
    env.add_filter("attr", filters::attr);
    env.add_filter("bool", filters::bool);
    env.add_filter("capitalize", filters::capitalize);
    env.add_filter("count", filters::length);
    env.add_filter("d", filters::default);
    env.add_filter("default", filters::default);
    env.add_filter("dictsort", filters::dictsort);
    env.add_filter("first", filters::first);
    env.add_filter("float", filters::float);
    env.add_filter("groupby", filters::groupby);
    env.add_filter("int", filters::int);
    env.add_filter("items", filters::items);
    env.add_filter("last", filters::last);
    env.add_filter("length", filters::length);
    env.add_filter("lines", filters::lines);
    env.add_filter("list", filters::list);
    env.add_filter("lower", filters::lower);
    env.add_filter("map", filters::map);
    env.add_filter("max", filters::max);
    env.add_filter("min", filters::min);
    env.add_filter("reject", filters::reject);
    env.add_filter("rejectattr", filters::rejectattr);
    env.add_filter("reverse", filters::reverse);
    env.add_filter("round", filters::round);
    env.add_filter("select", filters::select);
    env.add_filter("selectattr", filters::selectattr);
    env.add_filter("sort", filters::sort);
    env.add_filter("split", filters::split);
    env.add_filter("string", filters::string);
    env.add_filter("sum", filters::sum);
    env.add_filter("title", filters::title);
    env.add_filter("trim", filters::trim);
    env.add_filter("unique", filters::unique);
    env.add_filter("upper", filters::upper);

    env.add_test("defined", tests::is_defined);
    env.add_test("divisibleby", tests::is_divisibleby);
    env.add_test("endingwith", tests::is_endingwith);
    env.add_test("eq", tests::is_eq);
    env.add_test("equalto", tests::is_eq);
    env.add_test("even", tests::is_even);
    env.add_test("false", tests::is_false);
    env.add_test("float", tests::is_float);
    env.add_test("ge", tests::is_ge);
    env.add_test("gt", tests::is_gt);
    env.add_test("in", tests::is_in);
    env.add_test("integer", tests::is_integer);
    env.add_test("iterable", tests::is_iterable);
    env.add_test("le", tests::is_le);
    env.add_test("lt", tests::is_lt);
    env.add_test("mapping", tests::is_mapping);
    env.add_test("ne", tests::is_ne);
    env.add_test("none", tests::is_none);
    env.add_test("number", tests::is_number);
    env.add_test("odd", tests::is_odd);
    env.add_test("sequence", tests::is_sequence);
    env.add_test("startingwith", tests::is_startingwith);
    env.add_test("string", tests::is_string);
    env.add_test("true", tests::is_true);
    env.add_test("undefined", tests::is_undefined);

    env.add_function("range", functions::range);
    env.add_function("dict", functions::dict);
}
