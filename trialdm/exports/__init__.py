"""Rows in, files out: datasets for statisticians, with a codebook, a manifest and proof that they were read back."""
