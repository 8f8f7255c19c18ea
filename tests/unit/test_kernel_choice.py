"""Which implementation of the kernel runs: the best, the one named, or the one that needs no compiler."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from holdfast.crypto import kernel


def chosen(environment: dict[str, str], before: str = "pass") -> subprocess.CompletedProcess[str]:
    """Ask a new process which implementation it chose."""
    program = f"import sys; {before}; from holdfast.crypto import kernel; print(kernel.implementation())"
    plain = {name: value for name, value in os.environ.items() if name != "HOLDFAST_KERNEL"}
    return subprocess.run(
        [sys.executable, "-c", program], env=plain | environment, capture_output=True, text=True, check=False
    )


def test_the_best_implementation_is_chosen_at_import() -> None:
    assert chosen({}).stdout.strip() == kernel.available()[0]
    assert chosen({"HOLDFAST_KERNEL": ""}).stdout.strip() == kernel.available()[0]


def test_the_last_resort_is_always_there() -> None:
    assert kernel.available()[-1] == "python"


@pytest.mark.parametrize("name", kernel.available())
def test_an_implementation_can_be_named(name: str) -> None:
    before = kernel.implementation()
    kernel.force(name)
    assert kernel.implementation() == name
    kernel.force(before)


def test_an_unknown_name_is_refused_and_changes_nothing() -> None:
    before = kernel.implementation()
    with pytest.raises(ValueError, match="warp-drive"):
        kernel.force("warp-drive")
    assert kernel.implementation() == before


def test_without_the_native_module_the_composed_kernel_runs() -> None:
    answer = chosen({}, before="sys.modules['holdfast.crypto._kernel'] = None")
    assert answer.stdout.strip() == "python"


@pytest.mark.skipif(len(kernel.available()) == 1, reason="there is no native module to read the environment")
@pytest.mark.parametrize("name", kernel.available())
def test_the_environment_names_the_implementation(name: str) -> None:
    assert chosen({"HOLDFAST_KERNEL": name}).stdout.strip() == name


@pytest.mark.skipif(len(kernel.available()) == 1, reason="there is no native module to read the environment")
def test_a_wrong_name_in_the_environment_is_told() -> None:
    answer = chosen({"HOLDFAST_KERNEL": "warp-drive"})
    assert answer.returncode != 0
    assert "HOLDFAST_KERNEL" in answer.stderr
    assert kernel.available()[0] in answer.stderr
