"""Instruction-based video editing on the command line."""

__version__ = "0.1.0"
