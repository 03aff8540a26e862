"""The kinds of edits that an edit adapter has labels for."""

TASKS = ("add", "remove", "background", "texture", "local", "style", "global", "segment", "sketch", "depth", "mark")
"""A label's number is its place here."""
UNKNOWN_TASK = len(TASKS)
"""The label of every other edit."""
