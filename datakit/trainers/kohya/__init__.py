"""kohya's sd-scripts: the TOML of its ``--dataset_config``, and what its scripts do with it."""
