"""diffusers' example scripts: the command line that starts one, their arithmetic re-derived, the proof."""
