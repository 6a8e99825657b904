"""Runs a task's Python code: gives it the run's names, keeps its last expression, explains what went wrong.

Called as `run.py REQUEST`, where REQUEST is a JSON file that is deleted at once, since it may hold secrets.
Works with Python 3.8 and newer and needs nothing but the standard library. It runs before every task, so what only some
tasks need is imported where they do.
"""

import _ast
import builtins
import json
import linecache
import os
import sys
import types

SKIP, GIVE_UP = 99, 98


class Skip(Exception):
    """Raised by a task that wants to be skipped."""


class Fail(Exception):
    """Raised by a task that failed and gains nothing from a retry."""


class Names(dict):
    """A dict whose keys are attributes too: `params.region` and `params["region"]`."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            known = ", ".join(sorted(map(str, self))) or "none"
            raise AttributeError("there is no {!r} here; known are: {}".format(name, known)) from None


class MapNames(Names):
    """The mapped variables under the name `map`, which stays the builtin function when it is called."""

    def __call__(self, *args):
        return builtins.map(*args)


class NotJson(Exception):
    pass


def is_one_of(value, module, *names):
    """Whether a value is of a class of that module. If nobody has imported the module, it isn't."""
    module = sys.modules.get(module)
    return isinstance(value, tuple(getattr(module, name) for name in names if hasattr(module, name)))


def plain(value, where="result"):
    """The value as JSON types, or NotJson that says which part isn't."""
    if value is None or isinstance(value, (str, bool)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise NotJson("{} is {}, which JSON doesn't have".format(where, value))
        return float(value)
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise NotJson("{} has the key {!r}; keys must be texts: write str(key)".format(where, key))
        return {str(key): plain(inner, "{}[{!r}]".format(where, key)) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner, "{}[{}]".format(where, i)) for i, inner in enumerate(value)]
    if is_one_of(value, "datetime", "datetime", "date", "time"):
        return value.isoformat()
    if is_one_of(value, "uuid", "UUID") or is_one_of(value, "pathlib", "PurePath"):
        return str(value)
    hint = None
    if type(value) is set:
        hint = "write sorted(...) or list(...)"
    elif is_one_of(value, "decimal", "Decimal"):
        hint = "write float(...) or str(...)"
    elif callable(getattr(value, "tolist", None)):
        hint = "write value.tolist()"
    elif hint is None and callable(getattr(value, "to_dict", None)):
        hint = "write value.to_dict()"
    elif hint is None and isinstance(value, (types.GeneratorType, builtins.map, builtins.filter, builtins.range)):
        hint = "write list(...)"
    raise NotJson("{} is a {}; {}".format(where, type(value).__name__, hint or "end with None if there is no result"))


def split_last(tree):
    """Takes the last statement off if it is an expression."""
    if tree.body and isinstance(tree.body[-1], _ast.Expr):
        return tree, _ast.Expression(tree.body.pop().value)
    return tree, None


def explain(error):
    """Prints the traceback without our own frames, and leaves the last line as the reason."""
    import traceback

    shown = traceback.TracebackException.from_exception(error)
    seen, todo = set(), [shown]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        while one.stack and one.stack[0].filename == __file__:
            del one.stack[0]
        todo += [one.__cause__, one.__context__]
    sys.stdout.flush()
    print("".join(shown.format()), end="", file=sys.stderr)
    leave_reason("{}: {}".format(type(error).__name__, error) if str(error) else type(error).__name__)


def leave_reason(text):
    with open(os.environ["UPDRAFT_REASON"], "w", encoding="utf-8") as file:
        file.write(text.strip().split("\n")[0][:300])


def instant(text):
    import datetime

    return None if text is None else datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def names_of(request):
    names = Names(request["names"])
    for name in ("logical_date", "data_interval_start", "data_interval_end", "run_after"):
        if isinstance(names.get(name), str):
            names[name] = instant(names[name])
    if request["mapped"]:
        names["map"] = MapNames(names.get("map") or {})
    else:
        names.pop("map", None)
    return names


def offer_module(names, connections):
    """Makes `import updraft` work, also in modules that the code imports."""
    module = types.ModuleType("updraft", "What a task knows about itself.")

    def connection(name):
        """A connection that the task lists under `connections`."""
        if name not in connections:
            raise Fail("connection {!r} isn't listed under the task's `connections`".format(name))
        return connections[name]

    module.context, module.connection, module.Skip, module.Fail = names, connection, Skip, Fail
    sys.modules["updraft"] = module
    return module


def has_name(error, wanted):
    """Whether the exception's class or one of its bases has the name; Airflow's exceptions mean the same."""
    return any(cls.__name__ == wanted for cls in type(error).__mro__)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file, object_hook=Names)
    os.unlink(sys.argv[1])

    names = names_of(request)
    updraft = offer_module(names, request["connections"])
    source, path = request["source"].get("code"), request["source"].get("file")
    shown = path or "<task {}>".format(request["task"])
    if path:
        with open(path, "rb") as file:
            source = file.read()
    else:
        # Tracebacks look up the author's lines here, since there is no file of that name.
        linecache.cache[shown] = (len(source), None, source.splitlines(True), shown)
    sys.path[0] = os.path.dirname(path) if path else request["bundle"]
    if request["bundle"] not in sys.path:
        sys.path.insert(1, request["bundle"])
    sys.argv = [path or shown] + list(request["argv"])

    module = types.ModuleType("__main__")
    module.__dict__.update(names)
    module.__dict__.update(context=names, updraft=updraft, __builtins__=builtins)
    if path:
        module.__file__ = path
    sys.modules["__main__"] = module
    try:
        body, last = split_last(compile(source, shown, "exec", _ast.PyCF_ONLY_AST, dont_inherit=True))
        exec(compile(body, shown, "exec", dont_inherit=True), module.__dict__)
        value = None if last is None else eval(compile(last, shown, "eval", dont_inherit=True), module.__dict__)
        value = plain(value)
    except NotJson as error:
        message = "the value of the last expression is not JSON: {}".format(error)
        print(message, file=sys.stderr)
        leave_reason(message)
        return 1
    except Exception as error:
        if isinstance(error, Skip) or has_name(error, "AirflowSkipException"):
            print("skipped: {}".format(error), file=sys.stderr)
            leave_reason(str(error) or "the code asked to be skipped")
            return SKIP
        explain(error)
        gives_up = isinstance(error, Fail) or has_name(error, "AirflowFailException")
        return GIVE_UP if gives_up else 1
    if value is not None:
        with open(os.environ["UPDRAFT_RESULT"], "w", encoding="utf-8") as file:
            json.dump(value, file, allow_nan=False, ensure_ascii=False)
    return 0


sys.exit(main())
