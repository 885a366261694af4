"""What a training left in its folder: checkpoints in order, whether ComfyUI reads them, links for it."""
