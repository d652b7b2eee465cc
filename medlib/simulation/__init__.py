"""Virtual patients: anatomy, tumour, signal, scanner, cohort.

Each module is one step, and none knows of the ones after it. A patient's slices are made by
following every pixel back: from the scanner to the place before the tumour pushed, to the template.
"""
