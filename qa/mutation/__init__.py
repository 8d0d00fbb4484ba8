"""Mutation: take one guard away at a time from a copy of the core, and require that a layer of the tests notices.

``mutants.py`` lists the guards, ``copies.py`` takes one away, ``layers.py`` looks whether anybody notices.  A mutant that
survives is a missing test.
"""
