"""From what happened to a copy to its record in the dispatch log."""
