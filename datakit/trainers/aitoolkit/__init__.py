"""ai-toolkit: its job file, what it reads of a folder, and its arithmetic."""
