"""Options that are declared once, as the fields of a frozen dataclass, and given as flags.

A field `limit: Annotated[int, Flag("Samples at most.")] = 10` is `--limit` with that help and
default. What its values may be, the dataclass checks in `__post_init__`, however it was made.
Types: str, int, float, bool, Path and Literal, each also `| None`; tuples of fixed length; a tuple
or list of any length (the flag is repeated); a mapping from str to one type or to
`bool | int | float | str` (repeated as NAME=VALUE); another such dataclass, whose flags stand
beside the others.
"""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import wraps
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from lesstext.errors import UsageError

Options = TypeVar("Options")
Command = TypeVar("Command", bound=Callable[..., Any])
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True, slots=True)
class Flag:
    """How a field is shown on the command line.

    `names` stand in for the field's own name: one, or one for each item of a tuple of fixed
    length. On a field that is a dataclass, `prefix` is put before the names of its flags.
    """

    help: str | None = None
    names: tuple[str, ...] = ()
    prefix: str = ""


def with_options(
    kind: type, *, prefix: str = "", leave_out: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Give a command that ends in `**values` the flags of `kind`; see `parameters`.

    `build(kind, values)` in the command's body makes the dataclass.
    """
    return with_parameters(parameters(kind, prefix=prefix, leave_out=leave_out))


def with_parameters(added: Sequence[inspect.Parameter]) -> Callable[[Command], Command]:
    """Put parameters in the place of a command's `**values`, where typer sees them."""

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters.values()
        named = [p.replace(kind=_KEYWORD) for p in own if p.kind is not p.VAR_KEYWORD]

        @wraps(command)  # the function itself stays as it is: it may be decorated again
        def flagged(*args: Any, **values: Any) -> Any:
            return command(*args, **values)

        flagged.__signature__ = inspect.Signature([*named, *added])  # type: ignore[attr-defined]
        flagged.__annotations__ = {p.name: p.annotation for p in [*named, *added]}
        return cast("Command", flagged)

    return decorate


def parameters(
    kind: type, *, prefix: str = "", leave_out: Collection[str] = ()
) -> list[inspect.Parameter]:
    """One keyword parameter for each flag, in the order of the fields, annotated for typer.

    `prefix` is put before every name. Fields named in `leave_out` are no flags.
    """
    found: list[inspect.Parameter] = []
    for f, base, flag in _declared(kind):
        if f.name in leave_out:
            continue
        if is_dataclass(base) and isinstance(base, type):
            found += parameters(base, prefix=prefix + flag.prefix)
        else:
            found += _parameters_of(f, base, flag, prefix)
    return found


def repeated(once: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    """The same flags, each of which may be given several times: a list of values, or None."""
    return [_repeated(parameter) for parameter in once]


def build(
    kind: type[Options], values: Mapping[str, Any], *, prefix: str = "", **given: Any
) -> Options:
    """The dataclass from the values of its flags; one that is absent keeps its default.

    `given` are fields that no flag gives. Raises UsageError for a value that is no choice or no
    NAME=VALUE, and what the dataclass itself raises.
    """
    for f, base, flag in _declared(kind):
        names = _names(f, flag, prefix)
        if f.name in given:
            continue
        if is_dataclass(base) and isinstance(base, type):
            given[f.name] = build(base, values, prefix=prefix + flag.prefix)
        elif all(name in values for name in names):
            given[f.name] = _value(base, names, [values[name] for name in names])
    return kind(**given)


def paths(kind: type) -> dict[str, str]:
    """Where the value of each flag stands, such as `{"eval_limit": "evaluation.limit"}`."""
    found: dict[str, str] = {}
    for f, base, flag in _declared(kind):
        if is_dataclass(base) and isinstance(base, type):
            inner = paths(base).items()
            found |= {flag.prefix + name: f"{f.name}.{path}" for name, path in inner}
        else:
            found |= dict.fromkeys(_names(f, flag, ""), f.name)
    return found


def check_choices(options: object) -> None:
    """For `__post_init__`: raise UsageError where a Literal field holds something else."""
    for f, base, _ in _declared(type(options)):
        inner, optional = _without_none(base)
        value = getattr(options, f.name)
        if not (optional and value is None):
            _choice(inner, f.name, value)


def flag_of(name: str) -> str:
    """The flag of a parameter.

    >>> flag_of("batch_size")
    '--batch-size'
    """
    return "--" + name.replace("_", "-")


def _declared(kind: type) -> list[tuple[Field[Any], Any, Flag]]:
    """The fields with their types, bare of what is annotated, and their flags."""
    hints = get_type_hints(kind, include_extras=True)
    found = []
    for f in fields(kind):
        base, notes = hints[f.name], list[Any]()
        if get_origin(base) is Annotated:
            base, *notes = get_args(base)
        flag = next((note for note in notes if isinstance(note, Flag)), Flag())
        found.append((f, base, flag))
    return found


def _names(f: Field[Any], flag: Flag, prefix: str) -> list[str]:
    return [prefix + name for name in flag.names or (f.name,)]


def _parameters_of(f: Field[Any], base: Any, flag: Flag, prefix: str) -> list[inspect.Parameter]:
    import typer

    names = _names(f, flag, prefix)
    kinds, defaults = [base], [_default(f)]
    if len(names) > 1:
        kinds = list(get_args(base))
        defaults = list(defaults[0])
    made = []
    for name, part, default in zip(names, kinds, defaults, strict=True):
        shown, metavar = _shown(part)
        switch = (flag_of(name),) if default is False else ()  # --name alone, without --no-name
        option = typer.Option(*switch, help=flag.help, metavar=metavar)
        annotation: Any = Annotated[shown, option]
        made.append(
            inspect.Parameter(
                name, _KEYWORD, default=_shown_default(default), annotation=annotation
            )
        )
    return made


def _repeated(once: inspect.Parameter) -> inspect.Parameter:
    shown, option = get_args(once.annotation)
    item, _ = _without_none(shown)
    if once.default is inspect.Parameter.empty:
        return once.replace(annotation=Annotated[list[item], option])  # type: ignore[valid-type]
    several: Any = list[item] | None  # type: ignore[valid-type]
    return once.replace(annotation=Annotated[several, option], default=None)


def _default(f: Field[Any]) -> Any:
    if f.default is not MISSING:
        return f.default
    return inspect.Parameter.empty if f.default_factory is MISSING else f.default_factory()


def _shown_default(default: Any) -> Any:
    if isinstance(default, Mapping):
        return [f"{name}={value}" for name, value in default.items()] or None
    return None if default in ((), []) else default


def _shown(kind: Any) -> tuple[Any, str | None]:
    """The type that typer parses, and the metavar where typer's own says too little."""
    inner, optional = _without_none(kind)
    shown, metavar = inner, None
    if get_origin(inner) is Literal:
        shown, metavar = str, "|".join(get_args(inner))
    elif _is_mapping(inner):
        shown, metavar, optional = list[str], "NAME=VALUE", True
    elif _is_repeated(inner):
        item, metavar = _shown(get_args(inner)[0])
        shown, optional = list[item], True  # type: ignore[valid-type]
    return (Union[shown, None] if optional else shown), metavar  # noqa: UP007


def _value(kind: Any, names: Sequence[str], given: Sequence[Any]) -> Any:
    """A field's value from what was parsed for its flags."""
    if len(names) > 1:
        return tuple(given)
    inner, optional = _without_none(kind)
    value, flag = given[0], flag_of(names[0])
    if value is None and optional:
        return None
    if _is_mapping(inner):
        return _mapping(flag, value or (), get_args(inner)[1])
    if _is_repeated(inner):
        item = get_args(inner)[0]
        return (get_origin(inner) or tuple)(_choice(item, flag, one) for one in value or ())
    return _choice(inner, flag, value)


def _choice(kind: Any, name: str, value: Any) -> Any:
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise UsageError(f"{name} must be one of {', '.join(get_args(kind))}, got {value!r}")
    return value


def _mapping(flag: str, pairs: Sequence[str], kind: Callable[[str], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not (name and separator):
            raise UsageError(f"{flag} takes NAME=VALUE, got {pair!r}")
        if name in found:
            raise UsageError(f"{flag} was given twice for {name}")
        try:
            found[name] = _scalar(text) if get_args(kind) else kind(text)
        except ValueError as error:
            raise UsageError(f"{flag} {pair}: {error}") from error
    return found


def _scalar(text: str) -> bool | int | float | str:
    """What a text means where several types may be meant, as JSON has it: else the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (bool, int, float)) else text


def _without_none(kind: Any) -> tuple[Any, bool]:
    if get_origin(kind) not in (Union, types.UnionType):
        return kind, False
    inner = [one for one in get_args(kind) if one is not type(None)]
    return (inner[0] if len(inner) == 1 else kind), True


def _is_mapping(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _is_repeated(kind: Any) -> bool:
    """Whether a type holds any number of items: a list, or a tuple that ends in `...`."""
    origin, items = get_origin(kind), get_args(kind)
    return origin is list or (origin is tuple and items[-1] is ...)
