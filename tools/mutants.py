"""The changes that `mutate.py` tries: from the text of a module to texts that differ in one expression."""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Mutant", "mutants_of"]

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
# A call becomes its first argument, or what a method is called on.
LEFT_OUT = {"abs", "sqrt", "log", "exp", "maximum", "minimum", "clip", "cumsum", "sort", "unique", "log1p", "expm1"}
EXCHANGED = {
    "min": "max",
    "max": "min",
    "minimum": "maximum",
    "maximum": "minimum",
    "argmin": "argmax",
    "argmax": "argmin",
    "any": "all",
    "all": "any",
    "floor": "ceil",
    "ceil": "floor",
    "mean": "median",
    "median": "mean",
    "sum": "mean",
    "zeros": "ones",
    "ones": "zeros",
    "cos": "sin",
    "sin": "cos",
    "log": "log10",
    "log10": "log",
    "log1p": "log",
    "expm1": "exp",
}
STRINGS = {"left": "right", "right": "left"}
# Functions that say things in words or draw them, and what numpy is told to be silent about.
NO_MATTER = {"_card", "plot", "to_dataset", "_words", "__repr__"}
SILENT_CALLS = {"errstate", "dataclass", "field", "isinstance", "check_kind", "within", "spend", "print", "TypeVar"}


@dataclass(frozen=True)
class Mutant:
    """One changed module.

    Attributes:
        file: Its path in the package.
        line: Where the change begins, counted from 1.
        operator: What kind of change.
        before: The expression; `after` what it becomes.
        text: The module as it is, and `low` and `high`, the bytes of it that change.
        insert: What takes their place.
        function: Qualified name of the function, as code objects have it, or empty for the module itself.
        first: Line of the change, counted from the function's first; `last` where it ends.
    """

    file: str
    line: int
    operator: str
    before: str
    after: str
    text: bytes = field(repr=False)
    low: int
    high: int
    insert: str
    function: str
    first: int
    last: int

    @property
    def source(self) -> str:
        """The whole changed text."""
        return (self.text[: self.low] + self.insert.encode() + self.text[self.high :]).decode()

    @property
    def key(self) -> str:
        """What names it as long as its function keeps the line."""
        where = f"{self.file}::{self.function}" if self.function else self.file
        here = self.text.decode().split("\n")[self.line - 1]
        return f"{where} {self.operator} {_one_line(self.before)} -> {_one_line(self.after)} in {_one_line(here)}"

    def words(self) -> str:
        """Say it in lines: where and what, and both versions."""
        return f"{self.file}:{self.line} {self.operator}\n  - {_one_line(self.before)}\n  + {_one_line(self.after)}"


def mutants_of(source: str, file: str) -> Iterator[Mutant]:
    """Give all mutants of a module.

    Args:
        source: Its text.
        file: Its path, for the names of the mutants.
    """
    tree = ast.parse(source)
    lines = source.encode().split(b"\n")
    begin = [0]
    for line in lines:
        begin.append(begin[-1] + len(line) + 1)
    data = source.encode()
    for node, function, start in _places(tree, "", 0):
        low, high = begin[node.lineno - 1] + node.col_offset, begin[node.end_lineno - 1] + node.end_col_offset
        before = data[low:high].decode()
        for operator, changed in _changes(node):
            after = ast.unparse(ast.fix_missing_locations(changed))
            if after == ast.unparse(node):
                continue
            # Statements keep their text; an expression in brackets may stand anywhere.
            insert = after if isinstance(changed, ast.stmt | ast.Slice) else f"({after})"
            first = node.lineno - start if function else 0
            last = (node.end_lineno or node.lineno) - start if function else 0
            yield Mutant(file, node.lineno, operator, before, after, data, low, high, insert, function, first, last)


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "¦")


