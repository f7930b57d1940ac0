"""What other programs read of a map: tables for geographic information systems, and lists for hloc."""
