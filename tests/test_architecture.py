"""The layering rule and the other habits that a reader could not check by eye; every violation is printed as a line."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import das

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES, FUNCTION_LINES = 220, 50

#: Imports only point down: a package may import itself and lower layers, never its neighbours.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"types", "finder", "errors", "shapes", "batch", "context", "outputs", "factors", "part", "geometry"})
    | {"distributions", "seeding", "members"},
    frozenset({"featurizers", "edits", "gates", "conditioners", "tasks"}),
    frozenset({"interventions", "models"}),
    frozenset({"artifacts", "estimators"}),  # describe interventions and the model they belong to; fit them
    frozenset({"engine", "objectives", "metrics", "data", "methods"}),
    frozenset({"training", "steering", "patching", "diagnostics", "reports"}),
    frozenset({"folding", "sweeping", "bench"}),  # writes into weights what steering would do; trains many times
    frozenset({"cli"}),
)
#: The vocabulary is one package spread over files, so its modules may import one another (without cycles).
VOCABULARY = LAYERS[0]

#: (module prefix, what it may import all the same) -> why. An exception that is no longer used fails the test.
EXCEPTIONS: dict[tuple[str, str], str] = {}

#: Third-party package -> the only modules (prefixes) that may import it.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "hydra": ("das.cli",),
    "omegaconf": ("das.cli",),
    "wandb": (),
    "pytorch_lightning": ("das.training", "das.data.datamodule"),
    "lightning": (),
    "transformers": ("das.models", "das.engine", "das.data"),
}
TORCH_FREE = ("das.types", "das.errors", "das.tasks")
#: (module, heavy package it imports in a function, when something is read) -> why.
LAZY = {("das.tasks.reading", "datasets"): "datasets of the hub"}
HEAVY = {"torch", "transformers", "pytorch_lightning", "jaxtyping", "numpy", "datasets", "tokenizers", "safetensors"}


class Import(NamedTuple):
    line: int
    name: str


class Module(NamedTuple):
    name: str
    path: str
    tree: ast.Module
    lines: int
    imports: tuple[Import, ...]


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def imports_of(tree: ast.Module, module: str, is_package: bool, known: frozenset[str]) -> Iterator[Import]:
    """Every import anywhere in the tree: in functions, under TYPE_CHECKING and through `import_module("...")` too.

    `from das import x` is the submodule `das.x` if there is one, otherwise wherever the lazy front finds `x`.
    """
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                lazy = das._PUBLIC.get(alias.name, base) if base == "das" else base
                yield Import(node.lineno, full if full in known else lazy)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield Import(node.lineno, node.args[0].value)


@cache
def modules() -> tuple[Module, ...]:
    """All modules of das/."""
    files = sorted((ROOT / "das").rglob("*.py"))
    names = {p: ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in files}
    known, found = frozenset(names.values()), []
    for path, name in names.items():
        text = path.read_text()
        tree = ast.parse(text)
        imports = tuple(sorted(set(imports_of(tree, name, path.name == "__init__.py", known))))
        found.append(Module(name, str(path.relative_to(ROOT)), tree, len(text.splitlines()), imports))
    return tuple(found)


def layer_of(name: str) -> int | None:
    part = name.split(".")[1] if "." in name else ""
    return next((i for i, layer in enumerate(LAYERS) if part in layer), None)


def layering_violation(importer: str, imported: str) -> str | None:
    """Why `importer` may not import `imported`, or None if it may."""
    if importer == "das" or not within(imported, "das"):
        return None
    if imported == "das":  # the front package itself: its version, never its lazy names
        return None
    here, there = layer_of(importer), layer_of(imported)
    if here is None or there is None:
        return f"{importer if here is None else imported} has no layer: add it to LAYERS"
    top, other = importer.split(".")[1], imported.split(".")[1]
    if top == other or there < here or (top in VOCABULARY and other in VOCABULARY):
        return None
    return f"layer {here} may not import {'its neighbour' if here == there else 'upwards'} in layer {there}"


def excepted(importer: str, imported: str) -> tuple[str, str] | None:
    return next((e for e in EXCEPTIONS if within(importer, e[0]) and within(imported, e[1])), None)


def test_imports_only_point_down() -> None:
    found = [
        f"{m.path}:{i.line} imports {i.name} ({why})"
        for m in modules()
        for i in m.imports
        if (why := layering_violation(m.name, i.name)) and not excepted(m.name, i.name)
    ]
    assert not found, "\n" + "\n".join(found)


def test_every_exception_is_still_needed() -> None:
    used = {excepted(m.name, i.name) for m in modules() for i in m.imports if layering_violation(m.name, i.name)}
    assert set(EXCEPTIONS) <= used, f"remove from EXCEPTIONS: {sorted(set(EXCEPTIONS) - used)}"
    assert all(EXCEPTIONS.values()), "every exception states its reason"


def test_third_party_packages_stay_where_they_belong() -> None:
    found = [
        f"{m.path}:{i.line} imports {i.name} (only {', '.join(homes) or 'yaml'} may)"
        for m in modules()
        for i in m.imports
        for package, homes in ONLY_IN.items()
        if within(i.name, package) and not any(within(m.name, home) for home in homes)
    ]
    assert not found, "\n" + "\n".join(found)


def parents(name: str) -> list[str]:
    """Importing a.b.c imports a and a.b first."""
    parts = name.split(".")
    return [".".join(parts[: n + 1]) for n in range(len(parts))]


def test_text_modules_are_torch_free() -> None:
    """Nothing that these modules import, directly or through other modules of das, is heavy."""
    by_name, found = {m.name: m for m in modules()}, []
    for start in (n for n in by_name if any(within(n, prefix) for prefix in TORCH_FREE)):
        seen, todo = {start}, [start]
        while todo:
            module = by_name[todo.pop()]
            for i in module.imports if module.name != "das" else ():
                if i.name.split(".")[0] in HEAVY and (module.name, i.name.split(".")[0]) not in LAZY:
                    found.append(f"{module.path}:{i.line} imports {i.name} (reached from {start})")
                new = [n for n in parents(i.name) if n in by_name and n not in seen]
                seen.update(new)
                todo.extend(new)
    assert not found, "\n" + "\n".join(sorted(set(found)))


def loaded_by(names: list[str]) -> set[str]:
    """Which heavy packages a fresh interpreter has loaded after importing `names`."""
    code = f"import sys\nfor n in {names!r}: __import__(n)\nprint(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_das_loads_nothing_heavy() -> None:
    assert loaded_by(["das", "das.types", "das.errors"]) == set()


def test_importing_tasks_loads_nothing_heavy() -> None:
    assert loaded_by(["das", *(m.name for m in modules() if within(m.name, "das.tasks"))]) == set()


def test_every_module_has_a_docstring() -> None:
    missing = [m.path for m in modules() if not ast.get_docstring(m.tree)]
    assert not missing, "\n" + "\n".join(missing)


def test_every_folder_is_a_package() -> None:
    folders = {(ROOT / m.path).parent for m in modules()}
    missing = sorted(str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").exists())
    assert not missing, f"no __init__.py in: {', '.join(missing)}"


def test_files_and_functions_are_short() -> None:
    found = [f"{m.path}: {m.lines} lines (at most {FILE_LINES})" for m in modules() if m.lines > FILE_LINES]
    for m in modules():
        for node in ast.walk(m.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    found.append(f"{m.path}:{node.lineno} {node.name}: {lines} lines (at most {FUNCTION_LINES})")
    assert not found, "\n" + "\n".join(found)


def test_the_rules_catch_what_they_should() -> None:
    """The negative control: without it, a scanner that finds nothing would pass every test above."""
    source = """
from typing import TYPE_CHECKING
import das.types
from das import engine, load_model, __version__
from . import rotation
from ..edits.base import Edit
if TYPE_CHECKING:
    from das.training import fit
def f():
    import importlib, wandb
    importlib.import_module("das.cli.main")
"""
    known = frozenset({"das.engine", "das.featurizers.rotation"})
    found = set(imports_of(ast.parse(source), "das.featurizers.pca", False, known))
    lines = {i.line: i.name for i in found if layering_violation("das.featurizers.pca", i.name)}
    assert lines == {4: lines[4], 6: "das.edits.base", 8: "das.training", 11: "das.cli.main"}
    assert {i.name for i in found if i.line == 4} == {"das.engine", "das.models.load", "das"}
    assert Import(10, "wandb") in found and Import(5, "das.featurizers.rotation") in found
    assert layering_violation("das.unheard_of", "das.types") and not layering_violation("das.types", "das.errors")
