"""Turn SimpleTuner's older config.env into config.json and back, read as bash reads it."""
