"""What makes the records of studies.

Each module has ``DATA`` and ``MODELS``, the names a plan may use; ``WITH_TEST``, the data that
needs no ``test_seed``; and ``train_and_test``, which turns a configuration into a record.
"""
