"""Check what a release would hand over: the wheel, and the image that the Dockerfile describes.

Builds the wheel and looks into it, lints the Dockerfile where hadolint is at hand, and runs the
Dockerfile's own commands in an empty folder, as far as they need neither root nor a daemon: the
environment that they make is then used as a stranger would, offline. `--python` (several times)
installs the wheel without extras for other interpreters, too.

    python scripts/check_release.py
    python scripts/check_release.py --wheel-only --python python3.10 --python python3.13
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ("lesstext", "attr-builder", "train-clip")
MAX_WHEEL_BYTES = 20_000_000
# What code alone does not bring: data, pages, licences, marks of being typed.
_MUST_HOLD = (
    "attr_builder/data/LiberationSans-LICENSE.txt",
    "attr_builder/data/LiberationSans-Regular.ttf",
    "attr_builder/data/imagenet_classes.csv",
    "attr_builder/py.typed",
    "lesstext/py.typed",
    "train_clip/models/configs/tiny.json",
    "train_clip/py.typed",
)
_NEEDS_ROOT = ("useradd", "apt-get")


def main() -> None:
    """Entry point: exits with 1 and says what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", default=[], metavar="INTERPRETER")
    parser.add_argument("--wheel-only", action="store_true", help="Leave the Dockerfile out.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lesstext-release-") as scratch:
        folder = Path(scratch)
        wheel = build_wheel(folder / "wheels")
        check_wheel(wheel)
        for python in options.python:
            check_install(wheel, python, folder / f"env-{Path(python).name}")
        if not options.wheel_only:
            lint(ROOT / "Dockerfile")
            check_image(folder / "image")


def build_wheel(out: Path) -> Path:
    """The wheel of this checkout, built by uv where it is at hand: its environments lack pip."""
    if uv := shutil.which("uv"):
        run([uv, "build", "--quiet", "--wheel", "--out-dir", out, ROOT])
    else:
        run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", out, ROOT])
    (wheel,) = out.glob("lesstext-*.whl")
    return wheel


def check_wheel(wheel: Path) -> None:
    """Exit unless the wheel is small and holds what belongs in it, and nothing else."""
    size = wheel.stat().st_size
    if size > MAX_WHEEL_BYTES:
        sys.exit(f"{wheel.name} has {size} bytes, more than {MAX_WHEEL_BYTES}")
    held = set(zipfile.ZipFile(wheel).namelist())
    tracked = run(["git", "-C", ROOT, "ls-files", "lesstext", "attr_builder", "train_clip"])
    missing = {*_MUST_HOLD, *tracked.splitlines()} - held
    if missing:
        sys.exit(f"{wheel.name} lacks {sorted(missing)[0]}")
    packages = ("lesstext/", "attr_builder/", "train_clip/")
    foreign = [name for name in held if not name.startswith(packages) and "dist-info" not in name]
    if foreign:
        sys.exit(f"{wheel.name} holds {sorted(foreign)[0]}")
    if not any(name.endswith("dist-info/licenses/LICENSE") for name in held):
        sys.exit(f"{wheel.name} lacks its licence")
    print(f"{wheel.name}: {size / 1e6:.2f} MB, {len(held)} files", flush=True)


def check_install(wheel: Path, python: str, venv: Path) -> None:
    """Install the wheel without extras into an empty environment, and ask every command for help.

    uv is used where it is at hand.
    """
    if uv := shutil.which("uv"):
        run([uv, "venv", "--quiet", "--python", python, venv])
        run([uv, "pip", "install", "--quiet", "--python", venv, wheel])
    else:
        run([python, "-m", "venv", venv])
        run([venv / "bin/python", "-m", "pip", "install", "--quiet", wheel])
    check_commands(venv / "bin", venv)
    imported = run([venv / "bin/python", "-c", "import attr_builder, lesstext, train_clip"], venv)
    assert not imported
    version = run([venv / "bin/python", "--version"], venv).strip()
    print(f"{version}: installs, and all commands answer", flush=True)


