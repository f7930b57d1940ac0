"""Maps made of maps: merged, thinned, split, of other descriptors; every change is written as a new map."""
