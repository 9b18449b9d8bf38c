"""`make bench`: sockact beside its peers, side by side in one run. See `bench/README.md`."""