def check_commands(binaries: Path, cwd: Path) -> None:
    """Exit unless all three commands answer `--help` and `--version`."""
    for command in COMMANDS:
        if "Usage" not in run([binaries / command, "--help"], cwd):
            sys.exit(f"{command} --help does not help")
        run([binaries / command, "--version"], cwd)


def lint(dockerfile: Path) -> None:
    """Exit where hadolint objects; says so where it is not at hand."""
    hadolint = shutil.which("hadolint") or shutil.which(
        "hadolint", path=Path(sys.executable).parent
    )
    if hadolint is None:
        print("hadolint is not installed: the Dockerfile was not linted")
        return
    run([hadolint, dockerfile])
    print("Dockerfile: hadolint has no objection", flush=True)


@dataclass
class Image:
    """What the instructions of a Dockerfile make of a folder, which stands for the root."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = "/"
    skipped: list[str] = field(default_factory=list)

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def follow(self, keyword: str, value: str) -> None:
        """Do what one instruction says, as far as it concerns files and commands."""
        if keyword == "WORKDIR":
            self.cwd = value
            self.at(value).mkdir(parents=True, exist_ok=True)
        elif keyword == "ENV":
            for pair in shlex.split(value):
                name, _, setting = pair.partition("=")
                self.env[name] = Template(self._rooted(setting)).substitute(self.env)
        elif keyword == "ARG":
            name, _, default = value.partition("=")
            self.env.setdefault(name, os.environ.get(name, default.strip('"')))
        elif keyword == "COPY":
            self._copy(value)
        elif keyword == "RUN":
            self._run(value)

    def _copy(self, value: str) -> None:
        *places, target = value.split()
        source = places[-1]
        if places[0].startswith("--from="):
            shutil.copytree(self.at(source), self.at(target))
        elif source == ".":
            for name in run(["git", "-C", ROOT, "ls-files"]).splitlines():
                to = self.at(self.cwd) / name
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, to)
        else:
            self.at(target).mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / source, self.at(target))

    def _run(self, value: str) -> None:
        if value.split()[0] in _NEEDS_ROOT:
            self.skipped.append(value)
            return
        env = {**_clean_environment(), **self.env}
        run(["bash", "-euo", "pipefail", "-c", self._rooted(value)], self.at(self.cwd), env)

    def _rooted(self, text: str) -> str:
        """The image's absolute paths as paths below the folder that stands for its root."""
        return re.sub(r"(?<![\w./])/(src|wheels|build|opt|home)\b", rf"{self.root}/\1", text)


def check_image(root: Path) -> None:
    """Run the Dockerfile's commands, then use what they made, offline, as its user would."""
    base = root / "base"  # stands for the Python that the image begins with
    run([sys.executable, "-m", "venv", base])
    image = Image(root, env={"PATH": f"{base / 'bin'}{os.pathsep}{os.defpath}"})
    for keyword, value in instructions(ROOT / "Dockerfile"):
        image.follow(keyword, value)
    print(f"Dockerfile: its commands run; left out: {'; '.join(image.skipped)}", flush=True)
    binaries = root / "opt/lesstext/bin"
    check_commands(binaries, root)
    script = ROOT / "scripts/make_quickstart_shards.py"
    run([binaries / "python", script, root / "input"], root)
    offline = {**_clean_environment(), "no_proxy": "", "HTTPS_PROXY": "http://127.0.0.1:9"}
    filtering: list[str | Path] = [
        binaries / "lesstext",
        "filter",
        root / "input",
        "--out",
        root / "filtered",
    ]
    print(run(filtering, root, offline), end="", flush=True)


def instructions(dockerfile: Path) -> Iterator[tuple[str, str]]:
    """The instructions in order, joined over continued lines, without comments."""
    lines = dockerfile.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip():
            keyword, _, value = line.partition(" ")
            yield keyword.upper(), value.strip()


def _clean_environment() -> dict[str, str]:
    left_out = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")
    return {name: value for name, value in os.environ.items() if name not in left_out}


def run(
    command: Sequence[str | Path], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """What a command printed; exits with its last words where it failed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env or _clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        sys.exit(f"{shlex.join(map(str, command))[:300]} failed:\n{words}")
    return done.stdout


if __name__ == "__main__":
    main()
