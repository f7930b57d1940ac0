"""How a map is searched: kinds of index, the choice among them, what they share."""
