"""What single experiments say: claims, tables and figures, all from their numbers."""
