"""Pictures of checkpoints, made by a ComfyUI through its HTTP API, and the strips and the page that show them."""
