"""Runs in the published client's own virtual environment: one command line after the other, so that starting it is paid
for once. Reads a JSON list of arguments a line; answers with exit status, output and errors.
"""
import contextlib
import io
import json
import sys

from control.cli import main

for line in sys.stdin:
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            status = main(json.loads(line))
        except SystemExit as end:
            status = end.code
    print(json.dumps([status or 0, out.getvalue(), errors.getvalue()]), flush=True)
