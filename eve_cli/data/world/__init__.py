"""A procedural world that draws a clip and its true edit."""
