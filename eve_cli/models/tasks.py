"""The tasks of edits, light to import (no torch)."""

TASKS = ("add", "remove", "background", "texture", "local", "style", "global", "segment", "sketch", "depth", "mark")
"""Names of the edit adapter's task labels; a label's number is its place here."""
