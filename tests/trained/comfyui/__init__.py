"""A real ComfyUI on a CPU, with a model of two blocks that is drawn at random."""