def _places(node: ast.AST, function: str, start: int) -> Iterator[tuple[ast.AST, str, int]]:
    """Walk through expressions that may be changed, with the name and first line of the function around them."""
    for child in _parts(node):
        inner, first = function, start
        if isinstance(child, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            name = "<lambda>" if isinstance(child, ast.Lambda) else child.name
            if name in NO_MATTER or name.endswith("_words"):
                continue
            inner = f"{function}.{name}" if function else name
            inner = inner if isinstance(child, ast.ClassDef) else inner + ".<locals>"
            first = child.decorator_list[0].lineno if getattr(child, "decorator_list", []) else child.lineno
        if hasattr(child, "lineno"):
            yield child, function.removesuffix(".<locals>") if function.endswith(".<locals>") else "", start
        yield from _places(child, inner, first)


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """Give the children of a node that are code: no annotation, docstring, decorator or message."""
    skipped = {"annotation", "returns", "decorator_list", "args" if isinstance(node, ast.Lambda) else "type_params"}
    for name, value in ast.iter_fields(node):
        if name in skipped:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_silent(child):
                yield child


def _is_silent(node: ast.AST) -> bool:
    if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom | ast.JoinedStr | ast.Assert | ast.arguments):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Call) and _name(node.func) in SILENT_CALLS:
        return True
    if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
        return True
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _name(function: ast.AST) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    kind = {
        ast.Compare: _of_comparison,
        ast.BinOp: _of_arithmetic,
        ast.UnaryOp: _of_sign,
        ast.BoolOp: _of_logic,
        ast.Constant: _of_constant,
        ast.Call: _of_call,
        ast.Slice: _of_slice,
        ast.AugAssign: _of_update,
        ast.IfExp: _of_choice,
    }.get(type(node))
    if kind is not None:
        yield from kind(node)


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _of_comparison(node: ast.Compare) -> Iterator[tuple[str, ast.AST]]:
    for index, operator in enumerate(node.ops):
        for other in COMPARISONS.get(type(operator), ()):
            ops = [*node.ops[:index], other(), *node.ops[index + 1 :]]
            yield "comparison", _with(node, ops=ops)


def _of_arithmetic(node: ast.BinOp) -> Iterator[tuple[str, ast.AST]]:
    other = ARITHMETIC.get(type(node.op))
    if other is not None and not _is_text(node):
        yield "arithmetic", _with(node, op=other())
        if not isinstance(node.op, ast.BitAnd | ast.BitOr):
            yield "dropped", node.left
        if isinstance(node.op, ast.Add | ast.Mult | ast.BitAnd | ast.BitOr):
            yield "dropped", node.right


def _is_text(node: ast.BinOp) -> bool:
    return any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in ast.walk(node))


def _of_sign(node: ast.UnaryOp) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield "sign", node.operand


def _of_logic(node: ast.BoolOp) -> Iterator[tuple[str, ast.AST]]:
    yield "logic", _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    for index in range(len(node.values)):
        rest = [value for place, value in enumerate(node.values) if place != index]
        yield "dropped", rest[0] if len(rest) == 1 else _with(node, values=rest)


def _of_constant(node: ast.Constant) -> Iterator[tuple[str, ast.AST]]:
    value = node.value
    if isinstance(value, bool):
        yield "constant", ast.Constant(not value)
    elif isinstance(value, int):
        yield from (("constant", ast.Constant(other)) for other in (value + 1, value - 1))
    elif isinstance(value, float):
        others = (1.0 - value, 2.0 * value) if 0.0 < value < 1.0 and value >= 0.01 else (2.0 * value, value + 1.0)
        yield from (("constant", ast.Constant(other)) for other in others)
    elif isinstance(value, str) and value in STRINGS:
        yield "side", ast.Constant(STRINGS[value])


def _of_call(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    name = _name(node.func)
    if name in LEFT_OUT and node.args:
        yield "left out", node.args[0]
    if name in EXCHANGED:
        function = copy.copy(node.func)
        setattr(function, "attr" if isinstance(function, ast.Attribute) else "id", EXCHANGED[name])
        yield "exchanged", _with(node, func=function)
    for index, keyword in enumerate(node.keywords):
        if keyword.arg in ("axis", "keepdims", "side", "ddof", "initial"):
            yield "dropped", _with(node, keywords=[k for place, k in enumerate(node.keywords) if place != index])
    if len(node.args) >= 3 and name == "where":
        yield "exchanged", _with(node, args=[node.args[0], node.args[2], node.args[1]])


def _of_slice(node: ast.Slice) -> Iterator[tuple[str, ast.AST]]:
    for end in ("lower", "upper"):
        bound = getattr(node, end)
        if bound is not None:
            yield "slice", _with(node, **{end: None})
            yield "slice", _with(node, **{end: ast.BinOp(bound, ast.Add(), ast.Constant(1))})
            yield "slice", _with(node, **{end: ast.BinOp(bound, ast.Sub(), ast.Constant(1))})


def _of_update(node: ast.AugAssign) -> Iterator[tuple[str, ast.AST]]:
    other = ARITHMETIC.get(type(node.op))
    if other is not None:
        yield "arithmetic", _with(node, op=other())


def _of_choice(node: ast.IfExp) -> Iterator[tuple[str, ast.AST]]:
    yield "choice", node.body
    yield "choice", node.orelse
