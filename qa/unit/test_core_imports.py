"""The core is pure: it cannot see a clock, a lock, a socket, a log or chance, because it imports none."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import nvmeof_ha.core

FILES = sorted(Path(nvmeof_ha.core.__file__).parent.glob("*.py"))
PURE = {"__future__", "collections", "dataclasses", "enum", "errno", "functools", "json", "math", "operator", "re", "types", "typing"}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__", "globals"}


def imported(tree: ast.AST) -> set:
    """Top-level names of all absolute imports, wherever they stand."""
    names = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import)
             for alias in node.names}
    return names | {node.module.split(".")[0] for node in ast.walk(tree)
                    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_only_pure_modules_of_the_standard_library_are_imported(path):
    assert imported(ast.parse(path.read_text())) <= PURE


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_relative_imports_stay_inside_the_core(path):
    tree = ast.parse(path.read_text())
    assert all(node.level <= 1 for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_nothing_is_read_written_or_kept_outside_values(path):
    tree = ast.parse(path.read_text())
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & IMPURE_CALLS
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.Global, ast.AsyncFunctionDef))]


def test_the_check_sees_imports_inside_functions_too():
    assert imported(ast.parse("def f():\n    import time\n    from os import path")) == {"time", "os"}


def test_the_core_was_found():
    assert {"machine.py", "register.py", "lease.py", "gateway.py", "wire.py"} <= {p.name for p in FILES}
