"""Documents for people to read, sign and file: the same content as a page, as one HTML file, and as PDF."""
