"""Scenarios as text: what an operator or a fault does, and what must be seen then.

A file is a sequence of steps; a step is one or more command lines, ``----`` and the expected output, ended by an empty
line.  ``language.py`` knows the commands.  ``python -m scenarios --rewrite`` writes what is seen now into the files: say
in the commit why it changed.
"""
