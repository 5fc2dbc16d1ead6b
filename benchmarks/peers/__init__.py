"""One file per competitor, and what all of them are measured against."""
