#!/usr/bin/env bash
# The static gate: lint, format, types. Uses $PYTHON, or else the project's own environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-.venv/bin/python}"
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
echo OK
