"""After a training: its checkpoints, strips of pictures that ComfyUI makes of them, and files of weights."""
