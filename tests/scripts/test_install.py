"""`scripts/install` with a Python that only notes what it is asked, in a folder with a space and an umlaut."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.command_line import ROOT

PYTHON = r"""#!/bin/sh
echo "python $*" >>"$NOTES"
case "$*" in
*version_info\ \<*) exit "${OLD:-0}" ;;
*ensurepip*) exit "${BARE:-0}" ;;
*version_info*) echo python3.11-venv ;;
*"venv --clear"*)
    mkdir -p .venv/bin
    cp "$0" .venv/bin/python
    echo "command = $0 -m venv --clear $PWD/.venv" >.venv/pyvenv.cfg ;;
esac
"""
NOTE = '#!/bin/sh\necho "$(basename "$0") $*" >>"$NOTES"\n'


class Machine:
    """A folder with the script, a Python of its own and a PATH on which nothing is installed."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "a clone ü"
        self.notes = folder / "notes"
        self.tools = folder / "my tools"
        (self.clone / "scripts").mkdir(parents=True)
        self.tools.mkdir()
        shutil.copy(ROOT / "scripts" / "install", self.clone / "scripts")
        (self.clone / "pyproject.toml").write_text("[project]\n")
        self.add("python3", PYTHON)
        self.add("apt-get", NOTE)
        self.be(1000)
        for tool in ("dirname", "basename", "cat", "cksum", "grep", "mkdir", "cp"):
            path = shutil.which(tool)
            assert path is not None
            (self.tools / tool).symlink_to(path)

    def add(self, name: str, text: str) -> None:
        path = self.tools / name
        path.write_text(text)
        path.chmod(0o755)

    def be(self, user: int) -> None:
        self.add("id", f"#!/bin/sh\necho {user}\n")

    def install(self, **variables: str) -> tuple[int, str, list[str]]:
        """The exit code, what was said, and what was run."""
        self.notes.write_text("")
        ended = subprocess.run(
            ["/bin/sh", os.fspath(self.clone / "scripts" / "install"), "plots"],
            env={"PATH": os.fspath(self.tools), "NOTES": os.fspath(self.notes), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return ended.returncode, ended.stderr, self.notes.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


INSTALL = "python -m pip install --quiet --disable-pip-version-check --editable .[plots]"
VENV = "python -m venv --clear .venv"


def test_it_installs_once_and_again_when_the_project_changes(machine: Machine) -> None:
    code, said, runs = machine.install()
    assert (code, said) == (0, "installing into .venv ...\n")
    assert runs[-2:] == [VENV, INSTALL]
    code, said, runs = machine.install()
    assert (code, said, runs) == (0, "", ["python -c import pip"])
    (machine.clone / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    code, said, runs = machine.install()
    assert (code, runs[-1]) == (0, INSTALL)
    assert VENV not in runs


def test_a_clone_that_was_moved_gets_a_new_environment(machine: Machine) -> None:
    machine.install()
    machine.clone = machine.clone.rename(machine.clone.with_name("moved"))
    code, _, runs = machine.install()
    assert (code, runs[-2:]) == (0, [VENV, INSTALL])


def test_python_may_be_named_and_lie_in_any_folder(machine: Machine) -> None:
    other = machine.tools / "python"
    machine.add("python", PYTHON)
    machine.add("python3", NOTE)
    code, _, runs = machine.install(PYTHON=os.fspath(other))
    assert (code, runs[-2:]) == (0, [VENV, INSTALL])
    assert not [run for run in runs if run.startswith("python3")]


def test_an_old_python_is_told_in_one_line(machine: Machine) -> None:
    code, said, _ = machine.install(OLD="1")
    assert code == 1
    assert said == "error: Python 3.11 or newer is needed; name it with PYTHON=/path/to/python\n"


def test_what_debian_leaves_out_is_installed_by_root_and_named_for_others(machine: Machine) -> None:
    code, said, runs = machine.install(BARE="1")
    assert code == 1
    assert said == "error: run 'sudo apt-get install python3.11-venv', then try again\n"
    assert not [run for run in runs if run.startswith("apt-get")]
    machine.be(0)
    code, _, runs = machine.install(BARE="1")
    assert code == 0
    assert [run for run in runs if run.startswith("apt-get")] == [
        "apt-get update -qq",
        "apt-get install -qq -y python3.11-venv",
    ]
    assert runs[-2:] == [VENV, INSTALL]
