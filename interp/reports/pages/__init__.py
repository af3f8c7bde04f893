"""Pages: the report, studies, comparisons, their tables and sentences."""
