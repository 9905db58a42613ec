"""What all three commands share: how they end, what they log, and how they show progress.

Exit codes: 0 all good, 1 something failed, 2 wrong use, 130 interrupted. Results go to stdout;
errors, logs and progress to stderr, an error as one line without a traceback. `--quiet` leaves
of stderr what went wrong, and `--version` works without a subcommand.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Annotated, Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from lesstext.errors import EXIT_INTERRUPTED, LesstextError

_PACKAGES = ("lesstext", "attr_builder", "train_clip")
_PLAIN_LINE_EVERY_S = 60.0
_QUIET = "--quiet"
_hushed = False


def new_command(name: str, help: str) -> typer.Typer:
    """An empty command whose subcommands all end as this module says."""
    command = typer.Typer(
        name=name,
        cls=_Subcommands,
        help=help,
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )
    command.callback(help=help)(_options)
    return command


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"lesstext {version('lesstext')}")
        raise typer.Exit


def _options(
    quiet: Annotated[
        bool, typer.Option(_QUIET, "-q", help="No progress, no notes: results and errors alone.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    hush(quiet)


def hush(quiet: bool) -> None:
    """From here on tell nothing on stderr but what went wrong, or all again."""
    global _hushed
    _hushed = quiet


def is_hushed() -> bool:
    """Whether this command was asked to be quiet."""
    return _hushed


def run(command: typer.Typer, *, verbose: bool = False) -> None:
    """Run a command of `new_command` with the arguments of this process, and exit."""
    set_up_logging(verbose)
    try:
        command()
    finally:
        _flush(sys.stderr)


class _Subcommands(TyperGroup):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take `--quiet` wherever it was typed, as a subcommand's own flags are."""
        ours = args[: args.index("--")] if "--" in args else args
        if _QUIET in ours:
            args = [_QUIET, *(arg for arg in ours if arg != _QUIET), *args[len(ours) :]]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _ending_well(self.name or str(ctx.info_name)):
            return super().invoke(ctx)


@contextmanager
def _ending_well(name: str) -> Iterator[None]:
    """Turn errors that are no mistakes of ours into one line and an exit code."""
    try:
        try:
            yield
        finally:
            _flush_stdout()
    except KeyboardInterrupt:
        _end(name, "interrupted; run the same command again to go on", EXIT_INTERRUPTED)
    except LesstextError as error:
        word = "interrupted" if error.exit_code == EXIT_INTERRUPTED else "error"
        _end(name, f"{word}: {error}", error.exit_code)
    except OSError as error:  # a full disk, a folder taken away
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            raise typer.Exit(1) from None
        _end(name, f"error: {error}", 1)


def _flush_stdout() -> None:
    """Meet what is wrong with stdout here, not in the interpreter's last moments.

    A reader that went away (`| head`) ends the command without a word.
    """
    error = _flush(sys.stdout)
    if isinstance(error, BrokenPipeError):
        raise typer.Exit(1) from None
    if error is not None:
        raise error


def _flush(stream: TextIO) -> OSError | None:
    """Write out what is buffered; where that cannot be, nothing of this stream ever is again."""
    try:
        stream.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


def _reader_is_gone() -> bool:
    with suppress(OSError, ValueError):  # stdout may be no file, or closed
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    return False


def _end(name: str, text: str, exit_code: int) -> NoReturn:
    say(f"{name}: {text}")
    raise typer.Exit(exit_code) from None


