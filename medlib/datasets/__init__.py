"""Everything that turns files or a simulation into a :class:`MedicalDataset`."""
