"""How a run is shown: plots and a page."""