def say(line: str) -> None:
    """Print to what stderr is at the time (above a live line); a lost terminal stops no work."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def tell(line: str) -> None:
    """Say what is good to know but no error: nothing where the command is to be quiet."""
    if not _hushed:
        say(line)


def set_up_logging(verbose: bool) -> None:
    """Log warnings to stderr, or with `verbose` also what else our packages have to tell."""
    root = logging.getLogger()
    root.setLevel(logging.INFO if verbose and not _hushed else logging.WARNING)
    if not any(isinstance(handler, _Stderr) for handler in root.handlers):
        root.addHandler(_Stderr())


class _Stderr(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.addFilter(_is_worth_telling)

    def emit(self, record: logging.LogRecord) -> None:
        level = f"{record.levelname} " if record.levelno >= logging.WARNING else ""
        say(f"{level}{self.format(record)}")


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """Leave out what open_clip and others tell through the root logger."""
    ours = record.name.partition(".")[0] in _PACKAGES
    return ours or (record.levelno >= logging.WARNING and "open_clip" not in record.pathname)


@contextmanager
def progress(what: str, total: int, unit: str, *, rated: str | None = None) -> Iterator[Progress]:
    """A live line when stderr is a terminal, plain lines otherwise.

    Progress counts `unit`; its speed is that of `rated`, told by `Progress.work`, where given.
    """
    if _hushed or not sys.stderr.isatty():
        yield Progress(what, total, unit, rated)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    status = TextColumn("{task.fields[status]}", markup=False)
    count = TextColumn("{task.fields[count]}/{task.total}")
    columns = (TextColumn(what), BarColumn(), count, TextColumn(unit), status)
    with Bar(*columns, console=Console(stderr=True)) as bar:
        yield _LiveProgress(what, total, unit, rated, bar)


class Progress:
    """Hears of what is finished; tells it with rate and time left, one line each or one a minute.

    What was finished before counts, but says nothing about the speed.
    """

    def __init__(self, what: str, total: int, unit: str, rated: str | None = None) -> None:
        self._what, self._total, self._unit, self._rated = what, total, unit, rated
        self._n_new = self._n_before = self._n_worked = 0
        self._far: tuple[int, int, bool] | None = None
        self._start = self._said = time.monotonic()

    def advance(
        self, n: int = 1, *, n_before: int = 0, line: str = "", note: str = "", bad: bool = False
    ) -> None:
        """`n` more are finished, beside all `n_before` that were before; `line` says what.

        A live line gives way to `line` only where it is `bad`, and shows `note` beside the rate.
        """
        self._n_new, self._n_before = self._n_new + n, n_before
        if not n and n_before:
            tell(f"{n_before} of {self._total} {self._unit} done before")
        self._show(line, note, bad)

    def work(self, n: int, far: tuple[int, int, bool] | None = None) -> None:
        """`n` more of what the rate counts are done.

        `far` says of it how many are done, of how many, and whether that is an estimate.
        """
        self._n_worked += n
        self._far = far or self._far
        self._show("", "", bad=False)

    @property
    def _n_done(self) -> int:
        return self._n_new + self._n_before

    def _show(self, line: str, note: str, bad: bool) -> None:
        now = time.monotonic()
        if line:
            (say if bad else tell)(f"[{self._n_done}/{self._total}] {line} ({self._rate()})")
            self._said = now
        elif self._is_due(now):
            self._said = now
            tell(f"{self._what}: {self._n_done}/{self._total} {self._unit}, {self._rate()}")

    def _is_due(self, now: float) -> bool:
        """Whether it is time for a line of no item: at the end, and once a minute."""
        if not (self._n_new or self._n_worked):
            return False
        at_the_end = self._n_done >= self._total and self._far is None
        return at_the_end or now - self._said > _PLAIN_LINE_EVERY_S

    def _begun(self) -> float:
        """How much is done of `total`, begun items in part."""
        if self._far is None:
            return self._n_done
        n_done, n_all, _ = self._far
        return self._total * n_done / max(n_all, 1)

    def _rate(self) -> str:
        took_s = max(time.monotonic() - self._start, 1e-6)
        n = self._n_worked if self._rated else self._n_new
        rate = f"{n / took_s:.1f} {self._rated or self._unit}/s"
        if self._far is not None:
            n_done, n_all, is_estimate = self._far
            rate = f"{n_done}/{'~' * is_estimate}{n_all} {self._rated}, {rate}"
            return _with_eta(rate, took_s, n, n_all - n_done)
        return _with_eta(rate, took_s, self._n_new, self._total - self._n_done)


class _LiveProgress(Progress):
    def __init__(self, what: str, total: int, unit: str, rated: str | None, bar: Any) -> None:
        super().__init__(what, total, unit, rated)
        self._bar, self._note = bar, ""
        self._task = bar.add_task(what, total=total, count=0, status="")

    def _show(self, line: str, note: str, bad: bool) -> None:
        self._note = note or self._note
        if bad:
            say(line)
        status = f"{self._rate()}  {self._note}"
        self._bar.update(self._task, completed=self._begun(), count=self._n_done, status=status)


def _with_eta(rate: str, took_s: float, n_new: int, n_left: int) -> str:
    return f"{rate}, ETA {as_clock(took_s / n_new * n_left)}" if n_new and n_left > 0 else rate


def as_clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> as_clock(3725.4)
    '1:02:05'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
