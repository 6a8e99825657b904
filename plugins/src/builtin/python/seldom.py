"""What few tasks need of `run.py`: their result as JSON, and what to say of an exception."""

import os
import sys

try:
    from _json import encode_basestring as quoted
except ImportError:
    # Another implementation of Python. This one has it at once; `json` takes as long to load as a short task.
    from json.encoder import encode_basestring as quoted

SKIP, GIVE_UP = 99, 98


class NotJson(Exception):
    pass


def is_one_of(value, module, *names):
    """Whether a value is of a class of that module. If nobody has imported the module, it isn't."""
    module = sys.modules.get(module)
    return isinstance(value, tuple(getattr(module, name) for name in names if hasattr(module, name)))


def text_of(value, where="result"):
    """The value as JSON, or NotJson that says which part isn't."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise NotJson("{} is {}, which JSON doesn't have".format(where, value))
        return float.__repr__(value)
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise NotJson("{} has the key {!r}; keys must be texts: write str(key)".format(where, key))
        pairs = (
            quoted(key) + ": " + text_of(inner, "{}[{!r}]".format(where, key)) for key, inner in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        parts = (text_of(inner, "{}[{}]".format(where, i)) for i, inner in enumerate(value))
        return "[" + ", ".join(parts) + "]"
    if any(is_one_of(value, module, "datetime", "date", "time") for module in ("datetime", "_datetime")):
        return quoted(value.isoformat())
    if is_one_of(value, "uuid", "UUID") or is_one_of(value, "pathlib", "PurePath"):
        return quoted(str(value))
    raise NotJson("{} is a {}; {}".format(where, type(value).__name__, hint_about(value)))


def hint_about(value):
    """What turns the value into JSON."""
    import types

    hint = None
    if type(value) is set:
        hint = "write sorted(...) or list(...)"
    elif is_one_of(value, "decimal", "Decimal"):
        hint = "write float(...) or str(...)"
    elif callable(getattr(value, "tolist", None)):
        hint = "write value.tolist()"
    elif callable(getattr(value, "to_dict", None)):
        hint = "write value.to_dict()"
    elif isinstance(value, (types.GeneratorType, map, filter, range)):
        hint = "write list(...)"
    return hint or "end with None if there is no result"


def store(value):
    """Leaves the value as the task's result. Returns the exit code."""
    try:
        text = text_of(value)
    except NotJson as error:
        message = "the value of the last expression is not JSON: {}".format(error)
        print(message, file=sys.stderr)
        leave_reason(message)
        return 1
    with open(os.environ["UPDRAFT_RESULT"], "w", encoding="utf-8") as file:
        file.write(text)
    return 0


def explain(error, own):
    """Prints the traceback without our own frames, and leaves the last line as the reason."""
    import traceback

    shown = traceback.TracebackException.from_exception(error)
    seen, todo = set(), [shown]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        while one.stack and one.stack[0].filename == own:
            del one.stack[0]
        todo += [one.__cause__, one.__context__]
    sys.stdout.flush()
    print("".join(shown.format()), end="", file=sys.stderr)
    leave_reason("{}: {}".format(type(error).__name__, error) if str(error) else type(error).__name__)


def leave_reason(text):
    with open(os.environ["UPDRAFT_REASON"], "w", encoding="utf-8") as file:
        file.write(text.strip().split("\n")[0][:300])


def has_name(error, wanted):
    """Whether the exception's class or one of its bases has the name; Airflow's exceptions mean the same."""
    return any(cls.__name__ == wanted for cls in type(error).__mro__)


def ended_by(error, own, skip, fail):
    """Says why the code ended, without the frames of the file `own`. Returns the exit code."""
    if isinstance(error, skip) or has_name(error, "AirflowSkipException"):
        print("skipped: {}".format(error), file=sys.stderr)
        leave_reason(str(error) or "the code asked to be skipped")
        return SKIP
    explain(error, own)
    gives_up = isinstance(error, fail) or has_name(error, "AirflowFailException")
    return GIVE_UP if gives_up else 1
