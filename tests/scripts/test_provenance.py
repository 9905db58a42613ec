"""Results name what they were made with, and nothing that is not there."""

from __future__ import annotations

import importlib.metadata

from provenance import installed, provenance


def test_a_package_that_is_not_installed_is_left_out() -> None:
    found = installed(["numpy", "no-such-package"])
    assert found == {"numpy": importlib.metadata.version("numpy")}


def test_each_commit_is_named_once_in_the_order_of_its_first_command() -> None:
    rows = [{"commit": "b"}, {"commit": "a"}, {"commit": "b"}]
    told = provenance("bash scripts/x.sh", {"steps": 3}, rows, ["numpy"])
    assert (told["script"], told["commits"]) == ("bash scripts/x.sh", ["b", "a"])
    assert told["settings"] == {"steps": 3}
