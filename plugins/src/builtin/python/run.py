"""Runs a task's Python code: gives it the run's names, keeps its last expression, explains what went wrong.

Called as `run.py REQUEST`, where REQUEST is a JSON file that is deleted at once, since it may hold secrets. Works with
Python 3.8 and newer and needs nothing but the standard library.

It runs before every task. What only some tasks need is in `seldom.py` beside it, and nothing is imported that the
interpreter hasn't loaded by itself: `json` alone takes half as long as the interpreter's start.
"""

import _ast
import builtins
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
Module = type(sys)


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


class Source:
    """Where tracebacks find the author's lines, since there is no file of that name."""

    def __init__(self, text):
        self.text = text

    def get_source(self, _name):
        return self.text


class Json:
    """How the interpreter's own scanner reads: like `json.loads` with dicts as names."""

    strict, memo = True, {}
    object_hook, object_pairs_hook = Names, None
    parse_float, parse_int, parse_constant = float, int, float


def read(text):
    """What the JSON text says."""
    try:
        from _json import make_scanner

        return make_scanner(Json)(text, 0)[0]
    except (ImportError, AttributeError, TypeError):
        # Another implementation of Python, or a newer one.
        import json

        return json.loads(text, object_hook=Names)


def seldom(name):
    """A function of `seldom.py`."""
    path = os.path.join(HERE, "seldom.py")
    with open(path, encoding="utf-8") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    module = Module("seldom")
    exec(code, module.__dict__)
    return getattr(module, name)


def split_last(tree):
    """Takes the last statement off if it is an expression."""
    if tree.body and isinstance(tree.body[-1], _ast.Expr):
        return tree, _ast.Expression(tree.body.pop().value)
    return tree, None


def instant(text):
    try:
        # The same class without a module of Python code around it.
        from _datetime import datetime
    except ImportError:
        from datetime import datetime
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


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
    module = Module("updraft", "What a task knows about itself.")

    def connection(name):
        """A connection that the task lists under `connections`."""
        if name not in connections:
            raise Fail("connection {!r} isn't listed under the task's `connections`".format(name))
        return connections[name]

    module.context, module.connection, module.Skip, module.Fail = names, connection, Skip, Fail
    sys.modules["updraft"] = module
    return module


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        request = read(file.read())
    os.unlink(sys.argv[1])

    names = names_of(request)
    updraft = offer_module(names, request["connections"])
    source, path = request["source"].get("code"), request["source"].get("file")
    # A name in angle brackets would not be looked up at the module's loader.
    shown = path or "task {}".format(request["task"])
    if path:
        with open(path, "rb") as file:
            source = file.read()
    sys.path[0] = os.path.dirname(path) if path else request["bundle"]
    if request["bundle"] not in sys.path:
        sys.path.insert(1, request["bundle"])
    sys.argv = [path or shown] + list(request["argv"])

    module = Module("__main__")
    module.__dict__.update(names)
    module.__dict__.update(context=names, updraft=updraft, __builtins__=builtins)
    if path:
        module.__file__ = path
    else:
        module.__loader__ = Source(source)
    sys.modules["__main__"] = module
    try:
        body, last = split_last(compile(source, shown, "exec", _ast.PyCF_ONLY_AST, dont_inherit=True))
        exec(compile(body, shown, "exec", dont_inherit=True), module.__dict__)
        value = None if last is None else eval(compile(last, shown, "eval", dont_inherit=True), module.__dict__)
    except Exception as error:
        return seldom("ended_by")(error, __file__, Skip, Fail)
    if value is None:
        return 0
    if type(value) is int:
        with open(os.environ["UPDRAFT_RESULT"], "w", encoding="utf-8") as file:
            file.write(repr(value))
        return 0
    return seldom("store")(value)


sys.exit(main())
