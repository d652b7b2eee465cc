"""Virtual patients: anatomy, tumour, signal, scanner, cohort."""
