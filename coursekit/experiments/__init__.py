"""What makes the records of studies: modules with DATA, MODELS and ``train_and_test(config)``."""
