"""Run a stage over a dataset, in this process or in several."""
