"""Python loads this at its start where this directory is in PYTHONPATH, as it is for the wardens of `moving_pair.py`: an
agent that one of them starts meets the faults that a file asks for. Every other program goes on undisturbed.
"""
import os
import sys

if "gw_agent.agent" in sys.orig_argv:
    import fault_file

    fault_file.watch(os.environ[fault_file.VARIABLE])
