"""EDGE: reads files, carries plans out, waits for events and executes effects."""
