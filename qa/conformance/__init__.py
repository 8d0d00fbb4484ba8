"""What was proven is what ran: replays the traces of mgrs, wardens and agents through the pure functions and compares.

A mgr that runs with its option ``trace`` logs every take-over and step of the core, a gateway with ``trace_file`` every
call of its pure parts.  Here the same functions are called again with what was logged, in another process, and every
action, version, state and answer must be the same; the invariants are checked on the way.  What each of them was given
must be what the one before had answered (nobody judges by an old view of the seats), and the logs must agree with one
another (``across.py``).  Not proven: that the shells carried the actions out; the layers with real daemons see to that.
"""

from .checker import Result, check

__all__ = ["Result", "check"]
