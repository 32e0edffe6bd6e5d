"""What a user installs is what is in the repository: the yaml files, the licence, the typing marker, the command."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import das
from das.cli.paths import conf_dir

PROBE = Path("conf/probe/nested/probe.yaml")


def _run(code_or_args: list[str], cwd: Path) -> str:
    done = subprocess.run([sys.executable, *code_or_args], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _build(tree: Path, target: str, out: Path) -> Path:
    """Build without isolation and so without a network."""
    _run(["-m", "hatchling", "build", "-t", target, "-d", str(out)], tree)
    (built,) = out.iterdir()
    return built


def _yaml(conf: Path) -> dict[str, bytes]:
    return {p.relative_to(conf).as_posix(): p.read_bytes() for p in conf.rglob("*.yaml")}


def _yaml_in(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as z:
        names = [n for n in z.namelist() if n.startswith("das/conf/")]
        return {n.removeprefix("das/conf/"): z.read(n) for n in names}


@pytest.fixture(scope="module")
def tree(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged, with one more yaml, so that nothing is written into the repository."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "Makefile", "constraints.txt"):
        shutil.copy(root / name, copy / name)
    for name in ("das", "conf"):
        if (root / name).exists():
            shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / PROBE).parent.mkdir(parents=True)
    (copy / PROBE).write_text("probe: true\n")
    return copy


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tree, "wheel", tmp_path_factory.mktemp("wheel"))


def test_wheel_holds_exactly_the_yaml_of_conf(tree: Path, wheel: Path) -> None:
    assert _yaml_in(wheel) == _yaml(tree / "conf")


def test_wheel_built_from_the_sdist_holds_it_too(tree: Path, tmp_path: Path) -> None:
    sdist = _build(tree, "sdist", tmp_path / "sdist")
    shutil.unpack_archive(sdist, tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert _yaml_in(_build(unpacked, "wheel", tmp_path / "wheel")) == _yaml(tree / "conf")


def test_wheel_holds_the_package_and_nothing_else(tree: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as z:
        names = set(z.namelist())
        licence = next(n for n in names if n.endswith(".dist-info/licenses/LICENSE"))
        assert z.read(licence) == (tree / "LICENSE").read_bytes()
    assert {n.split("/")[0] for n in names if ".dist-info/" not in n} == {"das"}
    modules = {p.relative_to(tree).as_posix() for p in (tree / "das").rglob("*.py")}
    assert {n for n in names if n.endswith(".py")} == modules
    assert "das/py.typed" in names


def test_installed_wheel_finds_its_own_conf(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as z:
        z.extractall(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from das.cli.paths import conf_dir; print(conf_dir())"
    assert _run(["-c", code], tmp_path).strip() == str(tmp_path / "das" / "conf")


def test_editable_install_reads_conf_live(root: Path, tmp_path: Path) -> None:
    if not (root / "conf").is_dir():
        pytest.skip("conf/ has no files yet, so git did not create it")
    assert conf_dir() == root / "conf"
    (line,) = _run(["-c", "from das.cli.paths import conf_dir; print(conf_dir())"], tmp_path).splitlines()
    assert line == str(root / "conf")


def test_git_has_every_yaml_of_conf(root: Path) -> None:
    """A yaml that git ignores would work here and be missing everywhere else."""
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "conf"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    expected = {f"conf/{name}" for name in _yaml(root / "conf")}
    assert {n for n in listed if n.endswith(".yaml") and (root / n).exists()} == expected


def test_command_is_declared() -> None:
    (command,) = entry_points(group="console_scripts", name="das")
    assert command.value == "das.cli.main:main"


def _project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def test_every_third_party_import_is_a_declared_dependency(root: Path) -> None:
    declared = {canonicalize_name(Requirement(r).name) for r in _project(root)["dependencies"]}
    providers, missing = packages_distributions(), []
    for path in sorted((root / "das").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            for top in {n.split(".")[0] for n in names} - set(sys.stdlib_module_names) - {"das"}:
                if not declared & {canonicalize_name(d) for d in providers.get(top, [])}:
                    missing.append(f"{path.relative_to(root)}:{node.lineno} imports {top}")
    assert not missing, "not in pyproject.toml's dependencies:\n" + "\n".join(missing)


def test_constraints_pin_the_direct_dependencies_within_their_ranges(root: Path) -> None:
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    project = _project(root)
    optional = [r for group in project["optional-dependencies"].values() for r in group]
    requirements = [Requirement(r) for r in project["dependencies"] + optional]
    assert set(pins) == {canonicalize_name(r.name) for r in requirements}
    for requirement in requirements:
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_version_is_the_same_in_both_places(root: Path) -> None:
    (version,) = re.findall(r'^__version__ = "(.+)"$', (root / "das/__init__.py").read_text(), re.MULTILINE)
    assert version == _project(root)["version"]


def test_type_checkers_see_what_is_public_and_it_is_there() -> None:
    """`das.Intervention` and the others resolve when they are used, and tools that run nothing know them too."""
    tree = ast.parse(Path(das.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {x.asname: s.module for s in block.body if isinstance(s, ast.ImportFrom) for x in s.names}
    assert seen == das._PUBLIC
    assert all(getattr(das, name) is not None for name in das._PUBLIC)
