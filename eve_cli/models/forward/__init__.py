"""The engine: the networks of Stable Diffusion 1.5's kind, run with the least work that gives the same numbers."""
