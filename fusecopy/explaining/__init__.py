"""The whole story of one copy: what its record says, and what can be looked up of its files now."""
