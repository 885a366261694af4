"""OneTrainer: its concepts, what it reads of a folder, and its arithmetic."""
