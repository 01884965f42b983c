"""MLflow for tracking-hooks. Importing this package does nothing, since the training process imports it, too."""
