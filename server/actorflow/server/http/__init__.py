"""HTTP: one table of routes a file; handlers parse, call the engine, and render."""
