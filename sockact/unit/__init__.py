"""PURE: text becomes typed units, and every mistake on the way a located diagnostic."""
